"""Maps of one class, and maps of two sizes made comparable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from losses.loss import Maps

if TYPE_CHECKING:
    import torch


def label_map(maps: Maps, labels: torch.Tensor) -> torch.Tensor:
    """The label's class map minus the mean over classes, (B, h, w) float32; labels (B,)."""
    assert maps.classes is not None  # they are in `needs`
    classes = labels[:, None, None, None].expand(-1, 1, *maps.classes.shape[2:])
    return maps.classes.gather(1, classes).squeeze(1) - maps.classes.mean(1)


def to_common_size(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both (..., h, w) in float32, the larger average-pooled to the smaller height and width."""
    from torch.nn.functional import adaptive_avg_pool2d

    size = min(a.shape[-2], b.shape[-2]), min(a.shape[-1], b.shape[-1])
    first, second = (
        each if each.shape[-2:] == size else adaptive_avg_pool2d(each, size)
        for each in (a.float(), b.float())
    )
    return first, second
