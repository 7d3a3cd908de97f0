"""Parts of a training set: a long tail of it, and a share held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.errors import UserError


def exponential_counts(largest: int, ratio: int, num_classes: int) -> list[int]:
    """Images kept of class 0 (`largest`) to the last (largest / ratio), decaying exponentially.

    Class c keeps int(largest * (1 / ratio)^(c / (num_classes - 1))): Cao et al. 2019 (LDAM-DRW).
    """
    smallest_share = 1 / ratio
    return [int(largest * smallest_share ** (c / (num_classes - 1))) for c in range(num_classes)]


def tail_counts(available: np.ndarray, ratio: int) -> np.ndarray:
    """Images kept of each class of a training set cut to a long tail. (C,) -> (C,) int64.

    The `exponential_counts` from the largest head for which each class has enough (all that it
    has, in a balanced set: the literature's split), and of every class that has any at least one.
    """
    shares = (1 / ratio) ** (np.arange(len(available)) / (len(available) - 1))
    largest = int((available / shares)[available > 0].min())
    counts = exponential_counts(largest, ratio, len(available))
    return np.minimum(np.maximum(counts, 1), available)


def pareto_counts(
    largest: int, smallest: int, num_classes: int, *, alpha: float = 6.0
) -> list[int]:
    """Images of each class, descending from `largest` to `smallest`: the profile of ImageNet-LT.

    Liu et al. 2019 (OLTR) drew ImageNet-LT's class sizes at random from a Pareto distribution of
    power alpha = 6, 1280 images in the largest class and 5 in the smallest. These are that
    distribution's quantiles instead: the profile, not the published list. With numpy's Pareto
    (of the second kind, survival (1 + x)^-alpha), x_k = (k / C)^(-1/alpha) - 1 is exceeded by the
    share k / C of the C classes, and class k = 1..C has, rounded,

        smallest + (largest - smallest) * x_k / x_1

    images. For 1000 classes from 1280 to 5 the sum is 5 % above the published 115,846; a Pareto
    of the first kind starting at 5, cut off at 1280, would have 6,000. Raises ValueError unless
    0 <= smallest <= largest, num_classes >= 1 and alpha > 0.
    """
    if not (0 <= smallest <= largest and num_classes >= 1 and alpha > 0):
        raise ValueError(f"no profile from {largest} to {smallest}: {num_classes=}, {alpha=}")
    k = np.arange(1, num_classes + 1)
    with np.errstate(over="ignore", invalid="ignore"):
        x = (k / num_classes) ** (-1 / alpha) - 1
        share = x / x[0] if num_classes > 1 else np.ones(1)
    if not np.isfinite(share).all():
        raise ValueError(f"no profile of power {alpha=}: it is too steep or too flat to compute")
    return np.rint(smallest + (largest - smallest) * share).astype(int).tolist()


def select(labels: np.ndarray, counts: Sequence[int] | np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Indices of the images kept: counts[c] of class c, class after class.

    The literature's split: one RandomState(seed); for each class in order its indices, in
    archive order, are shuffled in place and the first counts[c] kept. UserError when a class
    has fewer images than it should keep.
    """
    random = np.random.RandomState(seed)
    return np.concatenate([_keep(labels, c, count, random) for c, count in enumerate(counts)])


def _keep(labels: np.ndarray, c: int, count: int, random: np.random.RandomState) -> np.ndarray:
    indices = np.flatnonzero(labels == c)
    if len(indices) < count:
        raise UserError(
            f"class {c} has {len(indices)} training images where the long-tailed set keeps "
            f"{count}: prepare the whole training set"
        )
    random.shuffle(indices)
    return indices[:count]


def partners_of(labels: np.ndarray, stream: int) -> np.ndarray:
    """(N,) for each image another one of its class: a cycle through each class, which the stream
    draws, so that nobody is one's own partner or two images' partner. UserError where a class has
    one image alone.
    """
    from common.random_streams import permutation  # who makes lists need not wait for torch

    partners = np.empty(len(labels), np.int64)
    for c in np.unique(labels):
        indices = np.flatnonzero(labels == c)
        if len(indices) == 1:
            raise UserError(
                f"class {c} has one training image, and so no other to take its place "
                "(--shuffle-teachers, --map-placebo)"
            )
        cycle = indices[permutation(len(indices), "partner", stream, int(c)).numpy()]
        partners[cycle] = np.roll(cycle, -1)
    return partners


def split_holdout(labels: np.ndarray, fraction: float) -> tuple[np.ndarray, ...]:
    """Indices (kept, held out), both ascending: `fraction` of each class, rounded, is held out.

    The same images for every run: what selects a student must not have trained its teacher.
    UserError when so small a fraction holds nothing out, or so large a one everything.
    """
    held_out = [_share(labels, int(c), fraction) for c in np.unique(labels)]
    is_held_out = np.zeros(len(labels), dtype=bool)
    is_held_out[np.concatenate(held_out)] = True
    if not is_held_out.any():
        raise UserError(f"a held-out share of {fraction} leaves no image to select on: raise it")
    if is_held_out.all():
        raise UserError(f"a held-out share of {fraction} leaves no image to train on: lower it")
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def _share(labels: np.ndarray, c: int, fraction: float) -> np.ndarray:
    from common.random_streams import permutation  # who makes lists need not wait for torch

    indices = np.flatnonzero(labels == c)
    order = permutation(len(indices), "holdout", c).numpy()
    return indices[order[: round(fraction * len(indices))]]
