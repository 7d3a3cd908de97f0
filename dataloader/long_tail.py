"""Long-tailed training sets: how many images a class keeps, and which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dataloader.errors import DataError


def exponential_counts(largest: int, ratio: int, num_classes: int) -> list[int]:
    """Images kept of class 0 (`largest`) to the last (largest / ratio), decaying exponentially.

    Class c keeps int(largest * (1 / ratio)^(c / (num_classes - 1))): Cao et al. 2019 (LDAM-DRW).
    """
    smallest_share = 1 / ratio
    return [int(largest * smallest_share ** (c / (num_classes - 1))) for c in range(num_classes)]


def select(labels: np.ndarray, counts: Sequence[int], *, seed: int = 0) -> np.ndarray:
    """Indices of the images kept: counts[c] of class c, class after class.

    The literature's split: one RandomState(seed); for each class in order its indices, in
    archive order, are shuffled in place and the first counts[c] kept. DataError when a class
    has fewer images than it should keep.
    """
    random = np.random.RandomState(seed)
    return np.concatenate([_keep(labels, c, count, random) for c, count in enumerate(counts)])


def _keep(labels: np.ndarray, c: int, count: int, random: np.random.RandomState) -> np.ndarray:
    indices = np.flatnonzero(labels == c)
    if len(indices) < count:
        raise DataError(
            f"class {c} has {len(indices)} training images where the long-tailed set keeps "
            f"{count}: prepare the whole training set"
        )
    random.shuffle(indices)
    return indices[:count]
