"""What labels alone teach."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from losses.loss import Loss, Seen


class CrossEntropy(Loss):
    """-ln softmax(logits)[label], mean over the batch, in nats."""

    def __call__(self, seen: Seen) -> torch.Tensor:
        """In float32."""
        return F.cross_entropy(seen.logits.float(), seen.labels)
