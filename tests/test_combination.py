"""Several teachers: what they teach together, alone and in training."""

import dataclasses
import math

import pytest
import torch
from conftest import ON_CPU, learner_of
from test_objectives import FEW, epochs
from test_published_losses import GIVEN, LABELS

from common.errors import UserError
from engine.config import StudentConfig
from engine.flags import resolve
from engine.scheduling import side_by_side, train_each, train_together
from engine.teachers import Answers
from losses.combination import COMBINATIONS, Combination, confidence
from losses.kl import SoftenedKL
from losses.loss import Seen
from losses.objective import distilled
from models.registry import build_model

TEACHERS = GIVEN["teachers"]
T = 4.0


def kl(how, drawn=None):
    """T^2 KL to the combined teachers, and its gradient."""
    student = GIVEN["student"].clone().requires_grad_()
    lesson = Combination(how, T).lesson(TEACHERS, LABELS, drawn)
    loss = T**2 * SoftenedKL(temperature=T)(Seen(student, TEACHERS, LABELS, lesson=lesson))
    loss.backward()
    return loss.item(), student.grad


class TestCombination:
    @pytest.mark.parametrize(
        ("how", "value", "norm"),
        [  # published: Rorozhl/CA-MKD, whose last is divided by the number of teachers once more
            ("losses", 4.107941448033238, 0.1978172170885893),
            ("logits", 2.735790256262809, 0.1982553799993652),
            ("confidence", 3 * 1.2502890485014997, 3 * 0.06739357872707337),
        ],
    )
    def test_it_is_the_published_one(self, how, value, norm):
        loss, gradient = kl(how)
        assert loss == pytest.approx(value, rel=2e-6)
        assert gradient.norm().item() == pytest.approx(norm, rel=2e-6)

    def test_the_mean_of_the_losses_has_the_gradient_of_the_mean_of_softened_probabilities(self):
        student = GIVEN["student"].double().requires_grad_()
        mean = (TEACHERS.double() / T).softmax(-1).mean(0)
        log_s = (student / T).log_softmax(-1)
        loss = T**2 * (mean * (mean.log() - log_s)).sum(-1).mean()
        loss.backward()
        assert loss.item() == pytest.approx(2.6936616951192223)  # smaller by the teachers' spread
        torch.testing.assert_close(kl("losses")[1].double(), student.grad, rtol=1e-5, atol=1e-8)

    def test_confidence_by_hand(self):
        """Two teachers with cross-entropies ln 2 and ln 4: softmax 1/3 and 2/3."""
        teachers = torch.tensor([[[0.0, 0.0]], [[0.0, math.log(3)]]])
        weights = confidence(teachers, torch.tensor([0]))
        torch.testing.assert_close(weights, torch.tensor([[2 / 3], [1 / 3]]))
        three = confidence(TEACHERS, LABELS)
        torch.testing.assert_close(three.sum(0), torch.ones(16))
        assert three.max() <= 0.5  # of 1 / (K - 1)

    def test_a_saturated_teacher_has_finite_weights(self):
        teachers = TEACHERS.sign() * 1e30
        assert confidence(teachers, LABELS).isfinite().all()

    def test_drawn_is_the_loss_to_each_images_teacher(self):
        drawn = torch.arange(16) % 3
        of_each = TEACHERS[drawn, torch.arange(16)][None]
        expected = T**2 * SoftenedKL(temperature=T)(Seen(GIVEN["student"], of_each, LABELS))
        assert kl("drawn", drawn)[0] == pytest.approx(expected.item(), rel=1e-6)
        classes = Combination("drawn", T).lesson(TEACHERS, LABELS, drawn).classes
        assert torch.equal(classes, of_each[0].argmax(-1))

    def test_what_is_predicted_together(self):
        """The second choice of both, unless the one that is right weighs more."""
        teachers = torch.tensor([[[9.0, 0.0, 8.9]], [[0.0, 9.0, 8.9]]])
        labels = torch.tensor([1])
        for how, expected in (("logits", 2), ("losses", 2), ("confidence", 1)):
            assert Combination(how, 1.0).lesson(teachers, labels).classes.tolist() == [expected]

    def test_one_term_may_weigh_and_the_labels_do_not(self):
        lesson = Combination("confidence", T).lesson(TEACHERS, LABELS)
        seen = Seen(GIVEN["student"], TEACHERS, LABELS, lesson=lesson)
        terms = distilled({"kl": SoftenedKL(temperature=T)}, ce_weight=0.1)(seen)
        assert terms["distillation"].item() * T**2 == pytest.approx(kl("confidence")[0])


class TestDrawn:
    def drawn(self, index, epoch=3, seed=1, validated=False):
        learner = learner_of(
            build_model("resnet8", 10), ON_CPU, cell="T1w_T2w_T3w_Sw", combine="drawn", seed=seed,
            epochs=9,
        )  # fmt: skip
        learner.start_epoch(epoch)
        answers = Answers(("T1w", "T2w", "T3w"), torch.randn(3, len(index), 10))
        ask = learner.validated if validated else learner.seen
        images, labels = torch.zeros(len(index), 3, 16, 16), torch.zeros(len(index)).long()
        return ask(index, images, labels, answers).lesson.weights.argmax(0)

    def test_a_function_of_seed_epoch_and_index(self):
        index = torch.arange(90)
        first, turned = self.drawn(index), index.flip(0)
        assert torch.equal(first, torch.cat([self.drawn(index[:40]), self.drawn(index[40:])]))
        assert torch.equal(first, self.drawn(turned).flip(0))
        assert not torch.equal(first, self.drawn(index, epoch=4))
        assert not torch.equal(first, self.drawn(index, seed=2))
        assert torch.bincount(first, minlength=3).min() > 15

    def test_validation_is_the_same_in_every_epoch(self):
        index = torch.arange(30)
        by_epoch = [self.drawn(index, epoch, validated=True) for epoch in (0, 5)]
        assert torch.equal(*by_epoch)


@pytest.mark.parametrize(
    ("loss", "combine", "message"),
    [
        ("kl+class_map", "logits", "--combine logits is of losses of logits, and --loss class_map"),
        ("attention", "logits", "--loss attention compares maps"),
        ("dist", "confidence", "--combine confidence weighs the teachers for each image"),
        ("kl+dist", "drawn", "--loss dist is no mean over images"),
    ],
)  # fmt: skip
def test_what_cannot_be_combined_is_refused(loss, combine, message):
    with pytest.raises(UserError, match=message):
        StudentConfig(cell="T1w_T2w_Sw", loss=loss, combine=combine)
    assert StudentConfig(cell="T1w_T2w_Sw", loss=loss)


def test_combinations_learn_side_by_side(two_teachers):
    """A student of each; fidelity to what was taught and to the mean of logits is recorded."""
    (plain,) = resolve(StudentConfig, two_teachers.flags("T1w_T2w_Sw", *FEW))
    configs = [
        dataclasses.replace(plain, cell=f"T1w_T2w_Sw+{how}", combine=how, loss="kl+class_map")
        for how in COMBINATIONS
        if how != "logits"
    ]
    logits = dataclasses.replace(plain, cell="T1w_T2w_Sw+logits", combine="logits")
    (group,) = side_by_side([*configs, logits, dataclasses.replace(plain, cell="T1w_Sw")])
    train_each([group], train_together)
    last = {config.cell: epochs(two_teachers.run(config.cell, 1))[-1] for config in group}
    assert "fidelity_taught" not in last["T1w_Sw"]["validation"]
    for cell in last.keys() - {"T1w_Sw"}:
        for part in ("train", "validation"):
            assert {"fidelity_taught", "fidelity_ensemble"} <= last[cell][part].keys()
    own = last["T1w_T2w_Sw+logits"]["validation"]
    assert own["fidelity_taught"] == own["fidelity_ensemble"]
    kls = {last[config.cell]["train"]["kl"] for config in configs}
    assert len(kls) == len(configs)
