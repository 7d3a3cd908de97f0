"""Bootstrap intervals: exact sums, closed-form widths, coverage, and calibration error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.stats import binom

from metrics import bootstrap
from metrics.bootstrap import (
    bootstrap_calibration_error,
    bootstrap_intervals,
    bootstrap_ratio,
    means_with_intervals,
    resampled_sums,
)
from metrics.calibration import expected_calibration_error


def random_values(seed, n=400):
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def calibration_set(seed, n, sharpen):
    """Labels drawn from softmax(logits); what is reported is softmax(sharpen * logits)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, 5, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return sharpen * logits, labels


def test_every_resample_draws_n_samples():
    n = 37
    sums = resampled_sums(torch.eye(n, dtype=torch.float64), resamples=200, seed=0)
    assert sums.shape == (200, n)
    assert torch.equal(sums, sums.round())
    assert (sums.sum(dim=1) == n).all()
    assert sums.mean().item() == pytest.approx(1)
    variance = sums.var(dim=0).mean().item()
    assert variance == pytest.approx(1 - 1 / n, rel=0.05)  # of a binomial count, n draws at 1/n


def test_chunks_of_any_size_hold_every_resample(monkeypatch):
    values = random_values(0, 50)[:, None]
    whole = resampled_sums(values, resamples=23, seed=4)
    monkeypatch.setattr(bootstrap, "MOST_SHARED", 0)
    monkeypatch.setattr(bootstrap, "CELLS_PER_CHUNK", 200)
    chunked = resampled_sums(values, resamples=23, seed=4)
    monkeypatch.setattr(bootstrap, "CELLS_PER_CHUNK", 1)
    single = resampled_sums(values, resamples=23, seed=4)
    torch.testing.assert_close(chunked, whole)
    torch.testing.assert_close(single, whole)


@pytest.mark.parametrize("n", [1, 300, 5000])  # the last in two chunks
def test_counts_that_measures_share_are_those_drawn_anew(n, monkeypatch):
    values = torch.stack([random_values(1, n), random_values(2, n)], dim=1)
    shared = [resampled_sums(values, resamples=1000, seed=seed) for seed in (3, 4, 3, 3)]
    monkeypatch.setattr(bootstrap, "MOST_SHARED", 0)
    for seed, sums in zip((3, 4, 3, 3), shared, strict=True):
        assert torch.equal(sums, resampled_sums(values, resamples=1000, seed=seed))


def test_interval_of_a_proportion_has_binomial_quantiles():
    correct = torch.arange(1000) < 700
    low, high = bootstrap_intervals({"top1": correct}, resamples=4000)["top1"]
    expected = binom.ppf([0.025, 0.975], 1000, 0.7) / 1000
    assert (low, high) == pytest.approx(expected, abs=0.003)


def test_interval_width_follows_the_standard_error():
    values = random_values(1)
    standard_error = values.std(correction=0).item() / math.sqrt(len(values))
    for confidence, deviations in ((0.95, 1.960), (0.68, 0.9945)):
        intervals = bootstrap_intervals({"x": values}, resamples=4000, confidence=confidence)
        low, high = intervals["x"]
        assert low < values.mean() < high
        assert high - low == pytest.approx(2 * deviations * standard_error, rel=0.06)


def test_coverage_is_close_to_nominal():
    hits = 0
    for trial in range(200):
        values = -random_values(trial, 100).log()  # exponential, mean 1
        low, high = bootstrap_intervals({"x": values}, resamples=200, seed=trial)["x"]
        hits += low <= 1 <= high
    assert 0.88 <= hits / 200 <= 0.98


def test_measures_share_their_resamples():
    a, b = random_values(2), random_values(3)
    intervals = bootstrap_intervals(
        {"a": a, "b": b, "same": a.clone(), "shifted": a + 1, "c": a - a}
    )
    assert intervals["same"] == pytest.approx(intervals["a"])
    assert intervals["shifted"] == pytest.approx([end + 1 for end in intervals["a"]])
    assert intervals["c"] == (0, 0)
    assert intervals["a"] == pytest.approx(bootstrap_intervals({"a": a})["a"])
    assert intervals["a"] != pytest.approx(intervals["b"])
    assert list(intervals) == ["a", "b", "same", "shifted", "c"]


def test_seeds_decide_and_the_global_generator_stays():
    values = {"x": random_values(4)}
    state = torch.get_rng_state()
    first, again, other = (bootstrap_intervals(values, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state)


def test_one_sample_leaves_no_doubt():
    assert bootstrap_intervals({"x": torch.tensor([0.25])}) == {"x": (0.25, 0.25)}


@pytest.mark.parametrize("weighting", ["sample", "bin"])
def test_calibration_interval_agrees_with_resampling_the_set(weighting):
    logits, labels = calibration_set(0, 300, 1.5)
    options = {"n_bins": 10, "weighting": weighting}
    estimate = expected_calibration_error(logits, labels, **options)
    generator = np.random.default_rng(0)
    draws = (torch.from_numpy(generator.integers(300, size=300)) for _ in range(1000))
    errors = [expected_calibration_error(logits[d], labels[d], **options) for d in draws]
    expected = 2 * estimate - np.quantile(errors, [0.975, 0.025])
    found = bootstrap_calibration_error(logits, labels, resamples=1000, **options)
    assert found == pytest.approx(expected.clip(0), abs=0.008)


def test_calibration_interval_of_a_large_set_contains_the_truth():
    truth = expected_calibration_error(*calibration_set(1, 300_000, 1.5))
    low, high = bootstrap_calibration_error(*calibration_set(2, 5_000, 1.5), resamples=400)
    assert 0.05 < low <= truth <= high < 0.15


def test_calibration_interval_never_goes_below_zero():
    low, high = bootstrap_calibration_error(*calibration_set(3, 200, 1.0), resamples=200)
    assert low == 0 <= high


@pytest.mark.parametrize(
    ("per_sample", "message"),
    [
        ({}, "per_sample"),
        ({"a": torch.zeros(3), "b": torch.zeros(4)}, "per_sample"),
        ({"a": torch.zeros(3, 1)}, "per_sample"),
        ({"a": torch.zeros(0)}, "a: no samples"),
        ({"a": torch.tensor([0.0, math.nan])}, "a: contains NaN"),
    ],
)
def test_bad_measures_are_refused(per_sample, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_intervals(per_sample)


@pytest.mark.parametrize("options", [{"resamples": 0}, {"confidence": 1.0}, {"confidence": 95}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        bootstrap_intervals({"x": torch.zeros(3)}, **options)
    with pytest.raises(ValueError, match=next(iter(options))):
        bootstrap_calibration_error(torch.zeros(3, 2), torch.tensor([0, 1, 0]), **options)


def test_ratio_of_a_measure_with_itself_is_one_and_of_its_double_two():
    values = torch.arange(1, 51, dtype=torch.float64)
    assert bootstrap_ratio(values, values) == (1.0, 1.0)
    low, high = bootstrap_ratio(2 * values, values)
    assert (low, high) == pytest.approx((2.0, 2.0))


def test_ratio_agrees_with_scipy():
    generator = torch.Generator().manual_seed(0)
    top = (torch.rand(400, generator=generator) < 0.4).double()
    bottom = (torch.rand(400, generator=generator) < 0.8).double()
    low, high = bootstrap_ratio(top, bottom, resamples=4000)
    found = scipy.stats.bootstrap(
        (top.numpy(), bottom.numpy()),
        lambda a, b, axis: a.mean(axis) / b.mean(axis),
        paired=True,
        vectorized=True,
        n_resamples=4000,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    assert (low, high) == pytest.approx((found.low, found.high), abs=0.01)


def test_ratio_over_nothing_is_refused():
    with pytest.raises(ValueError, match="is 0 throughout"):
        bootstrap_ratio(torch.ones(3), torch.zeros(3))


def test_means_with_intervals_are_the_mean_and_its_interval():
    values = {"x": torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])}
    row = means_with_intervals(values, seed=3)
    assert row["x"] == pytest.approx(0.6)
    assert (row["x_low"], row["x_high"]) == bootstrap_intervals(values, seed=3)["x"]
