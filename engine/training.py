"""A run from its first epoch, or the one after its last checkpoint, to its metrics.json."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dataloader.loader import ViewLoader
from dataloader.random_streams import seeded_draws
from engine import checkpoint
from engine.checkpoint import Header
from engine.compute import Compute, pick_device
from engine.config import StudentConfig, TeacherConfig
from engine.data import RunData, load_data
from engine.environment import describe
from engine.errors import RunError, one_line
from engine.files import write_json
from engine.learner import Learner
from engine.loop import Task, evaluate, teacher_logits_of, train_epoch
from engine.progress import Progress
from engine.run import RunDirectory
from engine.schedule import learning_rate_factors
from engine.tensorboard import Scalars
from models.pretrained import load_pretrained
from models.registry import build_model

AnyConfig = TeacherConfig | StudentConfig


def open_data(config: AnyConfig) -> tuple[RunData, Compute]:
    """The run's loaders, and where and how its models run."""
    device = pick_device(config.device)
    data = load_data(config, pin_memory=device.type == "cuda")
    return data, Compute(device, config.amp, data.statistics)


def build_learner(config: AnyConfig, num_classes: int, compute: Compute) -> Learner:
    """A new model, its initial weights drawn from the run's seed or read from a file."""
    with seeded_draws("weights", config.stream):
        model = build_model(config.arch, num_classes, image_size=config.image_size)
    if config.pretrained == "none":
        print(f"{config.cell}: trained from scratch, initial weights of stream {config.stream}")
    else:
        new = load_pretrained(model, Path(config.pretrained))
        print(f"{config.cell}: starts from {config.pretrained}" + ", final layer new" * new)
    factors = learning_rate_factors(
        config.schedule,
        config.epochs,
        milestones=config.milestones,
        decay=config.decay,
        warmup_epochs=config.warmup_epochs,
    )
    return Learner(
        compute.place(model),
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        factors=factors,
    )


@dataclass
class Fit:
    """One run in the making: what `fit` carries from epoch to epoch."""

    config: AnyConfig
    run: RunDirectory
    data: RunData
    learner: Learner
    task: Task
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0

    def header(self) -> Header:
        """What the checkpoint after the last epoch says of itself."""
        config, data = self.config, self.data
        return Header(config.arch, data.num_classes, config.image_size, len(self.history))

    def resume(self) -> None:
        """Go on after the last checkpoint, where there is one."""
        path = self.run.checkpoint("last")
        if not path.is_file():
            return
        header, state = checkpoint.load(path)
        self.history = self.run.read_epochs(header.epoch)
        self.best_epoch = state["best_epoch"]
        self.learner.load_state_dict(state)

    def add(self, record: dict[str, Any]) -> None:
        """Keep an epoch: its record, then best.pt if it is the best so far, then last.pt.

        In this order a run killed between two of them repeats the epoch and writes them again.
        """
        self.history.append(record)
        self.run.write_epochs(self.history)
        if self._is_best(record):
            self.best_epoch = record["epoch"]
            model = {"model": self.learner.model.state_dict()}
            checkpoint.save(self.run.checkpoint("best"), self.header(), model)
        state = self.learner.state_dict() | {"best_epoch": self.best_epoch}
        checkpoint.save(self.run.checkpoint("last"), self.header(), state)

    def _is_best(self, record: dict[str, Any]) -> bool:
        if self.best_epoch == 0:
            return True
        best = self.history[self.best_epoch - 1]
        return record["validation"]["top1"] > best["validation"]["top1"]


def fit(
    config: AnyConfig,
    run: RunDirectory,
    data: RunData,
    learner: Learner,
    task: Task,
    *,
    teacher_files: dict[str, dict[str, str]],
) -> None:
    """Train for `config.epochs` epochs, resuming where the run stopped, and write its results."""
    run.prepare(config)
    state = Fit(config, run, data, learner, task)
    state.resume()
    _record_environment(run, task.compute, teacher_files)
    known = _known_logits(data.validation, data, task)
    steps = len(data.train)
    progress = Progress(
        config.cell,
        total_steps=config.epochs * steps,
        done_steps=len(state.history) * steps,
        log=run.log,
    )
    scalars = Scalars(run.tensorboard, first_epoch=len(state.history) + 1)
    try:
        for epoch in range(len(state.history), config.epochs):
            record = _one_epoch(state, epoch, known, progress)
            state.add(record)
            scalars.write(record)
            progress.line(_epoch_line(state, progress))
        _finish(state)
    except Exception as error:
        progress.note(f"{config.cell}  stopped: {one_line(error)}")
        raise
    finally:
        progress.close()
        scalars.close()


def _one_epoch(
    state: Fit, epoch: int, known: torch.Tensor | None, progress: Progress
) -> dict[str, Any]:
    started = time.monotonic()
    rate = state.learner.start_epoch(epoch)
    train = train_epoch(state.learner, state.data.train.epoch(epoch), state.task, progress)
    batches = state.data.validation.epoch(0)
    validation = evaluate(state.learner.model, batches, state.task, known)
    return {
        "epoch": epoch + 1,
        "lr": rate,
        "train": train,
        "validation": validation,
        "gap_points": 100 * (train["top1"] - validation["top1"]),
        "skipped_images": {
            "train": state.data.train.skipped,
            "validation": state.data.validation.skipped,
        },
        "seconds": round(time.monotonic() - started, 3),
    }


def _known_logits(loader: ViewLoader, data: RunData, task: Task) -> torch.Tensor | None:
    if task.teachers is None:
        return None
    size, num_classes = len(loader.images), data.num_classes
    batches = loader.epoch(0)
    return teacher_logits_of(
        task.teachers, batches, task.compute, size=size, num_classes=num_classes
    )


def _epoch_line(state: Fit, progress: Progress) -> str:
    record = state.history[-1]
    train, validation = record["train"], record["validation"]
    fidelity = validation.get("fidelity_ensemble")
    return (
        f"{state.config.cell}  epoch {record['epoch']}/{state.config.epochs}"
        f"  train loss {train['loss']:.3f} top-1 {train['top1']:.1%}"
        f"  {state.data.selected_on} loss {validation['loss']:.3f} top-1 {validation['top1']:.1%}"
        + (f" fidelity {fidelity:.1%}" if fidelity is not None else "")
        + f"  {record['seconds']:.1f} s  eta {progress.eta()}"
    )


def _finish(state: Fit) -> None:
    """Write metrics.json: the last and the best epoch, each with its test figures."""
    last, best = state.history[-1], state.history[state.best_epoch - 1]
    if state.data.selected_on == "test":
        tests = {"last": last["validation"], "best": best["validation"]}
    else:
        tests = _test_both(state)
    figures = {"last": last, "best": best}
    write_json(
        state.run.metrics,
        {
            "dataset": state.config.dataset,
            "cell": state.config.cell,
            "seed": state.config.seed,
            "epochs": state.config.epochs,
            "selected_on": state.data.selected_on,
            "train_images": len(state.data.train.images),
            "test_images": len(state.data.test.images),
            "median_epoch_seconds": statistics.median(r["seconds"] for r in state.history),
            **{which: {**figures[which], "test": tests[which]} for which in figures},
        },
    )


def _test_both(state: Fit) -> dict[str, dict[str, float]]:
    known = _known_logits(state.data.test, state.data, state.task)
    tests = {}
    for which in ("last", "best"):
        _, model = checkpoint.load_model(state.run.checkpoint(which))
        model = state.task.compute.place(model)
        tests[which] = evaluate(model, state.data.test.epoch(0), state.task, known)
    return tests


def _record_environment(
    run: RunDirectory, compute: Compute, teacher_files: dict[str, dict[str, str]]
) -> None:
    """Add this session to environment.json; RunError when a teacher changed since the last."""
    saved = json.loads(run.environment.read_text()) if run.environment.is_file() else {}
    for name, teacher in saved.get("teachers", {}).items():
        if teacher["sha256"] != teacher_files[name]["sha256"]:
            raise RunError(
                f"teacher {name} ({teacher['file']}) changed since {run.path} began: start the "
                "student anew with --resume never"
            )
    sessions = [*saved.get("sessions", []), describe(compute.device)]
    write_json(run.environment, {"teachers": teacher_files, "sessions": sessions})
