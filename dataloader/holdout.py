"""A held-out share of a training set, so that the best epoch need not be chosen on test images."""

from __future__ import annotations

import numpy as np

from dataloader.errors import UserError
from dataloader.random_streams import permutation


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
    indices = np.flatnonzero(labels == c)
    order = permutation(len(indices), "holdout", c).numpy()
    return indices[order[: round(fraction * len(indices))]]
