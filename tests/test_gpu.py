"""Whole runs, steps and measures on a GPU.

Over a CUDA runtime that computes nothing these tests show devices, types, waits and copies; what
looks at values is left out there, and says so.
"""

import json
import shutil

import pytest
import torch
from conftest import DATASET, IMAGE_SIZE, Bench, learner_of
from torch import nn

import train_student
import train_teacher
from Affinity import calculate_affinity
from common.errors import UserError, run_program
from dataloader.loader import ViewLoader
from dataloader.mixing import Mix, cut
from dataloader.views import CIFAR_STATISTICS, cifar_view
from engine.checkpoint import load
from engine.compute import Compute, pick_device
from engine.config import TeacherConfig
from engine.data import PARTNERS
from engine.learner import Learner
from engine.loop import answers_of, evaluate, train_epoch
from engine.progress import Progress
from engine.teachers import Teachers
from engine.training_run import TrainingRun
from evaluation import calculate_agreement, calculate_ece, calculate_iou
from losses.combination import COMBINATIONS
from losses.registry import LOSSES
from models.frozen_teachers import FrozenTeachers
from models.registry import build_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
FEW = ("--epochs", 2, "--max-train-images", 80, "--max-test-images", 40, "--batch-size", 32)
SPELLINGS = ("auto", "cuda", "cuda:0")


@pytest.fixture
def bench(tmp_path, tiny_recipe):
    return Bench(tmp_path / "runs", tiny_recipe)


@pytest.fixture(scope="module")
def on_gpu(tmp_path_factory):
    """Two teachers and a student, trained on the GPU; to be read, not changed."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "tiny.yaml").write_text(
        f"common: {{arch: resnet8, image_size: {IMAGE_SIZE}, workers: 0}}\n"
    )
    bench = Bench(folder / "runs", folder / "tiny.yaml")
    for cell in ("T1w", "T2w"):
        bench.teacher(cell, "--device", "auto", *FEW)
    bench.student("T1w_T2w_Sw", "--device", "auto", *FEW)
    return bench


def records(run):
    return [json.loads(line) for line in run.epochs.read_text().splitlines()]


@pytest.mark.parametrize("device", SPELLINGS)
def test_every_spelling_of_the_gpu_trains(bench, on_gpu, device):
    shutil.copytree(on_gpu.run("T1w", 1).path.parent, bench.folder / DATASET / "T1w")
    teacher = bench.teacher("T2s", "--device", device, *FEW)
    student = bench.student("T1w_Sw", "--device", device, *FEW)
    for run in (teacher, student):
        session = json.loads(run.environment.read_text())["sessions"][-1]
        assert session["device"] == torch.cuda.get_device_name(0)
        _, state = load(run.checkpoint("last"))
        assert {tensor.device.type for tensor in state["model"].values()} == {"cpu"}


@pytest.mark.parametrize("amp", ["none", "bf16", "fp16"])
def test_a_student_learns_on_the_gpu(needs_values, taught, tmp_path, amp):
    for cell in ("T1w", "T2s"):
        shutil.copytree(taught.run(cell, 1).path.parent, tmp_path / DATASET / cell)
    bench = Bench(tmp_path, taught.recipe)
    run = bench.student("T1w_T2s_Ss", "--device", "cuda", "--amp", amp, "--workers", 2)
    first, *_, last = records(run)
    assert last["train"]["loss"] < first["train"]["loss"]


@pytest.mark.parametrize(
    ("program", "device"),
    [
        (calculate_ece, "cuda"),
        (calculate_ece, "cuda:0"),
        *[(p, "auto") for p in (calculate_ece, calculate_iou, calculate_agreement)],
        (calculate_affinity, "auto"),
    ],
)
def test_measures_ask_on_the_gpu(on_gpu, tmp_path, program, device):
    shutil.copytree(on_gpu.folder, tmp_path / "runs")
    cell = "T1w" if program is calculate_affinity else "T1w_T2w_Sw"
    flags = ["--dataset", DATASET, "--output-dir", f"{tmp_path / 'runs'}", "--cells", cell]
    try:
        program.main([*flags, "--device", device, "--name", "measured"])
    except UserError as error:  # zeros are never right, and no map varies
        assert "no image is right" in str(error)
    else:
        assert (tmp_path / "runs" / DATASET / "measured.csv").is_file()


def test_measures_are_of_real_float32(on_gpu):
    compute = Compute.measuring("cuda", CIFAR_STATISTICS)
    assert compute.amp == "none"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("arch", ["resnet8", "resnet18_small_stem"])
def test_measures_agree_with_the_processor(needs_values, few_images, arch):
    torch.manual_seed(0)
    model = build_model(arch, 10).eval()
    seen = ViewLoader(few_images, cifar_view("test", 32), seed=0, batch_size=40)
    ((_, views, _),) = seen.epoch(0)
    on = {name: Compute.measuring(name, CIFAR_STATISTICS) for name in ("cpu", "cuda")}
    with torch.no_grad():
        answers = {n: c.place(model)(c.inputs(views)).cpu() for n, c in on.items()}
    torch.testing.assert_close(answers["cuda"], answers["cpu"], rtol=1e-4, atol=1e-5)


def net(seed):
    """All kinds of layers that a step of the real nets has, one of each."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


def batches(images):
    pinned = ViewLoader(
        images, cifar_view("weak", IMAGE_SIZE), seed=0, batch_size=20, pin_memory=True
    )
    return list(pinned.epoch(0))


def learners_of(count, names, compute):
    heard = [names[: k % (len(names) + 1)] or names for k in range(count)]  # not the same for all
    learners = [
        learner_of(compute.place(net(seed)), compute, cell="_".join([*own, "Sw"]))
        for seed, own in enumerate(heard)
    ]
    for learner in learners:
        learner.start_epoch(0)
    return learners


@pytest.mark.parametrize("amp", ["none", "bf16", "fp16"])
@pytest.mark.parametrize("students", [1, 15])
@pytest.mark.parametrize("teachers", [0, 1, 2, 3])
def test_an_epoch_does_not_wait_for_the_gpu(few_images, teachers, students, amp):
    """Nor does validation, but for the logits of all teachers, once a run."""
    compute = Compute(pick_device("cuda"), amp, CIFAR_STATISTICS)
    names = tuple(f"T{k}w" for k in range(1, teachers + 1))
    frozen = FrozenTeachers([compute.place(net(k)) for k in range(teachers)]) if names else None
    heard = Teachers(names, frozen, ({},) * teachers)
    learners, seen = learners_of(students, names, compute), batches(few_images)
    known = answers_of(heard, seen, compute, size=len(few_images), num_classes=10)
    groups = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    silent = Progress("", total=1, done=0, logs=[], silent=True)

    def epoch(part):
        train_epoch(learners, part, heard, compute, silent)
        for learner in learners:
            learner.model.train()
        evaluate(learners, part, known, compute, silent, groups)
        for learner in learners:
            learner.model.train()

    epoch(seen[:1])  # what is made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        epoch(seen)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("amp", ["none", "bf16", "fp16"])
@pytest.mark.parametrize("placebo", ["no", "yes"])
def test_answers_about_partners_and_held_maps_do_not_wait_either(few_images, placebo, amp):
    compute = Compute(pick_device("cuda"), amp, CIFAR_STATISTICS)
    models = [compute.place(build_model("resnet8", 10)) for _ in range(6)]
    config = TeacherConfig(cell="T2w", beside="T1w", map_placebo=placebo, warmup_epochs=0)
    settings = ({"shuffle_teachers": 0.5}, {"shuffle_teachers": 1.0})
    students = [
        learner_of(model, compute, cell="T1w_Sw", **own)
        for model, own in zip(models, settings, strict=False)
    ]
    students.append(learner_of(models[4], compute, cell="T1s_Sw", teachers_see="own"))
    learners = [*students, Learner(models[2], config, compute)]
    heard = Teachers(("T1w", "T1s strong"), FrozenTeachers([models[3], models[5]]), ({}, {}))
    silent = Progress("", total=1, done=0, logs=[], silent=True)
    seen = batches(few_images)
    for learner in learners:
        learner.start_epoch(0)
    once = {PARTNERS: seen[1:], "strong": seen[1:]}
    train_epoch(learners, seen[:1], heard, compute, silent, once)  # what is made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        others = {PARTNERS: seen[::-1], "strong": seen[::-1]}
        mixes = iter([Mix(0.3), cut(0.75, 4, 4, IMAGE_SIZE)])
        train_epoch(learners, seen, heard, compute, silent, others, mixes)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_no_loss_and_no_combination_waits(few_images):
    compute = Compute(pick_device("cuda"), "fp16", CIFAR_STATISTICS)
    settings = [{"loss": name} for name in LOSSES]
    settings += [{"combine": how, "loss": "kl+decoupled"} for how in COMBINATIONS]
    models = [compute.place(build_model("resnet8", 10)) for _ in range(len(settings) + 2)]
    learners = [
        learner_of(model, compute, cell="T1w_T2w_Sw", label_smoothing=0.1, **own)
        for model, own in zip(models[2:], settings, strict=True)
    ]
    heard = Teachers(("T1w", "T2w"), FrozenTeachers(models[:2]), ({}, {}))
    silent = Progress("", total=1, done=0, logs=[], silent=True)
    seen = batches(few_images)
    for learner in learners:
        learner.start_epoch(0)
    train_epoch(learners, seen[:1], heard, compute, silent)  # what is made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        train_epoch(learners, seen, heard, compute, silent)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("amp", ["none", "fp16"])
def test_a_clipped_step_of_adamw_does_not_wait_for_the_gpu(amp):
    compute = Compute(pick_device("cuda"), amp, CIFAR_STATISTICS)
    settings = {"optimizer": "adamw", "clip_norm": 1.0, "weight_decay": 0.1}
    learner = learner_of(compute.place(net(0)), compute, **settings)
    images = compute.send(torch.randn(4, 3, 16, 16))

    def step():
        with compute.autocast():
            loss = learner.model(images).float().square().mean()
        learner.step(loss)

    learner.start_epoch(0)
    step()  # what is made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_wait_would_be_found():
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchroniz"):
            torch.ones(1, device="cuda").item()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("amp", ["none", "fp16"])
@pytest.mark.parametrize(("first", "second"), [("cpu", "cuda"), ("cuda", "cpu")])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_goes_on_on_another_device(
    bench, has_values, monkeypatch, first, second, amp, optimizer
):
    if (first, amp) == ("cuda", "fp16") and not has_values:
        pytest.skip("this CUDA runtime computes no values, so the loss scale is 0")
    flags = bench.flags("T1w", *FEW, "--amp", amp, "--optimizer", optimizer)
    report = TrainingRun.report

    def killed(self, *arguments):
        report(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "report", killed)
        assert run_program(train_teacher.main, [*flags, "--device", first]) == 130
    assert run_program(train_teacher.main, [*flags, "--device", second]) == 0
    run = bench.run("T1w", 1)
    sessions = json.loads(run.environment.read_text())["sessions"]
    assert [session["fused_sgd"] for session in sessions] == [first == "cuda", second == "cuda"]
    assert [record["epoch"] for record in records(run)] == [1, 2]
    assert ("scaler" in load(run.checkpoint("last"))[1]) == (amp == "fp16")


def test_a_gpu_that_is_not_there_is_refused(bench, capsys):
    code = run_program(train_student.main, bench.flags("Sw", "--device", "cuda:99"))
    assert code == 2
    assert "GPUs are visible" in capsys.readouterr().err
