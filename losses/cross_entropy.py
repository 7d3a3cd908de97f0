"""What labels alone teach."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from losses.loss import Loss, Seen


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """-ln softmax(logits)[label], mean over the batch, in nats. With `label_smoothing` that share
    of the weight is of all classes alike, the label's among them (Szegedy et al. 2016)."""

    label_smoothing: float = 0.0

    def __call__(self, seen: Seen) -> torch.Tensor:
        """In float32."""
        return F.cross_entropy(
            seen.logits.float(), seen.labels, label_smoothing=self.label_smoothing
        )
