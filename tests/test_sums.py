import pytest
import torch
import torch.nn.functional as F

from engine.sums import EpochSums, per_sample_measures
from losses.distillation import distillation_loss
from losses.kl import SoftenedKL
from losses.loss import Seen
from losses.objective import distilled, labels_only
from metrics.agreement import ensemble_logits, kl_divergence, top1_accuracy, top1_agreement
from metrics.information import predictive_entropy


def draw(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_uneven_batches_give_the_means_over_all_samples():
    student, teachers = draw(10, 5, seed=0), draw(2, 10, 5, seed=1)
    labels = torch.arange(10) % 5
    sums = EpochSums(["T1w", "T2w"], torch.device("cpu"))
    for part in (slice(0, 7), slice(7, 10)):
        seen = Seen(student[part], teachers[:, part], labels[part])
        sums.update(labels_only()(seen), seen)
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
    seen = Seen(draw(6, 4, seed=0), draw(1, 6, 4, seed=1), torch.zeros(6).long())
    measures = per_sample_measures(seen, ["T1s"])
    for name in ("fidelity_{}", "kl_{}_to_student_nats", "entropy_{}_nats"):
        alone, ensemble = measures[name.format("T1s")], measures[name.format("ensemble")]
        torch.testing.assert_close(alone.double(), ensemble.double())


def test_without_teachers_the_model_stands_alone():
    measures = per_sample_measures(Seen(draw(6, 4, seed=0), None, torch.zeros(6).long()), ())
    assert set(measures) == {"top1", "entropy_nats"}


def test_every_term_of_the_objective_is_recorded_with_its_weighted_sum():
    student, teachers = draw(6, 4, seed=0), draw(2, 6, 4, seed=1)
    labels = torch.arange(6) % 4
    sums = EpochSums(["T1w", "T2w"], torch.device("cpu"))
    seen = Seen(student, teachers, labels)
    sums.update(distilled({"kl": SoftenedKL(temperature=3)}, ce_weight=0.6)(seen), seen)
    means = sums.means()
    whole = distillation_loss(student, teachers, labels, temperature=3, ce_weight=0.6)
    assert means["loss"] == whole.item()
    expected = 0.6 * means["cross_entropy"] + 0.4 * 9 * means["distillation"]
    assert means["loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spread", [0.01, 3.0, 30.0])
def test_float32_changes_no_mean_above_a_millionth(spread, dtype):
    """Against the public measures, in float64, for nearly uniform to nearly certain models."""
    student = (spread * draw(256, 1000, seed=0)).to(dtype)
    teachers = (spread * draw(3, 256, 1000, seed=1)).to(dtype)
    labels = student.argmax(1).roll(1)
    labels[::2] = student.argmax(1)[::2]
    names = ["T1w", "T2s", "T3w"]
    sums = EpochSums(names, torch.device("cpu"))
    sums.update({}, Seen(student, teachers, labels))
    expected = {
        "top1": top1_accuracy(student, labels),
        "entropy_nats": predictive_entropy(student),
    }
    for name, other in zip(
        [*names, "ensemble"], [*teachers, ensemble_logits(teachers)], strict=True
    ):
        expected[f"fidelity_{name}"] = top1_agreement(student, other)
        expected[f"kl_{name}_to_student_nats"] = kl_divergence(other, student)
        expected[f"kl_student_to_{name}_nats"] = kl_divergence(student, other)
        expected[f"entropy_{name}_nats"] = predictive_entropy(other)
    assert sums.means() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_model_that_says_what_its_teachers_say_is_at_distance_zero():
    logits = draw(8, 10, seed=0)
    measures = per_sample_measures(
        Seen(logits, logits.expand(2, 8, 10), logits.argmax(1)), ["a", "b"]
    )
    for name in ("a", "b"):
        assert measures[f"kl_{name}_to_student_nats"].eq(0).all()
        assert measures[f"kl_student_to_{name}_nats"].eq(0).all()
        assert measures[f"fidelity_{name}"].eq(1).all()
    assert measures["kl_ensemble_to_student_nats"].max() < 1e-6


def test_a_value_that_is_not_finite_stays_visible():
    student = draw(4, 3, seed=0)
    student[1, 2] = float("nan")
    seen = Seen(student, draw(1, 4, 3, seed=1), torch.zeros(4).long())
    measures = per_sample_measures(seen, ["T1w"])
    for name in ("entropy_nats", "kl_T1w_to_student_nats", "kl_student_to_T1w_nats"):
        assert measures[name].isnan().tolist() == [False, True, False, False]


@pytest.mark.parametrize("teachers", [0, 1, 3])
def test_a_step_waits_for_no_value(teachers):
    """Tensors without values: whatever asks for one, as a synchronisation does, fails on them; the
    means at the end of the epoch do, which shows that a step that asked would be found."""
    meta = torch.device("meta")
    student = torch.empty(4, 3, device=meta, requires_grad=True)
    others = torch.empty(teachers, 4, 3, device=meta) if teachers else None
    sums = EpochSums([f"T{k}w" for k in range(teachers)], meta)
    terms = {"loss": student.sum()}
    labels = torch.empty(4, dtype=torch.long, device=meta)
    sums.update(terms, Seen(student, others, labels))
    with pytest.raises(NotImplementedError):  # what torch raises at a tensor without values
        sums.means()
