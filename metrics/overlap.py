"""How much attention maps overlap: with each other, with chance, with the object itself.

Masks are boolean, True where a model looks. A set too large for memory goes through in chunks:
``intersection_over_union_per_image`` values average, ``overlap_counts`` add up.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.validation import check_count, check_finite

CONSTANT_WITHIN = 16  # multiples of the dtype's epsilon: what resizing a constant may add


def binarize(maps: Tensor, size: int | tuple[int, int], *, threshold: float = 0.4) -> Tensor:
    """Where a map is high. (B, h, w) -> (B, H, W) bool, ``size`` being (H, W) or one side.

    Bilinear resize (align_corners=False), then per image (x - min) / (max - min) > threshold.
    The comparison is strict, so a map that varies always has a mask with something in it. A map
    that is constant up to rounding prefers no place: its mask is empty.

    Raises:
        ValueError: not (B, h, w), no samples, NaN or infinity, or a threshold outside [0, 1).
    """
    _check_maps(maps)
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold: expected a number in [0, 1), got {threshold}")
    resized = _resize(maps, size)
    low, high = resized.amin(dim=(1, 2), keepdim=True), resized.amax(dim=(1, 2), keepdim=True)
    rounding = CONSTANT_WITHIN * torch.finfo(resized.dtype).eps
    varies = high - low > rounding * torch.maximum(low.abs(), high.abs())
    return varies & (resized - low > threshold * (high - low))


def overlap_counts(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels in all M masks and pixels in any. (M, B, H, W) bool -> two (B,) float64.

    Raises:
        ValueError: not boolean, not (M, B, H, W) with M >= 2, or nothing in it.
    """
    _check_masks(masks)
    in_all = masks.all(dim=0).sum(dim=(1, 2))
    in_any = masks.any(dim=0).sum(dim=(1, 2))
    return in_all.double(), in_any.double()


def intersection_over_union_per_image(masks: Tensor) -> Tensor:
    """|intersection| / |union| of the M masks of each image. (M, B, H, W) bool -> (B,) float64.

    Jaccard 1901. If all masks of an image are empty the value is 1: they are the same mask, and
    the overlap of a mask with itself is 1 for every mask, as it is in SciPy's Jaccard distance.

    Raises:
        ValueError: as ``overlap_counts``.
    """
    return _ratio(*overlap_counts(masks))


def intersection_over_union(masks: Tensor, *, pooled: bool = False) -> float:
    """Overlap of M models' masks, in [0, 1]: mean over images. (M, B, H, W) bool -> float.

    ``pooled=True`` divides the set's total intersection by its total union, so images with large
    masks weigh more; the published code does so batch by batch.

    Raises:
        ValueError: as ``overlap_counts``.
    """
    if not pooled:
        return intersection_over_union_per_image(masks).mean().item()
    intersection, union = overlap_counts(masks)
    return _ratio(intersection.sum(), union.sum()).item()


def shuffled_overlap(
    masks: Tensor, *, shuffles: int = 5, seed: int = 0, pooled: bool = False
) -> float:
    """Chance floor: the overlap when each model's mask is of another image. (M, B, H, W) bool.

    Masks keep their sizes and their habits (photographs are centred), only the image in common
    is gone. Mean over ``shuffles`` pairings from a generator of its own; within a pairing the M
    masks are of M different images, and every mask is used once.

    Raises:
        ValueError: as ``overlap_counts``, fewer images than models, or fewer than one shuffle.
    """
    _check_masks(masks)
    check_count(shuffles, name="shuffles")
    models, images = masks.shape[:2]
    if images < models:
        raise ValueError(f"masks: {models} models need at least {models} images, got {images}")
    generator = torch.Generator().manual_seed(seed)
    values = [
        intersection_over_union(_mismatch(masks, generator), pooled=pooled) for _ in range(shuffles)
    ]
    return sum(values) / shuffles


def pointing_hits(maps: Tensor, object_masks: Tensor) -> Tensor:
    """Whether each map's highest value lies in the object. (B, h, w), (B, H, W) bool -> (B,) bool.

    The pointing game of Zhang et al. 2018, "Top-down neural attention by excitation backprop",
    without its 15-pixel tolerance; the map is first resized (bilinear) to the object's mask. Of
    ties the first pixel counts, in reading order.

    Raises:
        ValueError: shapes that do not fit, no samples, NaN or infinity, or an empty object mask.
    """
    _check_maps(maps)
    _check_objects(object_masks, len(maps))
    resized = _resize(maps, object_masks.shape[1:])
    peak = resized.flatten(1).argmax(dim=1, keepdim=True)
    return object_masks.to(maps.device).flatten(1).gather(1, peak)[:, 0]


def _resize(maps: Tensor, size: int | tuple[int, int]) -> Tensor:
    maps = maps.detach().to(torch.promote_types(maps.dtype, torch.float32))
    size = (size, size) if isinstance(size, int) else tuple(size)
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def _ratio(intersection: Tensor, union: Tensor) -> Tensor:
    return torch.where(union > 0, intersection / union.clamp_min(1), 1.0)


def _mismatch(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Model m's masks moved m places along one random cycle through all images."""
    cycle = torch.randperm(masks.shape[1], generator=generator).to(masks.device)
    return torch.stack([own[cycle.roll(steps)] for steps, own in enumerate(masks)])


def _check_maps(maps: Tensor) -> None:
    if maps.ndim != 3 or not maps.is_floating_point():
        shape = tuple(maps.shape)
        raise ValueError(f"maps: expected floating-point (B, h, w), got {maps.dtype} {shape}")
    check_finite(maps, name="maps")


def _check_masks(masks: Tensor) -> None:
    if masks.ndim != 4 or masks.shape[0] < 2 or masks.numel() == 0:
        shape = tuple(masks.shape)
        raise ValueError(f"masks: expected shape (M >= 2, B, H, W), none empty, got {shape}")
    if masks.dtype != torch.bool:
        raise ValueError(f"masks: expected booleans, got {masks.dtype}")


def _check_objects(object_masks: Tensor, count: int) -> None:
    if object_masks.ndim != 3 or len(object_masks) != count or object_masks.dtype != torch.bool:
        shape = tuple(object_masks.shape)
        raise ValueError(
            f"object_masks: expected bool ({count}, H, W), got {object_masks.dtype} {shape}"
        )
    if not bool(object_masks.flatten(1).any(dim=1).all()):
        raise ValueError("object_masks: an image has no object pixels, so nothing can be hit")
