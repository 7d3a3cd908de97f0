"""Contrasts of two groups of answers to the same images, as what each image adds to them: (n,)
values whose mean is the figure, and whose spread its noise where the images are a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.arrays import takes_arrays
from metrics.validation import check_same_shape

QUINTILES = 5


@takes_arrays
def quintile_of(values: Tensor) -> Tensor:
    """The fifth in which each value is among all of them, 0 to 4; (...) -> (...) int64. A value on
    a cut is in the lower one."""
    flat = values.double().flatten()
    levels = torch.arange(1, QUINTILES, dtype=torch.float64) / QUINTILES
    return torch.bucketize(values.double().contiguous(), flat.quantile(levels))


@dataclass(frozen=True)
class Standardised:
    """contributions: (n,), their mean is the difference; left_out: share of the images' answers
    in strata that one of the groups lacks."""

    contributions: Tensor
    left_out: float


@takes_arrays
def standardised_difference(
    a: Tensor, b: Tensor, strata_a: Tensor, strata_b: Tensor, count: int
) -> Standardised:
    """How much larger `a` is than `b` where both are in the same strata: sum_k w_k (mean of a in k
    - mean of b in k), w_k being the share of stratum k among both groups (direct standardisation).

    a, b: (n,) values of the same images; strata_a, strata_b: (n,) integers in 0..count - 1, by
    which an image may be in other strata of the two. Strata that one group lacks are left out, and
    the weights of the others add up to 1. What an image adds knows that the weights are counted
    on the same images (the delta method).

    Raises:
        ValueError: shapes that differ, or no stratum that both have.
    """
    for other in (b, strata_a, strata_b):
        check_same_shape(a, other, names="values and strata")
    in_a, in_b = (F.one_hot(strata, count).double() for strata in (strata_a, strata_b))
    share_a, share_b = in_a.mean(0), in_b.mean(0)
    common = (share_a > 0) & (share_b > 0)
    if not bool(common.any()):
        raise ValueError("strata: there is none that both groups have")
    in_a, in_b, share_a, share_b = (
        in_a[:, common],
        in_b[:, common],
        share_a[common],
        share_b[common],
    )
    counted = (in_a + in_b) / 2  # (n, k), its mean is the weight
    weight = counted.mean(0)
    mean_a, mean_b = (
        (values.double() @ members) / len(values) / share
        for values, members, share in ((a, in_a, share_a), (b, in_b, share_b))
    )
    gaps = mean_a - mean_b
    difference = (weight @ gaps) / weight.sum()
    noise = in_a * (a.double()[:, None] - mean_a) / share_a
    noise -= in_b * (b.double()[:, None] - mean_b) / share_b
    influence = noise @ weight + counted @ (gaps - difference)
    return Standardised(difference + influence / weight.sum(), 1 - weight.sum().item())


@takes_arrays
def slope_on(doses: Sequence[float], values: Sequence[Tensor]) -> Tensor:
    """Least-squares slope on the dose of the means of (n,) values, one a dose: (n,).

    Raises:
        ValueError: not a value for each dose, or fewer than two different doses.
    """
    if len(doses) != len(values) or len(set(doses)) < 2:
        raise ValueError(f"doses: expected two or more, each with values, got {list(doses)}")
    centred = torch.tensor(doses, dtype=torch.float64)
    centred -= centred.mean()
    return (centred @ torch.stack(list(values)).double()) / centred.square().sum()


@takes_arrays
def over_all_images(values: Tensor, index: Tensor, images: int) -> Tensor:
    """What each of n images adds to the mean of (m,) values that are known of the images at `index`
    alone: (n,) with the same mean, and the same noise of that mean."""
    mean = values.double().mean()
    added = torch.full((images,), mean.item(), dtype=torch.float64)
    added[index] += (values.double() - mean) * (images / len(values))
    return added
