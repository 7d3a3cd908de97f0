"""A slope with an intercept for each group."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metrics.regression import slope_within


def test_a_slope_by_hand() -> None:
    """Within the groups x is -1, 1 and -2, 0, 2, y is -1, 1 and -1, 0, 1: (2 + 4) / (2 + 8)."""
    x = torch.tensor([4.0, 6.0, 0.0, 2.0, 4.0])
    y = torch.tensor([10.0, 12.0, 1.0, 2.0, 3.0])
    assert slope_within(x, y, [2, 3]).item() == pytest.approx(0.6)


@pytest.mark.parametrize("beside", [False, True])
def test_a_slope_is_that_of_least_squares_with_dummies(beside: bool) -> None:
    random = np.random.default_rng(0)
    groups = [3, 6, 4]
    x, y, given = random.standard_normal((3, 5, 13))
    dummies = np.repeat(np.eye(3), groups, axis=0)
    found = slope_within(
        *map(torch.from_numpy, (x, y)), groups, torch.from_numpy(given) if beside else None
    )
    for row in range(5):
        columns = [x[row], *([given[row]] if beside else []), *dummies.T]
        expected = np.linalg.lstsq(np.stack(columns, 1), y[row], rcond=None)[0][0]
        assert found[row].item() == pytest.approx(expected)


def test_what_does_not_vary_within_groups_has_no_slope() -> None:
    x, y = torch.tensor([1.0, 1.0, 3.0, 3.0]), torch.arange(4.0)
    assert slope_within(x, y, [2, 2]).item() == 0
    x = torch.tensor([0.1, 0.1, 0.1, 0.7, 0.7, 0.7], dtype=torch.float64)  # means round
    assert slope_within(x, torch.tensor([0.5, 0.6, 0.9, 0.1, 0.2, 0.7]), [3, 3]).item() == 0
    x = torch.rand(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert slope_within(x, y, [2, 2], given=3 * x + 0.1).item() == 0


def test_shapes_and_groups_must_fit() -> None:
    with pytest.raises(ValueError, match="expected one shape"):
        slope_within(torch.zeros(4), torch.zeros(3), [2, 2])
    with pytest.raises(ValueError, match="expected one shape"):
        slope_within(torch.zeros(4), torch.zeros(4), [2, 1])
