"""Objectives of several losses, each with its weight, in training."""

import dataclasses
import json
import shutil

import pytest
import torch
import torch.nn.functional as F
from conftest import DATASET, IMAGE_SIZE, ON_CPU, Bench, learner_of
from test_side_by_side import result, same

from common.errors import UserError
from engine.config import StudentConfig
from engine.flags import resolve
from engine.learner import new_learner
from engine.processes import Ranks
from engine.scheduling import side_by_side, train_each, train_together
from losses.cross_entropy import CrossEntropy
from losses.decoupled import DecoupledKL
from losses.dist import Dist
from losses.kl import SoftenedKL
from losses.loss import Seen
from losses.objective import distilled
from losses.registry import LOSSES
from models.registry import build_model

EPOCHS = 2
FEW = ("--max-train-images", 60, "--max-test-images", 40, "--batch-size", 20, "--epochs", EPOCHS)


def seen():
    torch.manual_seed(0)
    return Seen(torch.randn(6, 4), torch.randn(2, 6, 4), torch.arange(6) % 4)


def epochs(run):
    return [json.loads(line) for line in run.epochs.read_text().splitlines()]


class TestSums:
    def test_each_loss_has_its_weight_and_is_recorded_without(self):
        losses = {"kl": SoftenedKL(temperature=2.0), "dist": Dist(temperature=2.0)}
        terms = distilled(losses, ce_weight=0.5, kd_weights=(3.0, 0.25))(seen())
        expected = 0.5 * terms["cross_entropy"] + 3 * 4 * terms["kl"] + 0.25 * terms["dist"]
        torch.testing.assert_close(terms["loss"], expected)
        assert terms["dist"] == losses["dist"](seen())

    def test_without_weights_they_have_the_published_ones(self):
        losses = {"dist": Dist(), "kl": SoftenedKL(temperature=2.0)}
        weights = distilled(losses, ce_weight=0.25).terms
        assert [weight for weight, _ in weights.values()] == [0.25, 2.0, 0.75 * 4]

    def test_a_single_one_is_called_distillation(self):
        objective = distilled({"dist": Dist()}, ce_weight=1.0)
        assert [*objective(seen())] == ["loss", "cross_entropy", "distillation"]

    def test_the_ramp_is_of_the_term(self):
        objective = distilled({"decoupled": DecoupledKL()}, ce_weight=1.0)
        terms = objective.in_epoch(4)(seen())
        expected = terms["cross_entropy"] + 0.25 * terms["distillation"]
        torch.testing.assert_close(terms["loss"], expected)
        assert objective.in_epoch(4).in_epoch(19).terms["distillation"][0] == 0.25
        assert objective(seen())["loss"] == objective.in_epoch(19)(seen())["loss"]

    def test_smoothed_labels(self):
        """A share of the weight goes to all classes alike."""
        given = seen()
        log_p = given.logits.log_softmax(1)
        plain = CrossEntropy()(given)
        torch.testing.assert_close(plain, F.cross_entropy(given.logits, given.labels))
        smoothed = 0.9 * plain + 0.1 * -log_p.mean()
        torch.testing.assert_close(CrossEntropy(label_smoothing=0.1)(given), smoothed)

    def test_an_empty_part_of_a_batch_has_terms_of_0(self):
        logits = torch.zeros(0, 4, requires_grad=True)
        empty = Seen(logits, torch.zeros(1, 0, 4), torch.zeros(0).long())
        terms = distilled({"dist": Dist()}, ce_weight=1.0)(empty)
        assert {name: term.item() for name, term in terms.items()} == {
            "loss": 0, "cross_entropy": 0, "distillation": 0
        }  # fmt: skip
        terms["loss"].backward()


class TestRefused:
    def learner(self, loss, classes=10, ranks=ON_CPU.ranks, cell="T1w_Sw"):
        config = StudentConfig(cell=cell, arch="resnet8", image_size=IMAGE_SIZE, loss=loss)
        return new_learner(config, classes, dataclasses.replace(ON_CPU, ranks=ranks))

    def test_two_classes_are_too_few_for_decoupled(self):
        with pytest.raises(UserError, match="decoupled is undefined for 2 classes"):
            self.learner("kl+decoupled", classes=2)
        assert self.learner("kl", classes=2)
        assert self.learner("decoupled", classes=2, cell="Sw")  # it hears no teacher

    def test_dist_needs_the_whole_batch(self):
        with pytest.raises(UserError, match="dist compares the images of a batch, of which 2"):
            self.learner("dist", ranks=Ranks(rank=0, size=2))


@pytest.mark.parametrize("loss", ["standardised", "dist", "decoupled"])
@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_the_first_step_of_a_head_near_0(loss, spread):
    """Constant logits have gradients of 1e5 and more by z-scores and correlations; a head as small
    nets' are drawn has none such."""
    torch.manual_seed(0)
    model = build_model("resnet8", 10)
    torch.nn.init.normal_(model.fc.weight, std=spread)
    torch.nn.init.zeros_(model.fc.bias)
    learner = learner_of(model, cell="T1w_Sw", loss=loss, lr=0.1, epochs=1)
    learner.start_epoch(0)
    logits = learner.answer(torch.randn(8, 3, IMAGE_SIZE, IMAGE_SIZE))
    terms = learner.objective(Seen(logits, torch.randn(2, 8, 10), torch.arange(8)))
    learner.step(terms["loss"])
    gradients = [p.grad.abs().max() for p in model.parameters()]
    assert all(torch.isfinite(gradient) for gradient in gradients)
    assert all(p.isfinite().all() for p in model.parameters())
    if spread:
        assert max(gradients) < 100


def test_students_of_all_losses_learn_side_by_side(two_teachers):
    """In one group, and each as by itself; what an epoch records adds up."""
    (plain,) = resolve(StudentConfig, two_teachers.flags("T1w_T2w_Sw", *FEW))
    configs = [
        dataclasses.replace(plain, cell=f"T1w_T2w_Sw+{k}", loss=loss)
        for k, loss in enumerate((*LOSSES, "kl+class_map+attention"))
    ]
    (group,) = side_by_side(configs)
    train_each([group], train_together)
    for config in group:
        run = two_teachers.run(config.cell, 1)
        for record in epochs(run):
            trained = record["train"]
            assert all(abs(value) < 1e6 for value in trained.values())
            assert trained["loss"] == pytest.approx(weighted(config, record), rel=1e-5)
    folder = two_teachers.folder.parent / "alone"
    for cell in ("T1w", "T2w"):
        shutil.copytree(two_teachers.folder / DATASET / cell, folder / DATASET / cell)
    alone = dataclasses.replace(group[-1], output_dir=str(folder))
    train_each(side_by_side([alone]), train_together)
    by_itself = Bench(folder, two_teachers.recipe).run(alone.cell, 1)
    assert same(result(two_teachers.run(alone.cell, 1)), result(by_itself))


def weighted(config, record):
    """The loss from the terms of a record of training."""
    trained, ramp = record["train"], record["epoch"] / 20
    if config.loss == "kl+class_map+attention":
        kd = 0.4 * 9 * trained["kl"] + trained["class_map"] + 1000 * trained["attention"]
    else:
        weights = {
            "kl": 0.4 * 9, "standardised": 9, "decoupled": ramp, "dist": 2, "logit_mse": 1,
            "hard_label": 0.4, "attention": 1000, "class_map": 1,
        }  # fmt: skip
        kd = weights[config.loss] * trained["distillation"]
    return 0.6 * trained["cross_entropy"] + kd


def test_weights_and_smoothing_reach_a_run(two_teachers):
    run = two_teachers.student(
        "T1w_Sw+sum", *FEW, "--loss", "kl+hard_label", "--kd-weight", 0.5, 2, "--ce-weight", 0,
        "--label-smoothing", 0.1,
    )  # fmt: skip
    saved = run.config.read_text()
    assert "loss: kl+hard_label" in saved and "label_smoothing: 0.1" in saved
    for part in ("train", "validation"):
        own = epochs(run)[-1][part]
        assert own["loss"] == pytest.approx(0.5 * 9 * own["kl"] + 2 * own["hard_label"], rel=1e-5)
