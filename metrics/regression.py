"""Least squares with an intercept for each group."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metrics.conventions import LEAST_VARIATION


def slope_within(
    x: Tensor, y: Tensor, groups: Sequence[int], given: Tensor | None = None
) -> Tensor:
    """The slope of y on x, with an intercept for each group and, where it is there, beside a third
    variable `given`. (..., C) each -> (...); groups: how many of the C values, in their order, each
    group has. 0 where x varies in no group beyond what is given: it explains nothing.

    Within groups variables are taken from their means, and what `given` explains is taken out of x
    (Frisch and Waugh 1933), so that one division is left.

    Raises:
        ValueError: shapes that differ, or groups of other than C values together.
    """
    shapes = {tuple(v.shape) for v in (x, y, given) if v is not None}
    if len(shapes) > 1 or sum(groups) != x.shape[-1]:
        raise ValueError(f"x, y, given: expected one shape (..., {sum(groups)}), got {shapes}")
    regressor, response = _centred(x, groups), _centred(y, groups)
    if given is not None:
        known = _centred(given, groups)
        regressor = (
            regressor
            - _ratio((regressor * known).sum(-1), known.square().sum(-1))[..., None] * known
        )
    rest = regressor.square().sum(-1)
    varies = rest > LEAST_VARIATION * x.double().square().sum(-1)
    return torch.where(varies, _ratio((regressor * response).sum(-1), rest), 0.0)


def _centred(values: Tensor, groups: Sequence[int]) -> Tensor:
    parts = values.double().split(list(groups), dim=-1)
    return torch.cat([part - part.mean(-1, keepdim=True) for part in parts], dim=-1)


def _ratio(top: Tensor, bottom: Tensor) -> Tensor:
    """0 where the bottom is."""
    return torch.where(bottom > 0, top / torch.where(bottom > 0, bottom, 1.0), 0.0)
