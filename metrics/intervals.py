"""The interval of a mean over seeds, all of which were measured on the same test images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from scipy.stats import rankdata
from torch import Tensor

NORMAL_95 = 1.959964


def spearman(x: Tensor, y: Tensor) -> Tensor:
    """Rank correlation along the last dimension, ties at their mean rank; 0 where one of both is
    constant, since it orders nothing. Two (..., C) -> (...); Spearman 1904."""
    ranks = [torch.from_numpy(np.asarray(rankdata(v.numpy(), axis=-1))) for v in (x, y)]
    a, b = (rank - rank.mean(dim=-1, keepdim=True) for rank in ranks)
    scale = (a.square().sum(-1) * b.square().sum(-1)).sqrt()
    return torch.where(scale > 0, (a * b).sum(-1) / scale.clamp_min(1e-12), 0.0)


@dataclass(frozen=True)
class Estimate:
    """A mean over `seeds` seeds and its 95% interval; infinite where there is one seed."""

    mean: float
    low: float
    high: float
    seeds: int


def over_seeds_and_images(per_seed: Tensor, replicates: Tensor) -> Estimate:
    """A 95% interval that knows both sources of chance: seeds, and the choice of test images.

    per_seed: (S,) the statistic of each seed; replicates: (R, S) the same on R resamples of the
    images, each shared by all seeds. Half the width is

        sqrt((t s / sqrt(S))^2 + (1.96)^2 c)

    t s / sqrt(S): Student's t for the spread s over seeds, which holds the noise that each seed has
    by itself; c: the mean covariance of two seeds' replicates, the images' noise that they share
    and their spread cannot show. Resampling two or three seeds as well, as one bootstrap, covers
    52% and 72% where 95% is meant and seeds are the larger source; this covers 93 to 98%
    (simulated: docs/claims.md).

    Raises:
        ValueError: shapes that do not fit, no seeds, or fewer than two replicates.
    """
    seeds = len(per_seed)
    if seeds == 0 or replicates.ndim != 2 or replicates.shape[1] != seeds or len(replicates) < 2:
        shapes = f"{tuple(per_seed.shape)} and {tuple(replicates.shape)}"
        raise ValueError(f"expected (S,) and (R >= 2, S) with S >= 1, got {shapes}")
    per_seed, replicates = per_seed.double(), replicates.double()
    mean = per_seed.mean().item()
    if seeds == 1:
        return Estimate(mean, -math.inf, math.inf, 1)
    of_seeds = half_width(per_seed.std().item(), seeds)
    half = math.hypot(of_seeds, NORMAL_95 * math.sqrt(_shared_variance(replicates)))
    return Estimate(mean, mean - half, mean + half, seeds)


def half_width(std: float, n: int) -> float:
    """Of the 95% interval of a mean of n >= 2 values, by Student's t (Student 1908)."""
    return float(stats.t.ppf(0.975, n - 1)) * std / math.sqrt(n)


def jackknife_values(leave_one_out: Tensor) -> Tensor:
    """Values of single units whose mean is a statistic of pairs or sets of units, and whose spread
    is its spread. (K, ...) statistics without each of K units -> (K, ...).

    Tukey 1958: K * all - (K - 1) * without. `all` is the mean of the input, as it is for a mean
    over pairs.
    """
    count = len(leave_one_out)
    return count * leave_one_out.mean(dim=0, keepdim=True) - (count - 1) * leave_one_out


def _shared_variance(replicates: Tensor) -> float:
    """Mean covariance of two different columns, not below 0."""
    covariance = torch.cov(replicates.T)
    seeds = len(covariance)
    between = (covariance.sum() - covariance.trace()) / (seeds * (seeds - 1))
    return max(0.0, between.item())
