"""Least squares over a panel: every image in every cell, with effects of both of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from metrics.arrays import takes_arrays
from metrics.conventions import LEAST_VARIATION
from metrics.validation import check_finite, check_same_shape


@takes_arrays
def panel_slope(y: Tensor, x: Tensor, covariates: Tensor | None = None) -> Tensor:
    """What each of n images adds to the slope b of

        y_ic = a_i + g_c + b x_ic + d z_ic + e_ic

    by least squares over n images and C cells. y, x: (n, C); covariates z: (n, C, K). The mean of
    the (n,) float64 values is b; their spread is its noise where the images are a sample, each a
    cluster of cells: b plus its influence, n sum_c r_ic e_ic / sum r^2, where r is what the effects
    and z leave of x.

    The effects are taken out by the within transformation, which is exact where each image is in
    each cell (Wooldridge 2010, section 10.5); z by regression on it (Frisch and Waugh 1933).
    Columns of z that say the same as others change nothing.

    Raises:
        ValueError: shapes that do not fit, no values, NaN or infinity; an x of which the effects
            and z leave nothing: one that all cells of an image share has no slope.
    """
    check_same_shape(y, x, names="y and x")
    if y.ndim != 2:
        raise ValueError(f"y: expected (images, cells), got {tuple(y.shape)}")
    z = torch.empty(*y.shape, 0) if covariates is None else covariates
    if z.ndim != 3 or z.shape[:2] != y.shape:
        raise ValueError(f"covariates: expected {(*y.shape, 'K')}, got {tuple(z.shape)}")
    for values, name in ((y, "y"), (x, "x"), *([(z, "covariates")] if z.shape[2] else [])):
        check_finite(values, name=name)
    own_y, own_x, own_z = (within(values.double()).flatten(0, 1) for values in (y, x, z))
    left_x, left_y = (_without(own_z, values) for values in (own_x, own_y))
    variation = left_x.square().sum()
    if variation <= LEAST_VARIATION * x.double().square().sum():
        raise ValueError("x: the effects and the covariates leave nothing of it, and no slope")
    slope = (left_x @ left_y) / variation
    scores = (left_x * (left_y - slope * left_x)).view(y.shape).sum(dim=1)
    return slope + len(y) * scores / variation


def within(values: Tensor) -> Tensor:
    """(n, C, ...) without the effects of its first two dimensions: less its means over each, plus
    that over both."""
    of_image, of_cell = values.mean(dim=1, keepdim=True), values.mean(dim=0, keepdim=True)
    return values - of_image - of_cell + of_image.mean(dim=0, keepdim=True)


def _without(columns: Tensor, values: Tensor) -> Tensor:
    """What least squares on (m, K) columns, which may depend on each other, leaves of (m,)."""
    if not columns.shape[1]:
        return values
    fit = torch.linalg.lstsq(columns, values[:, None], driver="gelsd").solution
    return values - (columns @ fit)[:, 0]
