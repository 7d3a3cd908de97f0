"""What labels alone teach."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from losses.loss import Loss, Seen


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """-ln softmax(logits)[label], mean over the batch, in nats. With `label_smoothing` that share
    of the weight is of all classes alike, the label's among them (Szegedy et al. 2016). Of a mixed
    image each label has its image's share of the weight."""

    label_smoothing: float = 0.0

    def __call__(self, seen: Seen) -> torch.Tensor:
        """In float32."""
        if seen.minor is None:
            return self._to(seen.labels, seen.logits)
        major, minor = (
            self._to(labels, seen.logits) for labels in (seen.labels, seen.minor.labels)
        )
        return (1 - seen.minor.share) * major + seen.minor.share * minor

    def _to(self, labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)
