"""Where each stage is active: Zagoruyko and Komodakis 2017, "Paying more attention to
attention"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.errors import UserError
from losses.loss import FEATURE_MAPS, PerImage, Seen
from losses.maps import to_common_size

if TYPE_CHECKING:
    import torch


def attention_transfer(
    student_features: Sequence[torch.Tensor], teacher_features: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Sum over stages of the mean over batch and positions of (q(student) - q(teacher))^2, q being
    the mean over channels of the squared features, of length 1 over an image's positions.

    Of one teacher: a (B, D, h, w) for each stage of either net. Where the sizes differ the larger
    features are average-pooled to the smaller h x w, then squared, as published. A scalar in
    float32. ValueError when the nets have not as many stages.
    """
    return _per_image(student_features, teacher_features).mean()


def _per_image(
    student_features: Sequence[torch.Tensor], teacher_features: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Sum over stages of the mean over positions, (B,)."""
    if len(student_features) != len(teacher_features) or not student_features:
        raise UserError(
            f"--loss attention compares stage by stage: the student has {len(student_features)}, "
            f"its teacher {len(teacher_features)}: take another --arch or --loss"
        )
    pairs = zip(student_features, teacher_features, strict=True)
    stages = [_attention(s) - _attention(t) for s, t in (to_common_size(*pair) for pair in pairs)]
    first, *others = (stage.square().mean(-1) for stage in stages)
    return sum(others, start=first)


def _attention(features: torch.Tensor) -> torch.Tensor:
    """(B, D, h, w) -> (B, h * w), each row of length 1."""
    from torch.nn.functional import normalize

    return normalize(features.square().mean(1).flatten(1))


class AttentionTransfer(PerImage):
    """`attention_transfer`, mean over teachers."""

    needs = frozenset({FEATURE_MAPS})
    in_validation = False
    published_weight = 1000.0

    def per_image(self, seen: Seen) -> torch.Tensor:
        """Of all stages."""
        import torch

        features = seen.maps.features
        return torch.stack([_per_image(features, maps.features) for maps in seen.teacher_maps])
