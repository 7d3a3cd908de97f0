"""Calibration: bins worked by hand, torchmetrics and scikit-learn, and the awkward inputs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from metrics import calibration
from metrics.calibration import (
    brier_score_per_sample,
    equal_mass_calibration_error,
    equal_width_bin,
    expected_calibration_error,
    maximum_calibration_error,
    negative_log_likelihood_per_sample,
    reliability_bins,
)

MEASURES = [
    expected_calibration_error,
    maximum_calibration_error,
    equal_mass_calibration_error,
    reliability_bins,
]
BINNED = MEASURES


def brier_score(logits, labels):
    return brier_score_per_sample(logits, labels).mean().item()


def negative_log_likelihood(logits, labels):
    return negative_log_likelihood_per_sample(logits, labels).mean().item()


def binary_logits(confidences):
    """Class 0 is predicted, with these probabilities."""
    p = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([p, 1 - p], dim=1).log().clamp_min(-1e4)


def random_set(seed, samples=400, classes=6, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (samples,), generator=generator)


# Confidences .55 .65 .95 .95 and 5 bins: (.4, .6] holds one, right; (.6, .8] one, wrong;
# (.8, 1] two, one of them right. Gaps .45, .65 and .45.
HAND_LOGITS, HAND_LABELS = binary_logits([0.55, 0.65, 0.95, 0.95]), torch.tensor([0, 1, 0, 1])


def test_bins_by_hand():
    bins = reliability_bins(HAND_LOGITS, HAND_LABELS, n_bins=5)
    assert bins.edges.tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert bins.counts.tolist() == [0, 0, 1, 1, 2]
    assert bins.accuracy.tolist() == [0, 0, 1, 0, 0.5]
    assert bins.confidence.tolist() == pytest.approx([0, 0, 0.55, 0.65, 0.95])


def test_errors_by_hand():
    by_sample = (0.45 + 0.65 + 2 * 0.45) / 4
    by_bin = (0 + 0 + 0.45 + 0.65 + 0.45) / 5
    measure = expected_calibration_error
    assert measure(HAND_LOGITS, HAND_LABELS, n_bins=5) == pytest.approx(by_sample)
    assert measure(HAND_LOGITS, HAND_LABELS, n_bins=5, weighting="bin") == pytest.approx(by_bin)
    assert maximum_calibration_error(HAND_LOGITS, HAND_LABELS, n_bins=5) == pytest.approx(0.65)
    # Two equal-mass bins: {.55 right, .65 wrong} and {.95 right, .95 wrong}.
    equal_mass = equal_mass_calibration_error(HAND_LOGITS, HAND_LABELS, n_bins=2)
    assert equal_mass == pytest.approx((0.1 + 0.45) / 2)


@pytest.mark.parametrize("n_bins", [1, 7, 10, 15])
@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_torchmetrics_below_full_confidence(n_bins, seed):
    logits, labels = random_set(seed)
    options = {"num_classes": 6, "n_bins": n_bins}
    by_norm = {
        norm: multiclass_calibration_error(logits.softmax(1), labels, norm=norm, **options).item()
        for norm in ("l1", "max")
    }
    found = expected_calibration_error(logits, labels, n_bins=n_bins)
    assert found == pytest.approx(by_norm["l1"], abs=1e-6)
    found = maximum_calibration_error(logits, labels, n_bins=n_bins)
    assert found == pytest.approx(by_norm["max"], abs=1e-6)


def test_full_confidence_belongs_to_the_last_bin():
    """Confidences .97 (right) and 1.0 (wrong) share it, so their gaps partly cancel."""
    logits, labels = binary_logits([0.97, 1.0]), torch.tensor([0, 1])
    assert reliability_bins(logits, labels).counts.tolist() == [0.0] * 14 + [2.0]
    found = expected_calibration_error(logits, labels)
    assert found == pytest.approx(abs(0.5 - 0.985))
    assert found != pytest.approx((0.03 + 1.0) / 2)  # what a bin of its own for 1.0 would give


def test_bins_are_closed_on_the_right_and_zero_is_in_the_first():
    confidence = torch.tensor([0.0, 0.25, 0.2500001, 0.5, 0.75, 1.0], dtype=torch.float64)
    assert equal_width_bin(confidence, 4).tolist() == [0, 0, 1, 1, 2, 3]


def test_an_even_two_way_tie_has_confidence_one_half_exactly():
    assert reliability_bins(torch.zeros(3, 2), torch.tensor([0, 1, 0]), n_bins=2).counts[0] == 3


def test_equal_mass_bins_differ_by_at_most_one_and_never_split_ties():
    distinct = torch.rand(103, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sizes = calibration.equal_mass_bin(distinct, 15).bincount(minlength=15)
    assert sizes.sum() == 103
    assert set(sizes.tolist()) == {6, 7}
    tied = torch.tensor([0.6, 0.9, 0.6, 0.6, 0.9, 0.6])
    assert calibration.equal_mass_bin(tied, 6).tolist() == [3, 5, 3, 3, 5, 3]


def test_equal_mass_with_fewer_samples_than_bins_is_a_bin_for_each():
    found = equal_mass_calibration_error(HAND_LOGITS[:3], HAND_LABELS[:3], n_bins=15)
    assert found == pytest.approx((0.45 + 0.65 + 0.05) / 3)


def test_one_bin_compares_overall_accuracy_and_confidence():
    logits, labels = random_set(3)
    overall = abs((logits.argmax(1) == labels).double().mean() - logits.softmax(1).amax(1).mean())
    for measure in (expected_calibration_error, equal_mass_calibration_error):
        assert measure(logits, labels, n_bins=1) == pytest.approx(overall.item())


def test_a_model_that_knows_its_odds_is_calibrated_and_a_sharpened_one_is_not():
    logits, _ = random_set(4, samples=200_000)
    generator = torch.Generator().manual_seed(5)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    for measure in (expected_calibration_error, equal_mass_calibration_error):
        assert measure(logits, labels) < 0.006
        assert measure(3 * logits, labels) > 0.1


def test_one_class_is_always_right_and_sure():
    logits, labels = torch.randn(5, 1), torch.zeros(5, dtype=torch.long)
    for measure in (expected_calibration_error, negative_log_likelihood, brier_score):
        assert measure(logits, labels) == 0


def test_proper_scores_by_hand_and_against_scikit_learn():
    logits, labels = random_set(6)
    expected = log_loss(labels, logits.softmax(1).numpy(), labels=range(6))
    assert negative_log_likelihood(logits, labels) == pytest.approx(expected)
    p = torch.tensor([[0.7, 0.2, 0.1]]).log()
    assert brier_score(p, torch.tensor([1])) == pytest.approx(0.7**2 + 0.8**2 + 0.1**2, rel=1e-6)
    binary, truth = logits[:, :2], labels % 2
    one_sided = brier_score_loss(truth, binary.softmax(1)[:, 1].numpy())
    assert brier_score(binary, truth) == pytest.approx(2 * one_sided)


def test_brier_score_reaches_its_ends():
    certain = torch.tensor([[1e4, 0.0, 0.0]])
    assert brier_score(certain, torch.tensor([0])) == 0
    assert brier_score(certain, torch.tensor([2])) == 2


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    samples=st.integers(1, 40),
    classes=st.integers(1, 5),
    n_bins=st.integers(1, 20),
)
def test_bounds_order_and_relations(seed, samples, classes, n_bins):
    logits, labels = random_set(seed, samples, classes, scale=1.0)
    logits = logits.round()  # so that ties occur
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
    ece, mce, equal_mass = (measure(logits, labels, n_bins=n_bins) for measure in MEASURES[:3])
    by_bin = expected_calibration_error(logits, labels, n_bins=n_bins, weighting="bin")
    assert 0 <= ece <= mce + 1e-12 <= 1 + 1e-9
    assert 0 <= by_bin <= mce + 1e-12
    for measure, value in zip(MEASURES[:3], (ece, mce, equal_mass), strict=True):
        shuffled = measure(logits[order], labels[order], n_bins=n_bins)
        assert shuffled == pytest.approx(value, abs=1e-9)
    bins = reliability_bins(logits, labels, n_bins=n_bins)
    assert bins.counts.sum() == samples
    from_bins = (bins.counts / samples * (bins.accuracy - bins.confidence).abs()).sum()
    assert from_bins.item() == pytest.approx(ece, abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), "no samples"),
        (torch.zeros(2, 3), torch.tensor([0]), "labels: expected shape"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), r"0\.\.2"),
        (torch.zeros(2), torch.tensor([0, 1]), "logits: expected shape"),
        (torch.tensor([[0.0, math.nan]]), torch.tensor([0]), "NaN"),
        (torch.tensor([[0.0, -math.inf]]), torch.tensor([0]), "NaN or infinity"),
    ],
)
def test_bad_input_is_refused(measure, logits, labels, message):
    with pytest.raises(ValueError, match=message):
        measure(logits, labels)


@pytest.mark.parametrize("measure", BINNED)
@pytest.mark.parametrize("n_bins", [0, -1, 2.5, True])
def test_bins_are_counted_from_one(measure, n_bins):
    with pytest.raises(ValueError, match="n_bins"):
        measure(HAND_LOGITS, HAND_LABELS, n_bins=n_bins)


def test_an_unknown_weighting_is_refused():
    with pytest.raises(ValueError, match="weighting"):
        expected_calibration_error(HAND_LOGITS, HAND_LABELS, weighting="uniform")
