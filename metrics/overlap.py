"""How much attention maps overlap: with each other, with chance, with the object itself.

Masks are True where a model looks: booleans (M, B, H, W) of M models, or a sequence of their
``PackedMasks``. A set too large for memory goes through in chunks:
``intersection_over_union_per_image`` values average, ``overlap_counts`` add up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.arrays import takes_arrays
from metrics.conventions import SHARE, THRESHOLD
from metrics.intervals import spearman
from metrics.packed_masks import PackedMasks, set_bits
from metrics.validation import check_count, check_finite

Masks = Tensor | Sequence[PackedMasks]
Rule = Callable[[Tensor, int], Tensor]  # maps (B, h, w), a side -> masks (B, side, side)
CONSTANT_WITHIN = 16  # multiples of the dtype's epsilon: what resizing a constant may add
WORDS_PER_BLOCK = 2**17  # counted at once: 1 MiB, which stays in a processor's cache


@takes_arrays
def binarize(maps: Tensor, size: int | tuple[int, int], *, threshold: float = THRESHOLD) -> Tensor:
    """Where a map is high. (B, h, w) -> (B, H, W) bool, ``size`` being (H, W) or one side.

    Bilinear resize (align_corners=False), then per image (x - min) / (max - min) > threshold.
    The comparison is strict, so a map that varies always has a mask with something in it. A map
    that is constant up to rounding prefers no place: its mask is empty.

    Raises:
        ValueError: not (B, h, w), no samples, NaN or infinity, or a threshold outside [0, 1).

    >>> binarize(np.array([[[0.0, 0.3], [0.5, 1.0]]]), 2)
    tensor([[[False, False],
             [ True,  True]]])
    """
    _check_maps(maps)
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold: expected a number in [0, 1), got {threshold}")
    resized = _resize(maps, size)
    low, high, varies = _range(resized)
    return resized - low > torch.where(varies, threshold * (high - low), torch.inf)


@takes_arrays
def equal_area_masks(maps: Tensor, size: int | tuple[int, int], *, share: float = SHARE) -> Tensor:
    """The highest ``share`` of each map's pixels. (B, h, w) -> (B, H, W) bool, ``size`` being
    (H, W) or one side.

    Bilinear resize as in ``binarize``, then exactly round(share H W) pixels of each image, of equal
    ones those that come first in reading order: however a map's values are spread, its mask has the
    size of all others. A map that is constant up to rounding has an empty mask.

    Raises:
        ValueError: not (B, h, w), no samples, NaN or infinity, or a share outside (0, 1) or so
            small that no pixel is left.

    >>> equal_area_masks(np.array([[[0.0, 0.1], [0.2, 9.0]]]), 2, share=0.5)
    tensor([[[False, False],
             [ True,  True]]])
    """
    _check_maps(maps)
    resized = _resize(maps, size)
    flat = resized.flatten(1)
    count = round(share * flat.shape[1]) if 0 < share < 1 else 0
    if not count:
        raise ValueError(f"share: expected a number in (0, 1), of a pixel at least, got {share}")
    least = flat.topk(count, sorted=False).values.amin(dim=1, keepdim=True)
    above, equal = flat > least, flat == least
    room = count - above.sum(dim=1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=1) <= room))
    return chosen.view(resized.shape) & _range(resized)[2]


def _range(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Least and largest value of each map, and whether it varies more than by rounding. (B, H, W)
    -> three (B, 1, 1)."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    rounding = CONSTANT_WITHIN * torch.finfo(maps.dtype).eps
    return low, high, high - low > rounding * torch.maximum(low.abs(), high.abs())


@takes_arrays
def overlap_counts(masks: Masks) -> tuple[Tensor, Tensor]:
    """Pixels in all M masks and pixels in any. M models' masks of B images -> two (B,) float64.

    Raises:
        ValueError: not boolean, not (M, B, H, W) with M >= 2, or nothing in it; packed masks of
            fewer than two models, of no images, or whose numbers or sizes differ.
    """
    words = [mask.words for mask in _packed(masks)]
    images = max(1, WORDS_PER_BLOCK // words[0].shape[1])
    blocks = zip(*(word.split(images) for word in words), strict=True)
    in_all, in_any = torch.cat([_block_counts(block) for block in blocks], dim=1).double()
    return in_all, in_any


@takes_arrays
def intersection_over_union_per_image(masks: Masks) -> Tensor:
    """|intersection| / |union| of the M masks of each of B images -> (B,) float64.

    Jaccard 1901. If all masks of an image are empty the value is 1: they are the same mask, and
    the overlap of a mask with itself is 1 for every mask, as it is in SciPy's Jaccard distance.

    Raises:
        ValueError: as ``overlap_counts``.

    >>> masks = np.array([[[[True, True, False]]], [[[True, False, False]]]])  # two models
    >>> intersection_over_union_per_image(masks)
    tensor([0.5000], dtype=torch.float64)
    """
    return overlap_ratio(*overlap_counts(masks))


@takes_arrays
def intersection_over_union(masks: Masks, *, pooled: bool = False) -> float:
    """Overlap of M models' masks, in [0, 1]: mean over images.

    ``pooled=True`` divides the set's total intersection by its total union, so images with large
    masks weigh more; the published code does so batch by batch.

    Raises:
        ValueError: as ``overlap_counts``.

    >>> masks = np.array([[[[True, True, False]]], [[[True, False, False]]]])  # two models
    >>> intersection_over_union(masks)
    0.5
    """
    if not pooled:
        return intersection_over_union_per_image(masks).mean().item()
    intersection, union = overlap_counts(masks)
    return overlap_ratio(intersection.sum(), union.sum()).item()


@takes_arrays
def overlap_ratio(intersection: Tensor, union: Tensor) -> Tensor:
    """Intersection / union of counts of one shape; 1 where both are empty."""
    return torch.where(union > 0, intersection / union.clamp_min(1), 1.0)


@takes_arrays
def shuffled_overlap(
    masks: Masks, *, shuffles: int = 5, seed: int = 0, pooled: bool = False
) -> float:
    """Chance floor: the overlap when each model's mask is of another image.

    Masks keep their sizes and their habits (photographs are centred), only the image in common
    is gone. Mean over ``shuffles`` pairings from a generator of its own; within a pairing the M
    masks are of M different images, and every mask is used once.

    Raises:
        ValueError: as ``overlap_counts``, fewer images than models, or fewer than one shuffle.

    >>> masks = np.array([[[[True, False]], [[False, True]]]] * 2)  # both models alike
    >>> shuffled_overlap(masks)
    0.0
    """
    packed = _packed(masks)
    check_count(shuffles, name="shuffles")
    models, images = len(packed), len(packed[0])
    if images < models:
        raise ValueError(f"masks: {models} models need at least {models} images, got {images}")
    generator = torch.Generator().manual_seed(seed)
    values = [
        intersection_over_union(_mismatch(packed, generator), pooled=pooled)
        for _ in range(shuffles)
    ]
    return sum(values) / shuffles


@takes_arrays
def rank_correlation_per_image(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of two models' maps over the positions of each image: an overlap
    without a threshold. (B, h, w), (B, h', w') -> (B,) float64; the coarser map is resized to the
    finer one. 0 where a map is constant.

    Raises:
        ValueError: other shapes, no samples, NaN or infinity.

    >>> a = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    >>> rank_correlation_per_image(a, a**2), rank_correlation_per_image(a, -a)
    (tensor([1.], dtype=torch.float64), tensor([-1.], dtype=torch.float64))
    """
    _check_maps(a)
    _check_maps(b)
    if len(a) != len(b):
        raise ValueError(f"maps: {len(a)} and {len(b)} images, expected as many")
    side = max(a.shape[1:], b.shape[1:])
    flat = [(m if m.shape[1:] == side else _resize(m, side)).flatten(1) for m in (a, b)]
    return spearman(*(maps.detach().cpu() for maps in flat))


@takes_arrays
def pointing_hits(maps: Tensor, object_masks: Tensor) -> Tensor:
    """Whether each map's highest value lies in the object. (B, h, w), (B, H, W) bool -> (B,) bool.

    The pointing game of Zhang et al. 2018, "Top-down neural attention by excitation backprop",
    without its 15-pixel tolerance; the map is first resized (bilinear) to the object's mask. Of
    ties the first pixel counts, in reading order.

    Raises:
        ValueError: shapes that do not fit, no samples, NaN or infinity, or an empty object mask.

    >>> maps, objects = np.array([[[0.1, 0.9]]]), np.array([[[False, True]]])
    >>> pointing_hits(maps, objects)
    tensor([True])
    """
    _check_maps(maps)
    _check_objects(object_masks, len(maps))
    resized = _resize(maps, object_masks.shape[1:])
    peak = resized.flatten(1).argmax(dim=1, keepdim=True)
    return object_masks.to(maps.device).flatten(1).gather(1, peak)[:, 0]


def _resize(maps: Tensor, size: int | Sequence[int]) -> Tensor:
    maps = maps.detach().to(torch.promote_types(maps.dtype, torch.float32))
    sides = [size, size] if isinstance(size, int) else list(size)
    return F.interpolate(maps[:, None], sides, mode="bilinear", align_corners=False)[:, 0]


def _packed(masks: Masks) -> Sequence[PackedMasks]:
    """One for each model; ValueError where an overlap has no meaning."""
    if isinstance(masks, Tensor):
        _check_masks(masks)
        return [PackedMasks.pack(mask) for mask in masks]
    _check_packed(masks)
    return masks


def _block_counts(words: Sequence[Tensor]) -> Tensor:
    """Bits in all of M (n, w) words, and in any. -> (2, n) int64."""
    joined = (reduce(torch.bitwise_and, words), reduce(torch.bitwise_or, words))
    return torch.stack([set_bits(each) for each in joined])


def _mismatch(masks: Sequence[PackedMasks], generator: torch.Generator) -> list[PackedMasks]:
    """Model m's masks moved m places along one random cycle through all images."""
    cycle = torch.randperm(len(masks[0]), generator=generator).to(masks[0].words.device)
    return [mask[cycle.roll(steps)] for steps, mask in enumerate(masks)]


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


def _check_packed(masks: Sequence[PackedMasks]) -> None:
    shapes = [(len(mask), mask.pixels) for mask in masks]
    if len(shapes) < 2 or len(set(shapes)) > 1 or 0 in shapes[0]:
        raise ValueError(f"masks: expected M >= 2 of one (images, pixels), none empty: {shapes}")


def _check_objects(object_masks: Tensor, count: int) -> None:
    if object_masks.ndim != 3 or len(object_masks) != count or object_masks.dtype != torch.bool:
        shape = tuple(object_masks.shape)
        raise ValueError(
            f"object_masks: expected bool ({count}, H, W), got {object_masks.dtype} {shape}"
        )
    if not bool(object_masks.flatten(1).any(dim=1).all()):
        raise ValueError("object_masks: an image has no object pixels, so nothing can be hit")


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
        return None if self.chance is None else self.above_chance(self.per_image)

    def above_chance(self, overlap: Tensor) -> Tensor:
        """The same of other values of IoU, such as the ends of an interval, at this chance."""
        assert self.chance is not None
        return (overlap - self.chance) / max(1 - self.chance, torch.finfo(torch.float64).eps)


@takes_arrays
def set_overlap(maps: Sequence[Tensor], size: int, *, threshold: float = THRESHOLD) -> SetOverlap:
    """Overlap of M models' maps, each (n, h, w) with its own h and w, at `size` x `size` pixels.

    >>> maps = np.random.default_rng(0).random((100, 4, 4))
    >>> own = set_overlap([maps, maps], 16)
    >>> own.pooled, round(own.chance, 2)
    (1.0, 0.49)
    """
    rule = partial(binarize, threshold=threshold)
    return masks_overlap([packed_masks(heatmap, size, rule=rule) for heatmap in maps])


@takes_arrays
def packed_masks(maps: Tensor, size: int, *, rule: Rule = binarize) -> PackedMasks:
    """The rule's masks of (n, h, w) maps, packed; a few images at a time."""
    blocks = [
        PackedMasks.pack(rule(block, size))
        for block in maps.split(max(1, PIXELS_PER_BLOCK // size**2))
    ]
    return PackedMasks(torch.cat([block.words for block in blocks]), blocks[0].pixels)


def masks_overlap(masks: Sequence[PackedMasks]) -> SetOverlap:
    """Overlap of M models' masks of the same n images; ValueError for others.

    Chunks are drawn at random, so that the images that a chance pairing brings together are of
    all classes even where the set is sorted by class.
    """
    _check_packed(masks)
    order = torch.randperm(len(masks[0]), generator=torch.Generator().manual_seed(0))
    per_image = torch.empty(len(order), dtype=torch.float64)
    intersection, union = 0.0, 0.0
    chance = 0.0 if len(order) >= len(masks) else None
    for chunk in _chunks(order, masks[0].pixels, least=len(masks)):
        chosen = [mask[chunk] for mask in masks]
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


HELD_BYTES = 2**29  # eight models' masks of 10,000 images at 224 pixels


class RecentMasks:
    """Masks by one rule, made once for maps of one content while they are held.

    A row of the grid asks for a student's and its teachers' masks in four groups, and the next
    row often for the same teachers and target. Beyond HELD_BYTES the longest unused go.
    """

    def __init__(self, rule: Rule = binarize) -> None:
        self._rule = rule
        self._held: dict[Hashable, PackedMasks] = {}

    def of(self, maps: torch.Tensor, size: int) -> PackedMasks:
        """The masks of (n, h, w) maps at `size` x `size` pixels."""
        content = hashlib.sha256(maps.contiguous().numpy().tobytes()).digest()
        key = (content, maps.dtype, maps.shape, size)
        masks = self._held.pop(key, None)
        if masks is None:
            masks = packed_masks(maps, size, rule=self._rule)
        self._held[key] = masks  # the latest comes last
        while sum(each.words.nbytes for each in self._held.values()) > HELD_BYTES:
            self._held.pop(next(iter(self._held)))
        return masks
