"""Overlap of several models' attention over a whole set, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.overlap import binarize, overlap_counts, overlap_ratio, shuffled_overlap
from metrics.packed_masks import PackedMasks

PIXELS_PER_CHUNK = 2**26  # of each model: a chance pairing is one of a chunk's images
PIXELS_PER_BLOCK = 2**20  # resized at once: 4 MiB, which stay in a processor's cache


@dataclass(frozen=True)
class SetOverlap:
    """per_image: (n,) IoU of the masks of each image; pooled: total intersection / total union;
    chance: mean IoU when each model's mask is of another image, None where there are fewer images
    than models."""

    per_image: Tensor
    pooled: float
    chance: float | None

    @property
    def corrected(self) -> Tensor | None:
        """(n,) (IoU - chance) / (1 - chance): 0 is chance, 1 is full overlap, whatever the size
        of the masks and the place that all photographs have in common. None without a chance."""
        if self.chance is None:
            return None
        return (self.per_image - self.chance) / max(1 - self.chance, torch.finfo(torch.float64).eps)


def set_overlap(maps: Sequence[Tensor], size: int, *, threshold: float = 0.4) -> SetOverlap:
    """Overlap of M models' maps, each (n, h, w) with its own h and w, at `size` x `size` pixels."""
    return masks_overlap([packed_masks(own, size, threshold=threshold) for own in maps])


def packed_masks(maps: Tensor, size: int, *, threshold: float = 0.4) -> PackedMasks:
    """``binarize`` of (n, h, w) maps, packed; a few images at a time."""
    blocks = [
        PackedMasks.pack(binarize(block, size, threshold=threshold))
        for block in maps.split(max(1, PIXELS_PER_BLOCK // size**2))
    ]
    return PackedMasks(torch.cat([block.words for block in blocks]), blocks[0].pixels)


def masks_overlap(masks: Sequence[PackedMasks]) -> SetOverlap:
    """Overlap of M models' masks of the same n images.

    Chunks are drawn at random, so that the images that a chance pairing brings together are of
    all classes even where the set is sorted by class.
    """
    order = torch.randperm(len(masks[0]), generator=torch.Generator().manual_seed(0))
    per_image = torch.empty(len(order), dtype=torch.float64)
    intersection, union = 0.0, 0.0
    chance = 0.0 if len(order) >= len(masks) else None
    for chunk in _chunks(order, masks[0].pixels, least=len(masks)):
        chosen = [own[chunk] for own in masks]
        in_all, in_any = overlap_counts(chosen)
        per_image[chunk] = overlap_ratio(in_all, in_any)
        intersection, union = intersection + in_all.sum().item(), union + in_any.sum().item()
        if chance is not None:
            chance += shuffled_overlap(chosen) * len(chunk) / len(order)
    return SetOverlap(per_image, intersection / union if union else 1.0, chance)


def _chunks(order: Tensor, pixels: int, *, least: int) -> Iterator[Tensor]:
    """Parts of nearly one length; none has fewer images than a chance pairing needs."""
    wanted = -(-len(order) * pixels // PIXELS_PER_CHUNK)
    yield from order.chunk(max(1, min(wanted, len(order) // least)))
