"""A loss of one's own: its settings, what it is given, and what is computed for it."""

import dataclasses
from dataclasses import dataclass

import pytest
import torch
from conftest import IMAGE_SIZE, ON_CPU, learner_of

from common.errors import UserError
from common.settings import option
from dataloader.loader import ViewLoader
from dataloader.views import cifar_view
from engine.config import StudentConfig, TrainConfig, changed_settings
from engine.flags import parse
from engine.loop import answers_of, evaluate, train_epoch
from engine.progress import Progress
from engine.teachers import Teachers
from losses.kl import SoftenedKL
from losses.loss import CLASS_MAPS, FEATURE_MAPS, FIXED_CLASSIFIER, Loss
from losses.registry import LOSSES, losses_of, settings_class
from models.frozen_teachers import FrozenTeachers
from models.registry import build_model

BATCH, CLASSES = 20, 10
STAGES = [(BATCH, 16, 16, 16), (BATCH, 32, 8, 8), (BATCH, 64, 4, 4)]


@dataclass(frozen=True, kw_only=True)
class Power(Loss):
    """Has settings, one of them kl's."""

    power: int = option(2, "of the difference", at_least=1, at_most=8)
    temperature: float = SoftenedKL.__dataclass_fields__["temperature"]

    def __call__(self, seen):
        """Of logits."""
        return ((seen.logits - seen.taught) / self.temperature).pow(self.power).mean()


class Distance(Loss):
    """Between the maps of the student and of each teacher; keeps what it is given."""

    needs = frozenset({FEATURE_MAPS, CLASS_MAPS})

    def __call__(self, seen):
        """Mean squares."""
        self.given.append(seen)
        own = [*seen.maps.features, seen.maps.classes]
        theirs = [[*maps.features, maps.classes] for maps in seen.teacher_maps]
        far = [(a - b).square().mean() for each in theirs for a, b in zip(own, each, strict=True)]
        return torch.stack(far).sum() / len(seen.taught)


@pytest.fixture
def given(monkeypatch):
    """What the loss `--loss maps` is given, once it is asked."""
    monkeypatch.setitem(LOSSES, "maps", Distance)
    monkeypatch.setattr(Distance, "given", [], raising=False)
    return Distance.given


def student(arch="resnet8", compute=ON_CPU, **settings):
    torch.manual_seed(0)
    learner = learner_of(build_model(arch, CLASSES), compute, cell="T1w_T2w_Sw", **settings)
    learner.start_epoch(0)
    return learner


def taught():
    torch.manual_seed(1)
    models = [build_model(arch, CLASSES) for arch in ("resnet8", "resnet20")]
    return Teachers(("T1w", "T2w"), FrozenTeachers(models))


def train(learners, images, compute=ON_CPU):
    """An epoch of two batches, and its validation: the means of both."""
    loader = ViewLoader(images, cifar_view("test", IMAGE_SIZE), seed=0, batch_size=BATCH)
    teachers, bar = taught(), Progress("", total=1, done=0, logs=[], silent=True)
    trained = train_epoch(learners, loader.epoch(0), teachers, compute, bar)
    known = answers_of(teachers, loader.epoch(0), compute, size=len(images), num_classes=CLASSES)
    tested = evaluate(learners, loader.epoch(0), known, compute, bar)
    return [[sums.means() for sums in each] for each in (trained, tested)]


class TestSettings:
    def config(self, argv):
        made = settings_class({"kl": SoftenedKL, "power": Power})
        kind = dataclasses.make_dataclass(
            "Student", [], bases=(made, TrainConfig), frozen=True, kw_only=True
        )
        return parse(kind, argv, "about")

    def test_a_losss_settings_are_flags_with_ranges(self):
        config = self.config(["--loss", "power", "--power", "3"])
        assert (config.loss, config.power, config.temperature) == ("power", 3, 3.0)
        with pytest.raises(UserError, match="--power is 9: at least 1 and at most 8"):
            self.config(["--power", "9"])
        with pytest.raises(UserError, match="argument --loss: invalid choice: 'powder'"):
            self.config(["--loss", "powder"])

    def test_the_loss_gets_its_own(self, monkeypatch):
        monkeypatch.setitem(LOSSES, "power", Power)
        config = self.config(["--loss", "power", "--power", "3", "--temperature", "2"])
        assert losses_of(config) == {"power": Power(power=3, temperature=2.0)}
        plain = StudentConfig(cell="T1w_Sw", temperature=4.0)
        assert losses_of(plain) == {"kl": SoftenedKL(temperature=4.0)}

    def test_several_make_a_sum(self, monkeypatch):
        monkeypatch.setitem(LOSSES, "power", Power)
        config = self.config(["--loss", "power+kl", "--temperature", "2"])
        assert [*losses_of(config).items()] == [
            ("power", Power(temperature=2.0)),
            ("kl", SoftenedKL(temperature=2.0)),
        ]
        for text in ("kl+kl", "kl+", "+", "kl,power"):
            with pytest.raises(UserError, match="argument --loss: invalid choice"):
                self.config(["--loss", text])

    def test_each_has_a_weight_or_none(self):
        assert StudentConfig(cell="T1w_Sw", loss="kl+dist", kd_weight=(1.0, 2.0)).kd_weight
        for weights in ((1.0,), (1.0, 2.0, 3.0)):
            with pytest.raises(UserError, match=r"--loss kl\+dist needs 2: one for each loss"):
                StudentConfig(cell="T1w_Sw", loss="kl+dist", kd_weight=weights)
        with pytest.raises(UserError, match=r"--kd-weight is -1\.0: at least 0"):
            StudentConfig(cell="T1w_Sw", kd_weight=(-1.0,))

    def test_two_losses_mean_the_same_by_a_name(self):
        @dataclass(frozen=True, kw_only=True)
        class Other(SoftenedKL):
            temperature: float = option(1.0, "softens the teacher")

        with pytest.raises(ValueError, match="loss other: another loss has a setting temperature"):
            settings_class({"kl": SoftenedKL, "other": Other})

    def test_a_run_from_before_there_was_a_choice_was_made_with_kl(self):
        config = StudentConfig(cell="T1w_Sw")
        saved = dataclasses.asdict(config)
        del saved["loss"]
        assert changed_settings(saved, config) == []
        other = dataclasses.replace(config, loss="power")
        assert changed_settings(saved, other) == ["--loss was kl, now power"]


class TestMaps:
    def test_they_arrive_and_the_students_alone_have_a_gradient(self, given, few_images):
        train([student(loss="maps")], few_images)
        for seen in given[:2]:  # two batches of training
            assert [maps.shape for maps in seen.maps.features] == STAGES
            assert seen.maps.classes.shape == (BATCH, CLASSES, 4, 4)
            assert all(maps.requires_grad for maps in (*seen.maps.features, seen.maps.classes))
            assert len(seen.teacher_maps) == 2
            for maps in seen.teacher_maps:
                assert [stage.shape for stage in maps.features] == STAGES
                assert not any(m.requires_grad for m in (*maps.features, maps.classes))
        assert len(given) == 4
        assert not given[-1].maps.classes.requires_grad

    def test_the_mean_of_a_class_map_is_the_logit(self, given, few_images):
        learner = student(loss="maps")
        bias = learner.model.fc.bias.detach().clone()
        train([learner], few_images)
        seen = given[0]
        torch.testing.assert_close(seen.maps.classes.mean((2, 3)) + bias, seen.logits)

    def test_a_term_may_be_of_training_alone(self, given, few_images, monkeypatch):
        monkeypatch.setattr(Distance, "in_validation", False)
        trained, tested = train([student(loss="kl+maps")], few_images)
        assert len(given) == 2
        assert {"kl", "maps"} <= set(trained[0])
        assert "maps" not in tested[0]
        own = tested[0]
        assert own["loss"] == pytest.approx(
            0.6 * own["cross_entropy"] + 0.4 * 9 * own["kl"], rel=1e-5
        )

    @pytest.mark.parametrize("fixed", [False, True])
    def test_the_loss_moves_all_weights_and_no_teacher(self, given, monkeypatch, fixed):
        needs = Distance.needs | ({FIXED_CLASSIFIER} if fixed else set())
        monkeypatch.setattr(Distance, "needs", needs)
        learner, teachers = student(loss="maps", ce_weight=0.0), taught()
        images, labels = torch.randn(BATCH, 3, IMAGE_SIZE, IMAGE_SIZE), torch.zeros(BATCH).long()
        answers = teachers.answer(images, learner.objective.needs, teaching=True)
        terms = learner.objective(learner.seen(torch.arange(BATCH), images, labels, answers))
        terms["distillation"].backward()
        weights = {
            name: w.grad for name, w in learner.model.named_parameters() if "fc.b" not in name
        }
        assert (weights.pop("fc.weight") is None) == fixed
        assert all(grad is not None and grad.abs().max() > 0 for grad in weights.values())
        assert all(weight.grad is None for weight in teachers.models.parameters())

    def test_in_half_precision_they_are_float32(self, given, few_images):
        compute = dataclasses.replace(ON_CPU, amp="bf16")
        train([student(compute=compute, loss="maps")], few_images, compute)
        own = given[0]
        assert own.logits.dtype == torch.bfloat16
        for maps in (own.maps, *own.teacher_maps):
            assert {one.dtype for one in (*maps.features, maps.classes)} == {torch.float32}

    @pytest.mark.parametrize(
        ("arch", "stages"), [("resnet18", 4), ("mobilenet_v2", 1), ("densenet121", 1)]
    )
    def test_of_other_nets(self, given, arch, stages):
        learner = student(arch, loss="maps", image_size=32)
        images, labels = torch.randn(2, 3, 32, 32), torch.zeros(2).long()
        answers = taught().answer(images, learner.objective.needs)
        seen = learner.seen(torch.arange(2), images, labels, answers)
        assert len(seen.maps.features) == stages
        seen.maps.features[-1].sum().backward()
        assert next(learner.model.parameters()).grad is not None

    def test_a_net_without_is_refused(self, given):
        with pytest.raises(UserError, match="T1w_T2w_Sw has a net without class maps and feature"):
            student("mobilenet_v3_small", loss="maps")

    def test_nothing_is_left_in_the_nets(self, given, few_images):
        learner = student(loss="maps")
        train([learner], few_images)
        for module in learner.model.modules():
            assert not (module._forward_hooks or module._forward_pre_hooks)

    def test_nothing_is_hooked_where_no_loss_needs_it(self, few_images, monkeypatch):
        def hooked(*_):
            raise AssertionError

        monkeypatch.setattr("torch.nn.Module.register_forward_hook", hooked)
        monkeypatch.setattr("torch.nn.Module.register_forward_pre_hook", hooked)
        train([student()], few_images)
        assert taught().answer(torch.ones(1, 3, 32, 32)).logits.is_inference()

    def test_a_student_beside_one_that_needs_them_learns_as_alone(self, given, few_images):
        beside, alone = student(), student()
        together = train([student(loss="maps"), beside], few_images)
        by_itself = train([alone], few_images)
        assert [each[1] for each in together] == [each[0] for each in by_itself]
        for a, b in zip(beside.model.parameters(), alone.model.parameters(), strict=True):
            assert torch.equal(a, b)
