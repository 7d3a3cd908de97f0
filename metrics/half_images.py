"""Where a model that sees half of an image looks, in the coordinates of the whole image."""

from __future__ import annotations

from torch import Tensor

from metrics.arrays import takes_arrays
from metrics.conventions import THRESHOLD
from metrics.overlap import binarize


@takes_arrays
def masks_of_half(maps: Tensor, size: int, *, right: bool, threshold: float = THRESHOLD) -> Tensor:
    """``binarize`` of maps of the left or right half, in their place; the other half, and the
    middle column of an odd size, are not looked at. (B, h, w) -> (B, size, size) bool.

    Masks of a left and of a right half have nothing in common, by construction.

    Raises:
        ValueError: as ``binarize``, or a size of less than two pixels.

    >>> masks_of_half(np.array([[[0.0, 1.0]]]), 4, right=True)[0, 0]
    tensor([False, False, False,  True])
    """
    half = size // 2
    if half == 0:
        raise ValueError(f"size: expected two pixels or more, got {size}")
    seen = binarize(maps, (size, half), threshold=threshold)
    masks = seen.new_zeros(len(seen), size, size)
    masks[..., size - half if right else 0 :][..., :half] = seen
    return masks
