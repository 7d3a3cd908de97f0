"""The interval of a mean over seeds and shared images."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from metrics.bootstrap import resample_weights
from metrics.intervals import jackknife_values, over_seeds_and_images


def test_without_noise_of_images_it_is_students_t() -> None:
    per_seed = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    found = over_seeds_and_images(per_seed, per_seed.expand(10, 3))
    expected = stats.t.interval(0.95, 2, loc=per_seed.mean(), scale=stats.sem(per_seed))
    assert (found.low, found.high) == pytest.approx(expected)


def test_without_noise_of_seeds_it_is_the_normal_interval_of_the_images() -> None:
    images = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = resample_weights(400, resamples=4000, seed=1)
    replicates = (weights @ images)[:, None].expand(-1, 3)
    found = over_seeds_and_images(images.mean().expand(3), replicates)
    error = images.std().item() / math.sqrt(400)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_one_seed_has_no_interval() -> None:
    found = over_seeds_and_images(torch.tensor([0.5]), torch.zeros(5, 1))
    assert (found.mean, found.low, found.high) == (0.5, -math.inf, math.inf)


@pytest.mark.parametrize(("of_seeds", "shared", "own"), [(1, 0, 0.1), (0, 1, 0.1), (0.1, 1, 1)])
def test_it_covers_the_truth_about_as_often_as_it_says(
    of_seeds: float, shared: float, own: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    seeds, images, trials, hits = 3, 60, 400, 0

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights = resample_weights(images, resamples=200, seed=0)
    for _ in range(trials):
        values = of_seeds * noise(seeds, 1) / 4 + shared * noise(1, images)
        values = values + own * noise(seeds, images)
        found = over_seeds_and_images(values.mean(1), weights @ values.T)
        hits += found.low <= 0 <= found.high
    assert 0.89 < hits / trials < 0.99


def test_jackknife_of_a_plain_mean_gives_its_units_back() -> None:
    units = torch.tensor([1.0, 5.0, 9.0], dtype=torch.float64)
    without = torch.stack([units[[1, 2]].mean(), units[[0, 2]].mean(), units[[0, 1]].mean()])
    assert torch.allclose(jackknife_values(without), units)


def test_weights_are_those_of_a_resample() -> None:
    weights = resample_weights(7, resamples=5, seed=3)
    assert torch.allclose(weights.sum(1), torch.ones(5, dtype=torch.float64))
    assert torch.equal((7 * weights).round(), 7 * weights)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        over_seeds_and_images(torch.zeros(2), torch.zeros(5, 3))
