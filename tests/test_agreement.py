"""Agreement, divergences and accuracy: hand-worked values, SciPy, and what must always hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy

from metrics import agreement

PAIRED = [agreement.top1_agreement, agreement.kl_divergence]


def random_logits(seed, samples=20, classes=5, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(samples, classes, generator=generator, dtype=torch.float64)


def test_agreement_counts_equal_predictions():
    p = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [0.0, 4.0]])
    q = torch.tensor([[9.0, 1.0], [5.0, 1.0], [1.0, 0.0], [0.0, 0.1]])
    assert agreement.agreement_per_sample(p, q).tolist() == [True, False, True, True]
    assert agreement.top1_agreement(p, q) == 0.75


def test_of_tied_logits_the_first_is_the_prediction():
    tied, first, second = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert agreement.top1_agreement(tied, first) == 1.0
    assert agreement.top1_agreement(tied, second) == 0.0


def test_accuracy_counts_correct_predictions():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 3.0]])
    labels = torch.tensor([0, 2, 2])
    assert agreement.correct_per_sample(logits, labels).tolist() == [True, False, True]
    assert agreement.top1_accuracy(logits, labels) == pytest.approx(2 / 3)


def test_kl_by_hand_and_its_direction():
    p = torch.tensor([[0.5, 0.5]]).log()
    q = torch.tensor([[0.25, 0.75]], dtype=torch.float64).log()
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    reverse = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert agreement.kl_divergence(p, q) == pytest.approx(expected, rel=1e-6)
    assert agreement.kl_divergence(q, p) == pytest.approx(reverse, rel=1e-6)
    assert abs(expected - reverse) > 0.01


def test_divergences_per_sample_agree_with_scipy():
    p_logits, q_logits = random_logits(0), random_logits(1)
    p, q = (softmax(logits.numpy(), axis=1) for logits in (p_logits, q_logits))
    kl = agreement.kl_divergence_per_sample(p_logits, q_logits).numpy()
    js = agreement.js_divergence_per_sample(p_logits, q_logits).numpy()
    np.testing.assert_allclose(kl, entropy(p, q, axis=1), rtol=1e-10)
    np.testing.assert_allclose(js, jensenshannon(p, q, axis=1) ** 2, rtol=1e-10)
    assert agreement.kl_divergence(p_logits, q_logits) == pytest.approx(kl.mean())


def test_certain_and_opposite_models_stay_finite():
    p, q = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    assert agreement.kl_divergence(p, q) == pytest.approx(1e4)
    assert agreement.js_divergence_per_sample(p, q).item() == pytest.approx(math.log(2))


def test_half_precision_logits_are_measured_in_float64():
    p, q = random_logits(2).bfloat16(), random_logits(3).bfloat16()
    per_sample = agreement.kl_divergence_per_sample(p, q)
    assert per_sample.dtype == torch.float64
    assert agreement.kl_divergence(p, q) == agreement.kl_divergence(p.double(), q.double())


def test_batch_sums_give_the_whole_sets_mean():
    p, q = random_logits(4), random_logits(5)
    batches = zip(p.split(7), q.split(7), strict=True)
    total = sum(agreement.kl_divergence_per_sample(a, b).sum() for a, b in batches)
    assert total.item() / len(p) == pytest.approx(agreement.kl_divergence(p, q), rel=1e-12)


def test_ensemble_is_the_mean_of_logits_not_of_probabilities():
    teachers = torch.tensor([[[6.0, 0.0, 0.0]], [[-4.0, 3.0, 0.0]]])
    ensemble = agreement.ensemble_logits(teachers)
    assert ensemble.tolist() == [[1.0, 1.5, 0.0]]
    assert teachers.softmax(dim=2).mean(dim=0).argmax() != ensemble.argmax()


def test_no_gradient_leaves_a_measure():
    p = random_logits(6).requires_grad_()
    assert not agreement.kl_divergence_per_sample(p, p * 2).requires_grad
    assert not agreement.ensemble_logits(p[None]).requires_grad


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), samples=st.integers(1, 12), classes=st.integers(1, 6))
def test_bounds_symmetry_and_sample_order(seed, samples, classes):
    p, q = (random_logits(seed + k, samples, classes) for k in range(2))
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
    assert agreement.kl_divergence(p, p) == pytest.approx(0, abs=1e-12)
    assert agreement.top1_agreement(p, p) == 1
    assert agreement.kl_divergence(p, q) >= 0
    js = agreement.js_divergence_per_sample(p, q)
    assert js.min() >= 0 and js.max() <= math.log(2) + 1e-12
    torch.testing.assert_close(js, agreement.js_divergence_per_sample(q, p), atol=1e-12, rtol=0)
    assert agreement.top1_agreement(p, q) == agreement.top1_agreement(q, p)
    for measure in PAIRED:
        assert measure(p[order], q[order]) == pytest.approx(measure(p, q), abs=1e-12)
        assert measure(p + 5, q) == pytest.approx(measure(p, q), abs=1e-9)  # softmax sees no shift


@pytest.mark.parametrize("measure", PAIRED)
@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, 3), "no samples"),
        (torch.zeros(2, 3), torch.zeros(1, 3), "differ"),
        (torch.zeros(3), torch.zeros(3), "expected shape"),
        (torch.zeros(2, 0), torch.zeros(2, 0), "expected shape"),
        (torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 3), "floating-point"),
        (torch.tensor([[0.0, math.nan]]), torch.zeros(1, 2), "p_logits: contains NaN"),
        (torch.zeros(1, 2), torch.tensor([[0.0, math.inf]]), "q_logits: contains NaN"),
    ],
)
def test_bad_pairs_are_refused(measure, p, q, message):
    with pytest.raises(ValueError, match=message):
        measure(p, q)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 3]), r"0\.\.2"),
        (torch.tensor([0, -1]), r"0\.\.2"),
        (torch.tensor([0]), "expected shape"),
        (torch.tensor([0.0, 1.0]), "integer"),
        (torch.tensor([True, False]), "integer"),
    ],
)
def test_bad_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        agreement.top1_accuracy(torch.zeros(2, 3), labels)


@pytest.mark.parametrize("shape", [(2, 3), (0, 2, 3)])
def test_an_ensemble_needs_teachers(shape):
    with pytest.raises(ValueError, match="teacher_logits"):
        agreement.ensemble_logits(torch.zeros(shape))


def test_disagreement_by_hand():
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 0])
    p = torch.tensor([0, 0, 0, 1, 1, 1, 2, 0])
    q = torch.tensor([0, 1, 2, 0, 1, 2, 1, 0])
    found = agreement.disagreement(p, q, labels)
    assert found == {"only_p_right": 2 / 8, "only_q_right": 1 / 8, "wrong_apart": 2 / 8}


@given(st.integers(0, 2**31))
def test_disagreement_is_all_that_fidelity_lacks_and_all_that_top1_gains(seed):
    p, q, labels = torch.randint(3, (3, 20), generator=torch.Generator().manual_seed(seed))
    found = agreement.disagreement(p, q, labels)
    assert sum(found.values()) == pytest.approx(1 - (p == q).double().mean().item())
    gained = ((q == labels).double().mean() - (p == labels).double().mean()).item()
    assert found["only_q_right"] - found["only_p_right"] == pytest.approx(gained)


def test_disagreement_needs_samples_of_one_shape():
    some, none = torch.zeros(2).long(), torch.zeros(0).long()
    with pytest.raises(ValueError, match="differ"):
        agreement.disagreement(some, some, torch.zeros(3).long())
    with pytest.raises(ValueError, match="no samples"):
        agreement.disagreement(none, none, none)
