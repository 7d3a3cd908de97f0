"""Overlap of several models' attention over a whole set, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.overlap import (
    binarize,
    intersection_over_union_per_image,
    overlap_counts,
    shuffled_overlap,
)

PIXELS_PER_CHUNK = 2**26  # booleans held for each model


@dataclass(frozen=True)
class SetOverlap:
    """per_image: (n,) IoU of the masks of each image; pooled: total intersection / total union;
    chance: mean IoU when each model's mask is of another image."""

    per_image: Tensor
    pooled: float
    chance: float


def set_overlap(maps: Sequence[Tensor], size: int, *, threshold: float = 0.4) -> SetOverlap:
    """Overlap of M models' maps, each (n, h, w) with its own h and w, at `size` x `size` pixels.

    Chunks are drawn at random, so that the images that a chance pairing brings together are of
    all classes even where the set is sorted by class.
    """
    order = torch.randperm(len(maps[0]), generator=torch.Generator().manual_seed(0))
    per_image = torch.empty(len(order), dtype=torch.float64)
    intersection, union, chance = 0.0, 0.0, 0.0
    for chunk in _chunks(order, size, least=len(maps)):
        masks = torch.stack([binarize(own[chunk], size, threshold=threshold) for own in maps])
        per_image[chunk] = intersection_over_union_per_image(masks)
        in_all, in_any = overlap_counts(masks)
        intersection, union = intersection + in_all.sum().item(), union + in_any.sum().item()
        chance += shuffled_overlap(masks) * len(chunk) / len(order)
    return SetOverlap(per_image, intersection / union if union else 1.0, chance)


def _chunks(order: Tensor, size: int, *, least: int) -> Iterator[Tensor]:
    """Parts of nearly one length; none has fewer images than a chance pairing needs."""
    wanted = -(-len(order) * size**2 // PIXELS_PER_CHUNK)
    yield from order.chunk(max(1, min(wanted, len(order) // least)))
