"""The ratio of two means over replicates, with an interval that knows that the lower one is a
measurement as well."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.arrays import takes_arrays
from metrics.intervals import over_replicates, shared_variance, t_quantile


@dataclass(frozen=True)
class Ratio:
    """mean numerator / mean denominator, and its 95% interval."""

    estimate: float
    low: float
    high: float


@takes_arrays
def ratio_of_means(numerators: Tensor, denominators: Tensor) -> Ratio | None:
    """Fieller's interval (1954) of mean numerator / mean denominator over R replicates.

    Both (R, n): what each of n images, the same for all replicates, adds to each replicate's value,
    which is the mean of its row. The covariance of the two means is that over replicates / R, plus
    that of two different replicates by their images; degrees of freedom are the denominator's.
    None where the denominator's own 95% interval holds 0 or there is one replicate: the ratio is
    then unbounded.

    Raises:
        ValueError: shapes that differ or are not (R, n).
    """
    if numerators.shape != denominators.shape or numerators.ndim != 2:
        shapes = f"{tuple(numerators.shape)} and {tuple(denominators.shape)}"
        raise ValueError(f"expected two (replicates, images), got {shapes}")
    rows = torch.stack([numerators, denominators]).double()
    means = rows.mean(dim=2)  # (2, R)
    if means.shape[1] < 2:
        return None
    below = over_replicates(means[1].tolist(), image_variance(rows[1]))
    if below.low <= 0 <= below.high:
        return None
    top, bottom = means.mean(dim=1).tolist()
    covariance = torch.cov(means) / means.shape[1] + _shared(rows)
    quantile = t_quantile(below.degrees_of_freedom)
    return _fieller(top, bottom, (quantile**2 * covariance).tolist())


def image_variance(contributions: Tensor) -> float:
    """The variance that R replicates' means share by the choice of the n images: (R, n), what each
    image adds to each. The mean covariance of two replicates' rows over n, not below 0; of one
    replicate its own."""
    return shared_variance(contributions.T) / contributions.shape[1]


def _fieller(top: float, bottom: float, scaled: list[list[float]]) -> Ratio:
    """The roots of (top - r bottom)^2 = s00 - 2 r s01 + r^2 s11, `scaled` being the covariance
    times the squared quantile; s11 < bottom^2."""
    a = bottom**2 - scaled[1][1]
    b = top * bottom - scaled[0][1]
    c = top**2 - scaled[0][0]
    root = math.sqrt(max(0.0, b**2 - a * c))
    return Ratio(top / bottom, (b - root) / a, (b + root) / a)


def _shared(rows: Tensor) -> Tensor:
    """(2, 2) image covariance of the means of two figures; rows (2, R, n)."""
    variances = [image_variance(figure) for figure in rows]
    bound = math.sqrt(variances[0] * variances[1])  # a covariance
    cross = min(bound, max(-bound, _cross(rows)))
    return torch.tensor([[variances[0], cross], [cross, variances[1]]], dtype=torch.float64)


def _cross(rows: Tensor) -> float:
    """Mean covariance over n of one figure in a replicate and the other in another."""
    _, replicates, images = rows.shape
    block = torch.cov(rows.flatten(0, 1))[:replicates, replicates:]
    between = block.sum() - block.trace()
    return between.item() / (replicates * (replicates - 1)) / images
