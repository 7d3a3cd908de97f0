"""The device and the precision of a run: what is chosen, what is kept, what is refused."""

import dataclasses
import json

import pytest
import torch
import yaml
from conftest import ON_CPU, Bench, learner_of
from torch import nn

import train_teacher
from common.errors import UserError, run_program
from dataloader.views import CIFAR_STATISTICS
from engine.checkpoint import Header, load, save
from engine.compute import Compute, computes_in, fastest_amp, pick_device
from engine.config import StudentConfig, TeacherConfig
from engine.flags import RECIPE_FOLDER, read_recipe
from engine.learner import restore
from engine.processes import Ranks
from engine.training_run import TrainingRun

CPU = torch.device("cpu")


@pytest.fixture
def bench(tmp_path, tiny_recipe):
    return Bench(tmp_path / "runs", tiny_recipe)


def sessions(run):
    return json.loads(run.environment.read_text())["sessions"]


def losses(run):
    return [json.loads(line)["train"]["loss"] for line in run.epochs.read_text().splitlines()]


def hardware_has(monkeypatch, *kinds):
    monkeypatch.setattr("engine.compute.computes_in", lambda amp, device: amp in kinds)


@pytest.mark.parametrize("path", sorted(RECIPE_FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("config_class", [TeacherConfig, StudentConfig])
def test_every_recipe_leaves_the_precision_open(path, config_class):
    assert read_recipe(path, config_class).get("amp", config_class.amp) == "auto"


@pytest.mark.parametrize(
    ("has_bf16", "capability", "chosen"),
    [
        (True, (8, 0), "bf16"),
        (True, (9, 0), "bf16"),
        (False, (7, 5), "fp16"),
        (False, (7, 0), "fp16"),
        (False, (6, 1), "none"),
    ],
)
def test_a_gpu_gets_what_it_computes_in(monkeypatch, has_bf16, capability, chosen):
    def bf16(*, including_emulation=True):
        return has_bf16 or including_emulation

    monkeypatch.setattr("torch.cuda.is_bf16_supported", bf16)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    assert fastest_amp(torch.device("cuda", 0)) == chosen


def test_a_processor_gets_what_onednn_says():
    says = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert computes_in("bf16", CPU) == says
    assert fastest_amp(CPU) == ("bf16" if says else "none")


class OfTwoMachines(Ranks):
    """Beside another process, whose machine has no bf16."""

    def sum(self, values):
        return values + torch.tensor([0, 0, 1])


def test_processes_on_unlike_machines_meet_in_float32(monkeypatch):
    hardware_has(monkeypatch, "bf16")
    config = TeacherConfig(device="cpu")
    assert Compute.of(config, CIFAR_STATISTICS, OfTwoMachines(0, 2)).amp == "none"
    assert Compute.of(config, CIFAR_STATISTICS).amp == "bf16"


@pytest.mark.parametrize(("amp", "told"), [("bf16", True), ("fp16", True), ("none", False)])
def test_what_is_emulated_is_told(monkeypatch, capsys, amp, told):
    hardware_has(monkeypatch)
    Compute.of(TeacherConfig(device="cpu", amp=amp), CIFAR_STATISTICS)
    assert ("many times slower than float32" in capsys.readouterr().err) == told
    hardware_has(monkeypatch, "bf16", "fp16")
    Compute.of(TeacherConfig(device="cpu", amp=amp), CIFAR_STATISTICS)
    assert not capsys.readouterr().err


class TestIdentity:
    """What auto chose is said, recorded, and gone on with."""

    def killed_after_an_epoch(self, bench, *flags):
        report = TrainingRun.report

        def killed(self, *arguments):
            report(self, *arguments)
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TrainingRun, "report", killed)
            assert run_program(train_teacher.main, bench.flags("T1w", *flags)) == 130

    def test_it_is_said_and_recorded(self, bench, monkeypatch, capsys):
        hardware_has(monkeypatch, "bf16")
        run = bench.teacher("T1w", "--epochs", 1, "--max-train-images", 64, "--amp", "auto")
        assert "precision: bf16, chosen for this processor" in capsys.readouterr().out
        assert yaml.safe_load(run.config.read_text())["amp"] == "bf16"
        assert sessions(run)[-1]["amp"] == "bf16"

    @pytest.mark.parametrize("began", ["none", "bf16"])
    def test_a_run_goes_on_as_it_began(self, bench, monkeypatch, capsys, began):
        few = ("--epochs", 2, "--max-train-images", 64, "--max-test-images", 32)
        hardware_has(monkeypatch, began)
        self.killed_after_an_epoch(bench, *few, "--amp", "auto")
        hardware_has(monkeypatch, "bf16" if began == "none" else "none")
        capsys.readouterr()
        run = bench.teacher("T1w", *few, "--amp", "auto")
        assert [session["amp"] for session in sessions(run)] == [began, began]
        assert ("bf16 is many times slower" in capsys.readouterr().err) == (began == "bf16")

    def test_another_precision_is_refused(self, bench, capsys):
        few = ("--epochs", 2, "--max-train-images", 64, "--max-test-images", 32)
        self.killed_after_an_epoch(bench, *few, "--amp", "none")
        code = run_program(train_teacher.main, bench.flags("T1w", *few, "--amp", "bf16"))
        assert code == 2
        assert "--amp was none, now bf16" in capsys.readouterr().err

    def test_a_finished_run_is_finished_under_auto(self, bench, capsys):
        few = ("--epochs", 1, "--max-train-images", 64, "--max-test-images", 32)
        bench.teacher("T1w", *few, "--amp", "bf16")
        capsys.readouterr()
        bench.teacher("T1w", *few, "--amp", "auto")
        assert "finished" in capsys.readouterr().out

    def test_a_new_start_chooses_anew(self, bench):
        few = ("--epochs", 1, "--max-train-images", 64, "--max-test-images", 32)
        bench.teacher("T1w", *few, "--amp", "bf16")
        run = bench.teacher("T1w", *few, "--amp", "none", "--resume", "never")
        assert sessions(run)[-1]["amp"] == "none"

    def test_fp16_resumes_to_the_same_bits(self, bench, tmp_path, tiny_recipe):
        few = ("--epochs", 2, "--max-train-images", 64, "--max-test-images", 32, "--amp", "fp16")
        whole = bench.teacher("T1w", *few)
        other = Bench(tmp_path / "other", tiny_recipe)
        self.killed_after_an_epoch(other, *few)
        resumed = other.teacher("T1w", *few)
        assert losses(resumed) == losses(whole)
        ours, theirs = (load(run.checkpoint("last"))[1] for run in (whole, resumed))
        assert ours["scaler"] == theirs["scaler"]
        assert ours["scaler"]["_growth_tracker"] > 0
        assert all(torch.equal(ours["model"][key], theirs["model"][key]) for key in ours["model"])


class TestLossScale:
    def learner(self, *, scales_loss=False):
        torch.manual_seed(0)
        amp = "fp16" if scales_loss else "none"
        return learner_of(nn.Linear(2, 2), dataclasses.replace(ON_CPU, amp=amp))

    def test_it_leaves_a_step_as_it_is(self):
        images = torch.tensor([[1.0, 2.0]])
        weights = []
        for scales_loss in (False, True):
            learner = self.learner(scales_loss=scales_loss)
            learner.step(learner.answer(images).square().sum())
            weights.append(learner.model.weight.detach().clone())
        torch.testing.assert_close(*weights)

    def test_a_step_that_overflows_is_left_out_and_the_scale_halved(self):
        learner = self.learner(scales_loss=True)
        before, scale = learner.model.weight.detach().clone(), learner.scaler.get_scale()
        learner.step(learner.answer(torch.full((1, 2), 3e38)).sum())
        assert torch.equal(learner.model.weight, before)
        assert learner.scaler.get_scale() == scale / 2

    @pytest.mark.parametrize(
        "change",
        [
            lambda state: state.pop("scaler"),
            lambda state: state.update(scaler=[1.0]),
            lambda state: state["scaler"].update(scale=float("nan")),
            lambda state: state["scaler"].update(scale=0.0),
            lambda state: state["scaler"].update(scale="65536"),
            lambda state: state["scaler"].update(extra=1.0),
        ],
    )
    def test_a_damaged_one_is_refused(self, tmp_path, change):
        learner = self.learner(scales_loss=True)
        learner.step(learner.answer(torch.ones(1, 2)).sum())
        state = learner.state_dict() | {"best_epoch": 1}
        change(state)
        with pytest.raises(UserError, match="holds no loss scale of this precision"):
            restore(learner, Header("resnet8", 2, 8, 1), state, tmp_path / "last.pt")

    def test_one_is_refused_where_none_belongs(self, tmp_path):
        scaled, plain = self.learner(scales_loss=True), self.learner()
        for learner in (scaled, plain):
            learner.step(learner.answer(torch.ones(1, 2)).sum())
        state = scaled.state_dict() | {"best_epoch": 1}
        with pytest.raises(UserError, match="loss scale"):
            restore(plain, Header("resnet8", 2, 8, 1), state, tmp_path / "last.pt")

    def test_it_is_stored_as_plain_numbers(self, tmp_path):
        learner = self.learner(scales_loss=True)
        learner.step(learner.answer(torch.ones(1, 2)).sum())
        save(tmp_path / "last.pt", Header("resnet8", 2, 8, 1), learner.state_dict())
        assert load(tmp_path / "last.pt")[1]["scaler"] == learner.scaler.state_dict()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mps", "float64, which it lacks"),
        ("mps:0", "float64, which it lacks"),
        *[(name, "use auto, cpu, cuda or cuda:N") for name in
          ("xpu", "meta", "hpu:1", "vulkan", "abacus", "", "cuda:x", "cuda:-1", "cpu:x", "0")],
        ("cuda:99", "name another, or use --device cpu"),
    ],
)  # fmt: skip
def test_other_devices_are_refused(name, said):
    with pytest.raises(UserError, match=f"--device {name}: .*{said}") as caught:
        pick_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:99"])
def test_a_gpu_that_is_not_there_is_refused(name):
    with pytest.raises(UserError, match=r"0 GPUs are|this PyTorch was"):
        pick_device(name)


@pytest.mark.parametrize("name", ["cpu", "cpu:0"])
def test_spellings_of_the_processor(name):
    assert pick_device(name) == CPU
