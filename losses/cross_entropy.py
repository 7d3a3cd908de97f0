"""What labels alone teach."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-ln softmax(logits)[label], mean over the batch, in nats. (B, C), (B,) -> scalar float32."""
    return F.cross_entropy(logits.float(), labels)
