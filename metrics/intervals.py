"""Intervals of a mean over replicates, all of which were measured on the same test images."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from scipy import special  # its distributions by name, scipy.stats, are slow to import
from torch import Tensor

from metrics.arrays import takes_arrays
from metrics.conventions import MOST_REPLICATES


@takes_arrays
def spearman(x: Tensor, y: Tensor) -> Tensor:
    """Rank correlation along the last dimension, ties at their mean rank; 0 where one of both is
    constant, since it orders nothing. Two (..., C) -> (...); Spearman 1904.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))
    tensor(1., dtype=torch.float64)
    """
    a, b = (rank - rank.mean(dim=-1, keepdim=True) for rank in map(_ranks, (x, y)))
    scale = (a.square().sum(-1) * b.square().sum(-1)).sqrt()
    return torch.where(scale > 0, (a * b).sum(-1) / scale.clamp_min(1e-12), 0.0)


def _ranks(values: Tensor) -> Tensor:
    """From 1, along the last dimension: the mean of the places that equal values share."""
    values = values.contiguous()  # torch warns where they are not
    ordered = values.sort(dim=-1).values
    before, upto = (torch.searchsorted(ordered, values, right=last) for last in (False, True))
    return (before + upto + 1).double() / 2


@dataclass(frozen=True)
class ReplicateInterval:
    """A mean over replicates, its 95% interval, and the two-sided p of a mean of 0, which is below
    .05 exactly where the interval leaves out 0."""

    estimate: float
    low: float
    high: float
    p: float
    degrees_of_freedom: float
    standard_error: float


def over_replicates(values: Iterable[float], shared_variance: float) -> ReplicateInterval:
    """The interval of the mean of R replicates, all measured on the same images.

    shared_variance: c, the variance of each value that all replicates share (`shared_variance`),
    which their spread s cannot show. SE^2 = s^2 / R + c, and Student's t has the degrees of freedom
    of Welch 1947 and Satterthwaite 1946, c being known. Of one replicate s is unknown: the
    interval is then of the images' choice alone, given that replicate.

    Raises:
        ValueError: no values, NaN or infinity, or a variance below 0.

    >>> found = over_replicates([0.2, 0.4, 0.6], shared_variance=0.0)
    >>> round(found.low, 2), round(found.estimate, 2), round(found.high, 2), round(found.p, 2)
    (-0.1, 0.4, 0.9, 0.07)
    """
    values = list(map(float, values))
    if not values or not all(map(math.isfinite, (*values, shared_variance))):
        raise ValueError(f"values: expected finite numbers, one at least, got {values}")
    if shared_variance < 0:
        raise ValueError(f"shared_variance: expected at least 0, got {shared_variance}")
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    mean = statistics.fmean(values)
    error, freedom = standard_error(spread, shared_variance, len(values))
    half = t_quantile(freedom) * error
    p = 2 * _t_tail(abs(mean) / error, freedom) if error else float(mean == 0)
    return ReplicateInterval(mean, mean - half, mean + half, p, freedom, error)


def standard_error(spread: float, shared_variance: float, replicates: int) -> tuple[float, float]:
    """Of a mean over replicates, and its degrees of freedom: (R - 1) (SE^2 / (s^2 / R))^2, which is
    R - 1 where replicates share nothing and infinite where all is shared."""
    of_spread = spread**2 / replicates
    total = of_spread + shared_variance
    freedom = (replicates - 1) * (total / of_spread) ** 2 if of_spread > 0 else math.inf
    return math.sqrt(total), freedom


def expected_half_width(spread: float, shared_variance: float, replicates: int) -> float:
    """Of the 95% interval over R replicates whose spread and shared variance are known, to plan
    with. Infinite for one replicate."""
    if replicates < 2:
        return math.inf
    error, freedom = standard_error(spread, shared_variance, replicates)
    return t_quantile(freedom) * error


def replicates_needed(spread: float, shared_variance: float, half: float) -> int | None:
    """The fewest replicates whose expected half width is at most `half`; None where even
    MOST_REPLICATES are not enough."""
    for count in range(2, MOST_REPLICATES + 1):
        if expected_half_width(spread, shared_variance, count) <= half:
            return count
    return None


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number, in their order: reject those below .05, and the chance
    that any is rejected wrongly is at most .05 (Holm 1979).

    Raises:
        ValueError: a value outside [0, 1].
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p_values: expected numbers in [0, 1], got {list(p_values)}")
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    steps = [min(1.0, (len(order) - k) * p_values[i]) for k, i in enumerate(order)]
    corrected = itertools.accumulate(steps, max)
    return [value for _, value in sorted(zip(order, corrected, strict=True))]


def shared_variance(resampled: Tensor) -> float:
    """The variance of a statistic that replicates share by the choice of images. resampled: (B, R),
    each of R replicates on the same B resamples of the images. The mean covariance of two
    replicates, not below 0; of one replicate its variance.

    Raises:
        ValueError: not (B >= 2, R >= 1).
    """
    if resampled.ndim != 2 or len(resampled) < 2 or resampled.shape[1] == 0:
        raise ValueError(f"resampled: expected (B >= 2, R >= 1), got {tuple(resampled.shape)}")
    covariance = torch.cov(resampled.double().T).reshape(resampled.shape[1], -1)
    replicates = len(covariance)
    if replicates == 1:
        return covariance.item()
    between = (covariance.sum() - covariance.trace()) / (replicates * (replicates - 1))
    return max(0.0, between.item())


def t_quantile(degrees_of_freedom: float) -> float:
    """Half of a 95% interval in standard errors, by Student's t (1908), which is normal where there
    are infinitely many degrees of freedom."""
    if math.isinf(degrees_of_freedom):
        return float(special.ndtri(0.975))
    return float(special.stdtrit(degrees_of_freedom, 0.975))


def _t_tail(t: float, degrees_of_freedom: float) -> float:
    """The probability of a larger t."""
    if math.isinf(degrees_of_freedom):
        return float(special.ndtr(-t))
    return float(special.stdtr(degrees_of_freedom, -t))


def half_width(std: float, n: int) -> float:
    """Of the 95% interval of a mean of n >= 2 values, by Student's t."""
    return t_quantile(n - 1) * std / math.sqrt(n)
