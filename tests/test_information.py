"""Entropy and mutual information: scikit-learn, known truths, and the estimators' bias."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from metrics.information import (
    entropy_from_counts,
    joint_histogram,
    mutual_information,
    mutual_information_chance_floor,
    mutual_information_from_histogram,
    predictive_entropy,
    predictive_entropy_per_sample,
)

CLASSES = 100
ESTIMATORS = (None, "miller_madow", "grassberger")


def labels(seed, n, classes=CLASSES):
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


def error_distribution():
    """P(b - a mod 100), falling with the square root of the distance."""
    weight = torch.exp(-0.90305 * torch.arange(CLASSES, dtype=torch.float64).sqrt())
    return weight / weight.sum()


def true_information():
    """Of a uniform label and its noisy copy: both are uniform, so ln C - H(error), exactly."""
    return math.log(CLASSES) - entropy(error_distribution().numpy())


def dependent_labels(seed, n):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(CLASSES, (n,), generator=generator)
    error = torch.multinomial(error_distribution(), n, replacement=True, generator=generator)
    return a, (a + error) % CLASSES


def estimate(a, b):
    plug_in, *corrected = (mutual_information(a, b, CLASSES, correction=c) for c in ESTIMATORS)
    return [plug_in, *corrected, plug_in - mutual_information_chance_floor(a, b, CLASSES)]


def mean_estimates(pairs):
    """Mean over draws of the three estimates and of plug-in minus chance floor."""
    return np.mean([estimate(a, b) for a, b in pairs], axis=0)


def test_entropy_per_sample_agrees_with_scipy():
    logits = 4 * torch.randn(30, 7, generator=torch.Generator().manual_seed(0))
    expected = entropy(softmax(logits.double().numpy(), axis=1), axis=1)
    np.testing.assert_allclose(predictive_entropy_per_sample(logits).numpy(), expected, rtol=1e-10)
    assert predictive_entropy(logits) == pytest.approx(expected.mean())


def test_entropy_from_certain_to_uniform():
    logits = torch.tensor([[1e4, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert predictive_entropy_per_sample(logits).tolist() == pytest.approx([0, math.log(4)])


def test_joint_histogram_has_rows_from_a_and_adds_up_over_batches():
    a, b = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([1, 1, 1, 0, 2])
    whole = joint_histogram(a, b, 3)
    assert whole.tolist() == [[0, 2, 0], [0, 1, 0], [1, 0, 1]]
    assert torch.equal(whole, joint_histogram(a[:2], b[:2], 3) + joint_histogram(a[2:], b[2:], 3))


@pytest.mark.parametrize("n", [1, 50, 3000])
def test_plug_in_agrees_with_scikit_learn(n):
    a, b = labels(1, n, 12), (labels(1, n, 12) + labels(2, n, 3)) % 12
    assert mutual_information(a, b, 12) == pytest.approx(mutual_info_score(a, b), abs=1e-12)


def test_miller_madow_by_hand():
    counts = torch.tensor([3, 1, 0, 4])
    expected = entropy([3, 1, 4]) + (3 - 1) / (2 * 8)
    assert entropy_from_counts(counts, correction="miller_madow") == pytest.approx(expected)


def grassberger_g(count):
    """G(1) = -gamma - ln 2; G(2n) = G(2n + 1) = G(1) + 2 (1/1 + 1/3 + ... + 1/(2n - 1))."""
    odd_harmonic = sum(Fraction(1, odd) for odd in range(1, count, 2))
    return -np.euler_gamma - math.log(2) + 2 * float(odd_harmonic)


@pytest.mark.parametrize("counts", [[1], [2, 2], [1, 2, 3, 4, 5, 0, 40]])
def test_grassberger_agrees_with_the_recursion(counts):
    n = sum(counts)
    expected = math.log(n) - sum(c * grassberger_g(c) for c in counts if c) / n
    found = entropy_from_counts(torch.tensor(counts), correction="grassberger")
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("correction", ESTIMATORS)
def test_every_estimate_finds_the_truth_in_a_large_sample(correction):
    a, b = dependent_labels(0, 2_000_000)
    found = mutual_information(a, b, CLASSES, correction=correction)
    assert found == pytest.approx(true_information(), abs=0.006)
    assert true_information() == pytest.approx(1.944, abs=0.001)


@pytest.mark.parametrize(
    ("n", "expected"), [(1_000, [2.27, 1.90, 1.23, 0.0]), (10_000, [0.57, 0.26, 0.05, 0.0])]
)
def test_bias_for_independent_models(n, expected):
    pairs = [(labels(2 * draw, n), labels(2 * draw + 1, n)) for draw in range(10)]
    assert mean_estimates(pairs) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("n", "expected"), [(1_000, [2.85, 2.63, 2.32, 0.59]), (10_000, [2.13, 2.03, 1.98, 1.57])]
)
def test_bias_for_dependent_models(n, expected):
    found = mean_estimates([dependent_labels(draw, n) for draw in range(10)])
    assert found == pytest.approx(expected, abs=0.07)  # the table is of another error distribution
    plug_in, miller_madow, grassberger, above_floor = found
    assert plug_in > miller_madow > grassberger > true_information() > above_floor


def test_chance_floor_is_reproducible_and_leaves_the_global_generator_alone():
    a, b = dependent_labels(3, 500)
    state = torch.get_rng_state()
    floors = [mutual_information_chance_floor(a, b, CLASSES, seed=seed) for seed in (0, 0, 1)]
    assert floors[0] == floors[1] != floors[2]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("correction", ESTIMATORS)
def test_a_constant_prediction_tells_nothing(correction):
    constant, other = torch.zeros(40, dtype=torch.long), labels(5, 40, 4)
    if correction == "grassberger":  # unbiased of each entropy up to O(1/n), not exactly 0
        assert abs(mutual_information(constant, other, 4, correction=correction)) < 0.02
    else:
        assert mutual_information(constant, other, 4, correction=correction) == pytest.approx(0)


def test_one_class_has_no_information():
    zeros = torch.zeros(3, dtype=torch.long)
    assert mutual_information(zeros, zeros, 1) == 0


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40),
    st.integers(0, 10**6),
    st.sampled_from(ESTIMATORS),
)
def test_symmetry_bounds_order_and_numbering(pairs, seed, correction):
    a, b = torch.tensor(pairs).unbind(dim=1)
    found = mutual_information(a, b, 5, correction=correction)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(a), generator=generator)
    names = torch.randperm(5, generator=generator)
    for same in ((b, a), (a[order], b[order]), (names[a], b)):
        assert mutual_information(*same, 5, correction=correction) == pytest.approx(found, abs=1e-9)
    if correction is None:
        own = entropy_from_counts(joint_histogram(a, a, 5))
        assert 0 <= found <= own + 1e-9
        assert mutual_information(a, a, 5) == pytest.approx(own)


@pytest.mark.parametrize(
    ("a", "b", "num_classes", "message"),
    [
        (torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.long), 3, "no samples"),
        (torch.tensor([0, 1]), torch.tensor([0]), 3, "predictions_b: expected shape"),
        (torch.tensor([[0, 1]]), torch.tensor([[0, 1]]), 3, "expected shape"),
        (torch.tensor([0, 3]), torch.tensor([0, 1]), 3, r"predictions_a.*0\.\.2"),
        (torch.tensor([0, 1]), torch.tensor([-1, 1]), 3, r"predictions_b.*0\.\.2"),
        (torch.tensor([0.0]), torch.tensor([0]), 3, "integer"),
        (torch.tensor([0]), torch.tensor([0]), 0, "num_classes"),
    ],
)
def test_bad_predictions_are_refused(a, b, num_classes, message):
    for measure in (mutual_information, mutual_information_chance_floor):
        with pytest.raises(ValueError, match=message):
            measure(a, b, num_classes)


def test_other_bad_input_is_refused():
    one = torch.tensor([0])
    with pytest.raises(ValueError, match="correction"):
        mutual_information(one, one, 2, correction="jackknife")
    with pytest.raises(ValueError, match="shuffles"):
        mutual_information_chance_floor(one, one, 2, shuffles=0)
    with pytest.raises(ValueError, match="at least one observation"):
        mutual_information_from_histogram(torch.zeros(2, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="joint"):
        mutual_information_from_histogram(torch.ones(4, dtype=torch.long))
    with pytest.raises(ValueError, match="NaN"):
        predictive_entropy(torch.tensor([[math.nan, 0.0]]))
    with pytest.raises(ValueError, match="no samples"):
        predictive_entropy(torch.zeros(0, 4))
