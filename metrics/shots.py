"""Many-, medium- and few-shot classes of a long-tailed training set."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the names of the groups are wanted where torch is not loaded
    from torch import Tensor

SHOT_GROUPS = ("many", "medium", "few")
MANY_ABOVE, FEW_BELOW = 100, 20


def shot_group_of_class(train_counts: Tensor) -> Tensor | None:
    """Group of each class from its number of training images. (C,) -> (C,) int64, or None.

    0: many-shot, over 100 images; 1: medium-shot, 20 to 100; 2: few-shot, under 20 (Liu et al.
    2019). None where all classes are in one group: there is no tail to report.
    """
    groups = (train_counts <= MANY_ABOVE).long() + (train_counts < FEW_BELOW).long()
    return groups if len(groups.unique()) > 1 else None


def members(groups: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Which samples belong to each group that has any. (C,), (B,) -> (B,) bool each, by name."""
    of_sample = groups[labels]
    chosen = {name: of_sample == k for k, name in enumerate(SHOT_GROUPS)}
    return {name: mask for name, mask in chosen.items() if bool(mask.any())}
