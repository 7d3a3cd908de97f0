"""Intervals over replicates and shared images, and corrections for the number of claims."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from metrics.bootstrap import resample_counts
from metrics.intervals import (
    expected_half_width,
    holm,
    over_replicates,
    replicates_needed,
    shared_variance,
    spearman,
    t_quantile,
)


@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_rank_correlations_share_the_ranks_of_ties(levels: int, random) -> None:
    """By an independent library; few levels make many ties."""
    x, y = random.integers(0, levels, (2, 5, 9))
    x[:, :2], y[:, :2] = (0, 1), (0, 1)  # nothing is constant
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert spearman(x, y).tolist() == pytest.approx(expected)


def test_values_of_any_layout_are_ranked_without_a_warning(recwarn) -> None:
    x = torch.rand(9, 5, dtype=torch.float64).T
    torch.set_warn_always(True)
    try:
        assert spearman(x, x).tolist() == pytest.approx([1.0] * 5)
    finally:
        torch.set_warn_always(False)
    assert not recwarn


def test_what_is_constant_has_no_order() -> None:
    assert spearman(np.ones(4), np.arange(4)).item() == 0


@pytest.mark.parametrize("freedom", [1.0, 2.7, 9.0, 1e4, math.inf])
def test_the_quantile_of_t(freedom: float) -> None:
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-12)


def test_images_that_all_replicates_share_give_the_normal_interval() -> None:
    images = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    resampled = resample_counts(400, resamples=4000, seed=1) @ images / 400
    common = shared_variance(resampled[:, None].expand(-1, 3))
    found = over_replicates([images.mean().item()] * 3, common)
    assert found.standard_error == pytest.approx(images.std().item() / 20, rel=0.05)
    assert found.high - found.estimate == pytest.approx(1.96 * found.standard_error, rel=0.001)


@pytest.mark.parametrize(("of_training", "shared", "own"), [(4, 0, 1), (0, 1, 0.1), (2, 1, 1)])
def test_it_holds_the_truth_about_as_often_as_it_says(
    of_training: float, shared: float, own: float
) -> None:
    """Noise of each replicate's training, of images that all share, and of images in each."""
    random = np.random.default_rng(0)
    replicates, images, trials, hits = 5, 60, 400, 0
    counts = resample_counts(images, resamples=200, seed=0) / images
    for _ in range(trials):
        values = of_training / 8 * random.standard_normal((replicates, 1))
        values = values + shared * random.standard_normal((1, images))
        values = values + own * random.standard_normal((replicates, images))
        common = shared_variance(counts @ torch.from_numpy(values).T)
        found = over_replicates(values.mean(1).tolist(), common)
        hits += found.low <= 0 <= found.high
    assert 0.91 < hits / trials < 0.985


def test_counts_are_those_of_a_resample() -> None:
    counts = resample_counts(7, resamples=5, seed=3)
    assert counts.sum(1).tolist() == [7] * 5
    assert torch.equal(counts.round(), counts)


@pytest.mark.parametrize("shape", [(1, 2), (5,), (5, 0)])
def test_resamples_that_share_nothing_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        shared_variance(torch.zeros(shape))


def test_a_hand_worked_interval_over_replicates() -> None:
    """1, 2, 6: s^2 = 7, SE^2 = 7 / 3 + 5 / 3 = 4, degrees of freedom 2 (4 / (7 / 3))^2 = 5.878."""
    found = over_replicates([1, 2, 6], 5 / 3)
    assert (found.estimate, found.standard_error) == (3, pytest.approx(2))
    assert found.degrees_of_freedom == pytest.approx(288 / 49)
    expected = stats.t.interval(0.95, 288 / 49, loc=3, scale=2)
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.p == pytest.approx(2 * stats.t.sf(1.5, 288 / 49))


def test_replicates_that_share_nothing_have_students_t() -> None:
    found = over_replicates([1.0, 2.0, 4.0], 0)
    expected = stats.ttest_1samp([1.0, 2.0, 4.0], 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(expected.confidence_interval())


def test_one_replicate_has_the_interval_of_the_images() -> None:
    found = over_replicates([0.5], 0.04)
    assert (found.low, found.high) == pytest.approx((0.5 - 0.392, 0.5 + 0.392), abs=1e-4)
    assert found.degrees_of_freedom == math.inf
    assert found.p == pytest.approx(2 * stats.norm.sf(2.5))


def test_replicates_that_are_all_alike_leave_no_doubt() -> None:
    assert over_replicates([0.0, 0.0], 0).p == 1
    assert over_replicates([2.0, 2.0], 0).p == 0


@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_replicates_must_be_numbers(values: list[float]) -> None:
    with pytest.raises(ValueError, match="values"):
        over_replicates(values, 0)


@pytest.mark.parametrize("replicates", [2, 3, 5, 10])
@pytest.mark.parametrize(("own", "shared"), [(1.0, 0.0), (1.0, 0.5), (0.3, 1.0)])
def test_intervals_over_replicates_hold_the_truth(
    replicates: int, own: float, shared: float
) -> None:
    """Of 2,000 studies. With two or three replicates the degrees of freedom are themselves a guess:
    where they share a third of the variance, .92 of the intervals hold it."""
    generator = np.random.default_rng(0)
    values = own * generator.standard_normal((2000, replicates))
    values += shared * generator.standard_normal((2000, 1))
    found = [over_replicates(list(study), shared**2) for study in values]
    hits = sum(each.low <= 0 <= each.high for each in found)
    assert (0.935 if replicates > 3 else 0.91) < hits / 2000 < 0.985
    assert hits == sum(each.p > 0.05 for each in found)


def test_holm_by_hand() -> None:
    """.01 x 4, .02 x 3, .03 x 2 is no less than the one before, .5."""
    assert holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1, 1] and holm([]) == []


def test_holm_wants_probabilities() -> None:
    with pytest.raises(ValueError, match="p_values"):
        holm([0.1, 1.5])


def test_holm_rejects_wrongly_in_one_study_of_twenty() -> None:
    p_values = np.random.default_rng(0).random((4000, 6))
    wrong = sum(min(holm(list(study))) <= 0.05 for study in p_values)
    assert 0.04 < wrong / 4000 < 0.06


def test_what_replicates_share_is_their_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    shared, own = (
        torch.randn(4000, 1, generator=generator),
        torch.randn(4000, 3, generator=generator),
    )
    assert shared_variance(2 * shared + own) == pytest.approx(4, rel=0.1)
    assert shared_variance(shared[:, :1]) == pytest.approx(shared.var().item(), rel=1e-5)


def test_replicates_that_are_needed() -> None:
    """s = 1: half widths 12.706 / sqrt 2 and 4.303 / sqrt 3; of images alone, 1.96 x .6."""
    assert expected_half_width(1, 0, 2) == pytest.approx(12.7062 / math.sqrt(2), rel=1e-4)
    assert expected_half_width(1, 0, 1) == math.inf
    assert replicates_needed(1, 0, 4.303 / math.sqrt(3)) == 3
    assert replicates_needed(1, 0.36, 1.0) is None
