"""Affinity and diversity are ratios, with their directions and their limits."""

from __future__ import annotations

import math

import pytest

from Affinity.affinity import affinity, diversity


def test_affinity_divides_the_augmented_by_the_reference_accuracy():
    assert affinity(0.6, 0.8) == pytest.approx(0.75)
    assert affinity(0.8, 0.6) == pytest.approx(4 / 3)  # a view may help
    assert affinity(0.0, 0.5) == 0
    assert affinity(0.37, 0.37) == 1


def test_diversity_divides_the_augmented_by_the_reference_loss():
    assert diversity(1.5, 0.5) == pytest.approx(3)
    assert diversity(0.0, 0.5) == 0


@pytest.mark.parametrize("accuracies", [(60.0, 0.8), (0.6, 80.0), (-0.1, 0.5), (math.nan, 0.5)])
def test_accuracies_are_fractions(accuracies):
    with pytest.raises(ValueError, match="fraction"):
        affinity(*accuracies)


@pytest.mark.parametrize("losses", [(math.nan, 1.0), (1.0, math.inf), (-1.0, 1.0), (1.0, -1.0)])
def test_losses_are_finite_and_not_negative(losses):
    with pytest.raises(ValueError, match="finite loss"):
        diversity(*losses)


@pytest.mark.parametrize("ratio", [affinity, diversity])
def test_nothing_is_divided_by_zero(ratio):
    with pytest.raises(ValueError, match="undefined"):
        ratio(0.5, 0)
