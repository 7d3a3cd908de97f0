"""Masks and their overlap: identities, SciPy, a known chance floor, the object's box."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import zoom
from scipy.spatial.distance import jaccard

from metrics.bootstrap import bootstrap_intervals
from metrics.overlap import (
    SetOverlap,
    binarize,
    equal_area_masks,
    intersection_over_union,
    intersection_over_union_per_image,
    overlap_counts,
    pointing_hits,
    rank_correlation_per_image,
    set_overlap,
    shuffled_overlap,
)


def random_masks(seed, models=2, images=6, side=5, density=0.5):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(models, images, side, side, generator=generator) < density


def row_masks(*rows):
    """One image a mask: (1, 1, len) booleans from strings, # being True."""
    return torch.tensor([[[[cell == "#" for cell in row]]] for row in rows])


# --- from maps to masks -------------------------------------------------------------------------


def test_binarize_scales_each_image_by_itself():
    maps = torch.tensor([[[0.0, 4.0], [5.0, 10.0]], [[-1.0, -0.6], [-0.5, 0.0]]])
    expected = [[False, False], [True, True]]  # .4 is not above .4
    assert binarize(maps, 2).tolist() == [expected, expected]


def test_binarize_resizes_bilinearly_before_it_scales():
    maps = torch.tensor([[[0.0, 1.0]]])
    # Pixel centres of 8 columns over 2: clamped at 0 and 1, and eighths between.
    columns = torch.tensor([0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    for threshold in (0.1, 0.3, 0.4, 0.7):
        mask = binarize(maps, (1, 8), threshold=threshold)
        assert mask[0, 0].tolist() == (columns > threshold).tolist()


def test_resizing_agrees_with_scipy():
    maps = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    zoomed = [zoom(each, 4, order=1, grid_mode=True, mode="nearest") for each in maps.numpy()]
    scaled = np.stack([(each - each.min()) / np.ptp(each) for each in zoomed])
    assert (binarize(maps, 16).numpy() == (scaled > 0.4)).all()


@pytest.mark.parametrize("level", [0.0, 0.1, -3.7, 1e6, 1e-8])
def test_a_constant_map_has_an_empty_mask_at_any_size(level):
    assert not binarize(torch.full((2, 7, 7), level), (224, 200)).any()


def test_a_map_that_is_constant_up_to_rounding_has_an_empty_mask():
    """The centred map of a class in features that are the same everywhere."""
    steps = torch.randint(2, (5, 7, 7), generator=torch.Generator().manual_seed(9))
    maps = 0.1 * (1 + steps * torch.finfo(torch.float32).eps)
    assert (maps.amax(dim=(1, 2)) > maps.amin(dim=(1, 2))).all()
    assert not binarize(maps, 32).any()


def test_a_map_that_varies_has_a_mask_that_is_neither_empty_nor_full():
    maps = 50 + torch.rand(20, 7, 7, generator=torch.Generator().manual_seed(1)) / 100
    for threshold in (0.0, 0.4, 0.999):
        covered = binarize(maps, 32, threshold=threshold).double().mean(dim=(1, 2))
        assert ((covered > 0) & (covered < 1)).all()


def test_masks_do_not_depend_on_a_maps_scale_and_offset():
    maps = torch.rand(5, 7, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.equal(binarize(maps, 32), binarize(4 * maps - 8, 32))


def test_half_precision_maps_are_resized_in_float32():
    maps = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(3)).half()
    assert torch.equal(binarize(maps, 32), binarize(maps.float(), 32))


def test_masks_of_equal_area_by_hand():
    maps = torch.tensor([[[3.0, 1.0, 2.0, 2.0], [0.0, 2.0, 0.0, 5.0]]])
    expected = {
        0.25: [[1, 0, 0, 0], [0, 0, 0, 1]],
        0.3: [[1, 0, 0, 0], [0, 0, 0, 1]],  # 2.4 pixels
        0.5: [[1, 0, 1, 1], [0, 0, 0, 1]],  # of three ties the first two
        0.9: [[1, 1, 1, 1], [1, 1, 0, 1]],
    }
    for share, mask in expected.items():
        assert equal_area_masks(maps, (2, 4), share=share)[0].int().tolist() == mask


@given(st.integers(0, 2**31), st.sampled_from([0.1, 0.25, 0.5]), st.integers(3, 9))
@settings(max_examples=30, deadline=None)
def test_masks_of_equal_area_are_those_of_a_stable_sort(seed, share, side):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randint(3, (4, 3, 3), generator=generator).double()
    found = equal_area_masks(maps, side, share=share)
    resized = torch.nn.functional.interpolate(
        maps[:, None], (side, side), mode="bilinear", align_corners=False
    )[:, 0]
    for own, mask in zip(resized.flatten(1).tolist(), found.flatten(1), strict=True):
        order = sorted(range(len(own)), key=lambda i: (-own[i], i))
        wanted = order[: round(share * len(own))] if max(own) > min(own) else []
        assert sorted(wanted) == mask.nonzero()[:, 0].tolist()


def test_masks_of_equal_area_know_no_scale_and_prefer_no_place_where_a_map_does_not():
    maps = torch.rand(5, 7, 7, generator=torch.Generator().manual_seed(2))
    assert torch.equal(equal_area_masks(maps, 32), equal_area_masks(4 * maps, 32))
    assert (equal_area_masks(maps, 32).sum(dim=(1, 2)) == 256).all()
    assert not equal_area_masks(torch.full((2, 7, 7), 0.1), 32).any()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 0.01, math.nan])
def test_a_share_of_no_pixel_is_refused(share):
    with pytest.raises(ValueError, match="share"):
        equal_area_masks(torch.rand(1, 4, 4), 4, share=share)


# --- intersection over union --------------------------------------------------------------------


def test_iou_by_hand():
    pair = row_masks("##..", ".##.")
    assert intersection_over_union(pair) == pytest.approx(1 / 3)
    triple = row_masks("###.", "##.#", "##..")
    assert intersection_over_union(triple) == pytest.approx(2 / 4)


def test_identical_disjoint_and_empty_masks():
    masks = random_masks(0, models=1)
    assert intersection_over_union(masks.expand(3, -1, -1, -1)) == 1
    assert intersection_over_union(torch.cat([masks, ~masks])) == 0
    empty = torch.zeros(2, 3, 4, 4, dtype=torch.bool)
    assert intersection_over_union(empty) == 1
    assert intersection_over_union(empty, pooled=True) == 1
    assert intersection_over_union(row_masks("....", "#...")) == 0


def test_per_image_agrees_with_scipy_empty_masks_included():
    masks = random_masks(1, images=8)
    masks[:, 3] = False
    first, second = masks.flatten(2).numpy()
    expected = [1 - jaccard(a, b) for a, b in zip(first, second, strict=True)]
    assert intersection_over_union_per_image(masks).tolist() == pytest.approx(expected)
    assert intersection_over_union(masks) == pytest.approx(np.mean(expected))


def test_pooling_weighs_images_by_their_union():
    masks = torch.cat([row_masks("####", "####"), row_masks("#...", ".#..")], dim=1)
    assert intersection_over_union(masks) == pytest.approx((1 + 0) / 2)
    assert intersection_over_union(masks, pooled=True) == pytest.approx(4 / 6)


def test_counts_add_up_over_chunks():
    masks = random_masks(2, models=3)
    parts = [overlap_counts(masks[:, :4]), overlap_counts(masks[:, 4:])]
    intersection, union = (sum(part[k].sum() for part in parts) for k in range(2))
    pooled = intersection_over_union(masks, pooled=True)
    assert (intersection / union).item() == pytest.approx(pooled)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), density=st.floats(0, 1), models=st.integers(2, 4))
def test_bounds_symmetry_order_and_monotony(seed, density, models):
    masks = random_masks(seed, models, density=density)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(masks.shape[1], generator=generator)
    for pooled in (False, True):
        value = intersection_over_union(masks, pooled=pooled)
        assert 0 <= value <= 1
        for same in (masks.flip(0), masks[:, order], masks.flip(3)):
            assert intersection_over_union(same, pooled=pooled) == pytest.approx(value)
    more = torch.cat([masks, random_masks(seed + 1, 1, density=density)])
    per_image = intersection_over_union_per_image
    assert (per_image(more) <= per_image(masks) + 1e-12).all()


# --- chance and the object ----------------------------------------------------------------------


@pytest.mark.parametrize("models", [2, 3])
def test_the_floor_of_independent_pixels_is_known(models):
    """Pixels on with probability p, independently: p^M / (1 - (1 - p)^M), in large images."""
    masks = random_masks(3, 1, images=12, side=64, density=0.4).expand(models, -1, -1, -1)
    expected = 0.4**models / (1 - 0.6**models)
    assert intersection_over_union(masks) == 1
    for pooled in (False, True):
        assert shuffled_overlap(masks, pooled=pooled) == pytest.approx(expected, abs=0.01)


def test_a_shuffle_never_pairs_an_image_with_itself():
    """Image i has pixel i alone, so any two masks of one image would overlap."""
    pixels = torch.eye(9, dtype=torch.bool).view(9, 3, 3)
    for models in (2, 3):
        masks = pixels.expand(models, -1, -1, -1)
        assert shuffled_overlap(masks, shuffles=30) == 0
    first_is_everything = torch.stack([torch.ones_like(pixels), pixels])
    assert shuffled_overlap(first_is_everything) == pytest.approx(1 / 9)


def test_the_floor_is_reproducible_and_leaves_the_global_generator_alone():
    masks = random_masks(4, images=20)
    state = torch.get_rng_state()
    first, again, other = (shuffled_overlap(masks, shuffles=1, seed=s) for s in (0, 0, 1))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state)


def test_pointing_game_counts_peaks_inside_the_object():
    maps = torch.zeros(3, 2, 2)
    maps[0, 0, 0] = maps[1, 1, 1] = maps[2, 0, 1] = 1
    upper_left = torch.zeros(3, 8, 8, dtype=torch.bool)
    upper_left[:, :4, :4] = True
    assert pointing_hits(maps, upper_left).tolist() == [True, False, False]
    assert pointing_hits(maps, torch.ones(3, 2, 2, dtype=torch.bool)).all()


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("maps", "threshold", "message"),
    [
        (torch.zeros(2, 2), 0.4, "maps"),
        (torch.zeros(1, 2, 2, dtype=torch.long), 0.4, "floating-point"),
        (torch.zeros(0, 2, 2), 0.4, "no samples"),
        (torch.full((1, 2, 2), math.nan), 0.4, "NaN"),
        (torch.zeros(1, 2, 2), 1.0, "threshold"),
        (torch.zeros(1, 2, 2), math.nan, "threshold"),
    ],
)
def test_bad_maps_are_refused(maps, threshold, message):
    with pytest.raises(ValueError, match=message):
        binarize(maps, 4, threshold=threshold)


@pytest.mark.parametrize("measure", [intersection_over_union, shuffled_overlap])
@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.ones(1, 3, 2, 2, dtype=torch.bool), "M >= 2"),
        (torch.ones(2, 2, 2, dtype=torch.bool), "expected shape"),
        (torch.ones(2, 0, 2, 2, dtype=torch.bool), "expected shape"),
        (torch.ones(2, 3, 2, 2), "booleans"),
    ],
)
def test_bad_masks_are_refused(measure, masks, message):
    with pytest.raises(ValueError, match=message):
        measure(masks)


def test_other_bad_input_is_refused():
    ones = torch.ones(2, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="need at least 3 images"):
        shuffled_overlap(torch.stack([ones, ones, ones]))
    with pytest.raises(ValueError, match="shuffles"):
        shuffled_overlap(torch.stack([ones, ones]), shuffles=0)
    with pytest.raises(ValueError, match="no object pixels"):
        pointing_hits(torch.rand(2, 4, 4), ones & torch.tensor([True, False])[:, None, None])
    with pytest.raises(ValueError, match="object_masks"):
        pointing_hits(torch.rand(3, 4, 4), ones)
    for counts in ((2, 4), (4, 2), (1, 3)):
        maps = [torch.rand(count, 4, 4) for count in counts]
        with pytest.raises(ValueError, match="images"):
            set_overlap(maps, 8)
        with pytest.raises(ValueError, match="images, expected as many"):
            rank_correlation_per_image(*maps)


def test_an_interval_above_chance_is_that_of_the_values_above_chance():
    overlap = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = SetOverlap(overlap, pooled=0.5, chance=0.25)
    known = bootstrap_intervals({"iou": overlap, "above": found.corrected})
    ends = found.above_chance(torch.tensor(known["iou"], dtype=torch.float64)).tolist()
    assert ends == pytest.approx(known["above"])
    assert found.above_chance(torch.tensor([0.25, 1.0])).tolist() == [0, 1]
