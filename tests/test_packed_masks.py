"""Packed masks give what booleans give, to the last digit, and are made once."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import overlap as recent_masks
from metrics.overlap import (
    PackedMasks,
    RecentMasks,
    binarize,
    intersection_over_union,
    intersection_over_union_per_image,
    overlap_counts,
    packed_masks,
    set_bits,
    set_overlap,
    shuffled_overlap,
)


def draw(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def packed(masks):
    return [PackedMasks.pack(own) for own in masks]


def test_bits_are_counted_as_python_counts_them():
    values = [0, 1, -1, 2**63 - 1, -(2**63), 0x5555555555555555, 0x0123456789ABCDEF, -42]
    counts = set_bits(torch.tensor(values)[:, None])
    assert counts.tolist() == [(value % 2**64).bit_count() for value in values]
    assert set_bits(torch.tensor([values])).item() == counts.sum().item()


def test_a_pixel_is_a_bit():
    masks = packed_masks(draw(10, 7, 7), 224)
    assert masks.words.nbytes == 10 * 224 * 224 // 8
    assert PackedMasks.pack(torch.ones(3, 5, 13, dtype=torch.bool)).words.shape == (3, 2)


@settings(max_examples=60, deadline=None)
@given(
    models=st.integers(2, 4),
    images=st.integers(1, 6),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_counts_are_those_of_booleans(models, images, height, width, density, seed):
    masks = draw(models, images, height, width, seed=seed) < density
    expected = masks.all(0).sum((1, 2)).tolist(), masks.any(0).sum((1, 2)).tolist()
    for either in (masks, packed(masks)):
        in_all, in_any = overlap_counts(either)
        assert (in_all.tolist(), in_any.tolist()) == expected
        assert in_all.dtype == torch.float64


def test_counts_do_not_depend_on_blocks(monkeypatch):
    masks = draw(3, 50, 9, 11) < 0.5
    whole = overlap_counts(masks)
    monkeypatch.setattr("metrics.overlap.WORDS_PER_BLOCK", 7)
    assert all(map(torch.equal, overlap_counts(masks), whole))


def test_every_measure_takes_either():
    masks = draw(3, 40, 15, 15) < 0.4
    measures = (intersection_over_union, shuffled_overlap)
    for pooled in (False, True):
        for measure in measures:
            assert measure(packed(masks), pooled=pooled) == measure(masks, pooled=pooled)
    per_image = intersection_over_union_per_image
    assert torch.equal(per_image(packed(masks)), per_image(masks))


def chance_of_booleans(masks):
    """Model m's masks moved m places along a random cycle: five cycles of one generator."""
    generator, values = torch.Generator().manual_seed(0), []
    for _ in range(5):
        cycle = torch.randperm(masks.shape[1], generator=generator)
        moved = torch.stack([own[cycle.roll(k)] for k, own in enumerate(masks)])
        in_all, in_any = moved.all(0).sum((1, 2)).double(), moved.any(0).sum((1, 2))
        values.append((in_all / in_any).mean().item())
    return sum(values) / 5


@pytest.mark.parametrize("models", [2, 4])
def test_a_set_has_the_numbers_of_its_booleans_to_the_last_digit(monkeypatch, models):
    """Made in blocks, paired in three chunks that a permutation of the whole set draws."""
    size, images = 33, 50
    maps = [draw(images, 4 + k, 5, seed=k) for k in range(models)]
    monkeypatch.setattr("metrics.overlap.PIXELS_PER_CHUNK", size**2 * 20)
    monkeypatch.setattr("metrics.overlap.PIXELS_PER_BLOCK", size**2 * 7)
    found = set_overlap(maps, size)

    masks = torch.stack([binarize(own, size) for own in maps])
    in_all, in_any = masks.all(0).sum((1, 2)).double(), masks.any(0).sum((1, 2)).double()
    assert torch.equal(found.per_image, in_all / in_any)
    assert found.pooled == (in_all.sum() / in_any.sum()).item()
    chunks = torch.randperm(images, generator=torch.Generator().manual_seed(0)).chunk(3)
    parts = [chance_of_booleans(masks[:, rows]) * len(rows) / images for rows in chunks]
    assert found.chance == sum(parts)


@pytest.mark.parametrize("size", [32, 33, 224])
def test_a_block_of_one_image_is_resized_as_in_a_batch(size):
    maps = draw(5, 7, 7, seed=3)
    whole = binarize(maps, size)
    assert all(torch.equal(binarize(own[None], size)[0], whole[k]) for k, own in enumerate(maps))


def test_masks_are_made_once_for_each_content_and_size():
    maps, other = draw(6, 4, 4), draw(6, 4, 4, seed=1)
    masks = RecentMasks()
    first = masks.of(maps, 16)
    assert masks.of(maps.clone(), 16) is first
    assert torch.equal(first.words, packed_masks(maps, 16).words)
    for different, size in ((other, 16), (maps, 17), (maps.view(6, 2, 8), 16)):
        assert torch.equal(
            masks.of(different, size).words,
            packed_masks(different, size).words,
        )
    assert not torch.equal(
        RecentMasks(partial(binarize, threshold=0.7)).of(maps, 16).words, first.words
    )


def test_the_longest_unused_masks_go_first(monkeypatch):
    maps = [draw(6, 4, 4, seed=k) for k in range(3)]
    each = packed_masks(maps[0], 16).words.nbytes
    monkeypatch.setattr(recent_masks, "HELD_BYTES", 2 * each)
    masks = RecentMasks()
    first, second = (masks.of(own, 16) for own in maps[:2])
    assert masks.of(maps[0], 16) is first
    masks.of(maps[2], 16)  # the second is the longest unused
    assert masks.of(maps[0], 16) is first
    assert masks.of(maps[1], 16) is not second


@pytest.mark.parametrize(
    "masks",
    [
        packed(torch.ones(1, 3, 2, 2, dtype=torch.bool)),
        packed(torch.ones(2, 0, 2, 2, dtype=torch.bool)),
        [
            PackedMasks.pack(torch.ones(3, 2, 2, dtype=torch.bool)),
            PackedMasks.pack(torch.ones(3, 2, 3, dtype=torch.bool)),
        ],
        [
            PackedMasks.pack(torch.ones(3, 2, 2, dtype=torch.bool)),
            PackedMasks.pack(torch.ones(4, 2, 2, dtype=torch.bool)),
        ],
    ],
    ids=["one model", "no image", "other size", "other number"],
)
def test_masks_that_cannot_be_compared_are_refused(masks):
    for measure in (intersection_over_union, shuffled_overlap):
        with pytest.raises(ValueError, match="masks"):
            measure(masks)
