"""The packed masks of the latest attention maps, so that every group of models shares them."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import torch

from metrics.packed_masks import PackedMasks
from metrics.set_overlap import packed_masks

HELD_BYTES = 2**29  # eight models' masks of 10,000 images at 224 pixels


class RecentMasks:
    """Masks at one threshold, made once for maps of one content while they are held.

    A row of the grid asks for a student's and its teachers' masks in four groups, and the next
    row often for the same teachers and target. Beyond HELD_BYTES the longest unused go.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._held: dict[Hashable, PackedMasks] = {}

    def of(self, maps: torch.Tensor, size: int) -> PackedMasks:
        """The masks of (n, h, w) maps at `size` x `size` pixels."""
        content = hashlib.sha256(maps.contiguous().numpy()).digest()
        key = (content, maps.dtype, maps.shape, size)
        masks = self._held.pop(key, None)
        if masks is None:
            masks = packed_masks(maps, size, threshold=self._threshold)
        self._held[key] = masks  # the latest comes last
        while sum(each.words.nbytes for each in self._held.values()) > HELD_BYTES:
            self._held.pop(next(iter(self._held)))
        return masks
