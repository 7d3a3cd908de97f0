"""One run in the making: what is carried from epoch to epoch, and the files that it leaves."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Any

import torch

from dataloader.errors import UserError, one_line
from dataloader.files import write_json
from engine import checkpoint
from engine.checkpoint import Header
from engine.config import Config
from engine.data import RunData
from engine.environment import describe
from engine.loop import Task
from engine.progress import Progress, note
from engine.records import write_metrics
from engine.restore import restore
from engine.run import RunDirectory
from engine.teachers import Teachers
from engine.tensorboard import Scalars

Record = dict[str, Any]


@dataclass
class Fit:
    """A run, what it learns and how far it is."""

    config: Config
    run: RunDirectory
    task: Task
    history: list[Record] = field(default_factory=list)  # a record an epoch
    best_epoch: int = 0

    @property
    def name(self) -> str:
        """Cell and seed."""
        return f"{self.config.cell} seed {self.config.seed}"

    def is_trained(self) -> bool:
        """Whether all epochs are done."""
        return len(self.history) >= self.config.epochs

    def start(self, teachers: Teachers, view: str, device: torch.device) -> None:
        """Make the run's directory, or go on after its last checkpoint where there is one. `view`
        describes what the images go through: another one is another experiment."""
        self.run.prepare(self.config)
        if self.run.checkpoint("last").is_file():
            self._resume()
        self._record_environment(teachers, view, device)
        self._scalars = Scalars(self.run.tensorboard, first_epoch=len(self.history) + 1)

    def divergence(self, record: Record) -> UserError | None:
        """Why the run cannot go on with this epoch; None where its loss is finite."""
        loss = record["train"]["loss"]
        if math.isfinite(loss):
            return None
        kept = f"epoch {len(self.history)} is kept" if self.history else "no epoch was finished"
        return UserError(
            f"{self.name}: the loss became {loss} in epoch {record['epoch']}, {kept}: start anew "
            "with --resume never and a lower --lr or a longer --warmup-epochs"
        )

    def add(self, record: Record, num_classes: int) -> None:
        """Keep an epoch: its record, then best.pt if it is the best so far, then last.pt.

        In this order a run killed between two of them repeats the epoch and writes them again.
        """
        self.history.append(record)
        self.run.write_epochs(self.history)
        header = Header(
            self.config.arch, num_classes, self.config.image_size, epoch=len(self.history)
        )
        if self._is_best(record):
            self.best_epoch = record["epoch"]
            model = {"model": self.task.learner.model.state_dict()}
            checkpoint.save(self.run.checkpoint("best"), header, model)
        state = self.task.learner.state_dict() | {"best_epoch": self.best_epoch}
        checkpoint.save(self.run.checkpoint("last"), header, state)
        self._scalars.write(record)

    def go_back_to_best(self) -> None:
        """Load the weights of the best epoch."""
        _, state = checkpoint.load(self.run.checkpoint("best"))
        self.task.learner.model.load_state_dict(state["model"])

    def finish(self, data: RunData, tests: dict[str, dict[str, float]]) -> None:
        """Write metrics.json: the last and the best epoch, each with its figures on test images."""
        records = {"last": self.history[-1], "best": self.history[self.best_epoch - 1]}
        write_metrics(
            self.run.metrics,
            {
                "dataset": self.config.dataset,
                "cell": self.config.cell,
                "seed": self.config.seed,
                "epochs": self.config.epochs,
                "selected_on": data.selected_on,
                "train_images": len(data.train.images),
                "test_images": len(data.test.images),
                "median_epoch_seconds": statistics.median(r["seconds"] for r in self.history),
                **{
                    which: {
                        "epoch": record["epoch"],
                        "gap_points": record["gap_points"],
                        "test": tests[which],
                    }
                    for which, record in records.items()
                },
            },
        )

    def report(self, selected_on: str, progress: Progress) -> None:
        """Print the last epoch's line."""
        record = self.history[-1]
        train, validation = record["train"], record["validation"]
        fidelity = validation.get("fidelity_ensemble")
        progress.line(
            f"{self.config.cell}  epoch {record['epoch']}/{self.config.epochs}"
            f"  train loss {train['loss']:.3f} top-1 {train['top1']:.1%}"
            f"  {selected_on} loss {validation['loss']:.3f} top-1 {validation['top1']:.1%}"
            + (f" fidelity {fidelity:.1%}" if fidelity is not None else "")
            + f"  {record['seconds']:.1f} s  eta {progress.eta()}",
            self.run.log,
        )

    def stop(self, reason: BaseException | None = None) -> None:
        """Close what is open, and keep the reason where the run was cut short."""
        self._scalars.close()
        if reason is not None:
            note(f"{self.config.cell}  stopped: {one_line(reason)}", self.run.log)

    def _resume(self) -> None:
        last = self.run.checkpoint("last")
        header, state = checkpoint.load(last)
        self.history = self.run.read_epochs(header.epoch)
        self.best_epoch = restore(self.task.learner, header, state, last)

    def _is_best(self, record: Record) -> bool:
        if self.best_epoch == 0:
            return True
        best = self.history[self.best_epoch - 1]
        return record["validation"]["top1"] > best["validation"]["top1"]

    def _record_environment(self, teachers: Teachers, view: str, device: torch.device) -> None:
        """Add this session to environment.json; UserError when a teacher or the view changed since
        the last."""
        path = self.run.environment
        saved = self.run.read_environment()
        now = teachers.record(self.task.teacher_names)
        for name, teacher in saved["teachers"].items():
            if teacher["sha256"] != now.get(name, {}).get("sha256"):
                raise UserError(
                    f"teacher {name} ({teacher['file']}) changed since {self.run.path} began: "
                    "start the student anew with --resume never"
                )
        if saved.get("view", view) != view:
            raise UserError(
                f"the view of {self.run.path} changed since it began (it was: {saved['view']}; it "
                f"is: {view}): start anew with --resume never"
            )
        sessions = [*saved["sessions"], describe(device)]
        write_json(path, {"teachers": now, "view": view, "sessions": sessions})
