import math

import pytest
import torch
import torch.nn.functional as F

from engine.errors import RunError
from engine.sums import EpochSums, per_sample_measures
from metrics.agreement import kl_divergence, top1_agreement


def draw(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_uneven_batches_give_the_means_over_all_samples():
    student, teachers = draw(10, 5, seed=0), draw(2, 10, 5, seed=1)
    labels = torch.arange(10) % 5
    sums = EpochSums(["T1w", "T2w"], torch.device("cpu"))
    for part in (slice(0, 7), slice(7, 10)):
        loss = F.cross_entropy(student[part], labels[part])
        sums.update(loss, student[part], labels[part], teachers[:, part])
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
    assert set(measures) == {"cross_entropy", "top1", "entropy_nats"}


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(loss):
    sums = EpochSums([], torch.device("cpu"))
    sums.update(torch.tensor(loss), torch.zeros(2, 3), torch.tensor([0, 1]), None)
    with pytest.raises(RunError, match=f"the loss became {loss}: lower --lr"):
        sums.means()
