"""The many-, medium- and few-shot classes of a training set."""

from __future__ import annotations

import torch

from dataloader.image_set import Images
from metrics.shots import shot_group_of_class


def shot_groups_of(train: Images) -> torch.Tensor | None:
    """(C,) group of each class (metrics.shots); None for a set without a tail."""
    counts = torch.bincount(torch.from_numpy(train.labels), minlength=train.num_classes)
    return shot_group_of_class(counts)
