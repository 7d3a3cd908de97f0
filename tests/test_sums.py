import pytest
import torch
import torch.nn.functional as F

from engine.sums import EpochSums, per_sample_measures
from losses.distillation import distillation_loss
from losses.objective import distilled, labels_only
from metrics.agreement import kl_divergence, top1_agreement


def draw(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_uneven_batches_give_the_means_over_all_samples():
    student, teachers = draw(10, 5, seed=0), draw(2, 10, 5, seed=1)
    labels = torch.arange(10) % 5
    sums = EpochSums(["T1w", "T2w"], torch.device("cpu"))
    for part in (slice(0, 7), slice(7, 10)):
        terms = labels_only()(student[part], None, labels[part])
        sums.update(terms, student[part], labels[part], teachers[:, part])
    means = sums.means()
    assert means["loss"] == pytest.approx(F.cross_entropy(student, labels).item(), rel=1e-6)
    assert means["cross_entropy"] == pytest.approx(means["loss"], rel=1e-6)
    assert means["top1"] == pytest.approx((student.argmax(1) == labels).float().mean().item())
    assert means["fidelity_T2w"] == pytest.approx(top1_agreement(student, teachers[1]))
    ensemble = teachers.mean(0)
    assert means["fidelity_ensemble"] == pytest.approx(top1_agreement(student, ensemble))
    assert means["kl_ensemble_to_student_nats"] == pytest.approx(kl_divergence(ensemble, student))
    assert means["kl_student_to_T1w_nats"] == pytest.approx(kl_divergence(student, teachers[0]))


def test_a_single_teacher_is_its_own_ensemble():
    measures = per_sample_measures(
        draw(6, 4, seed=0), torch.zeros(6).long(), draw(1, 6, 4, seed=1), ["T1s"]
    )
    for name in ("fidelity_{}", "kl_{}_to_student_nats", "entropy_{}_nats"):
        alone, ensemble = measures[name.format("T1s")], measures[name.format("ensemble")]
        torch.testing.assert_close(alone.double(), ensemble.double())


def test_without_teachers_the_model_stands_alone():
    measures = per_sample_measures(draw(6, 4, seed=0), torch.zeros(6).long(), None, ())
    assert set(measures) == {"top1", "entropy_nats"}


def test_every_term_of_the_objective_is_recorded_with_its_weighted_sum():
    student, teachers = draw(6, 4, seed=0), draw(2, 6, 4, seed=1)
    labels = torch.arange(6) % 4
    sums = EpochSums(["T1w", "T2w"], torch.device("cpu"))
    sums.update(
        distilled(temperature=3, ce_weight=0.6)(student, teachers, labels),
        student,
        labels,
        teachers,
    )
    means = sums.means()
    whole = distillation_loss(student, teachers, labels, temperature=3, ce_weight=0.6)
    assert means["loss"] == whole.item()
    expected = 0.6 * means["cross_entropy"] + 0.4 * 9 * means["distillation"]
    assert means["loss"] == pytest.approx(expected, rel=1e-6)
