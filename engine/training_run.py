"""One run in the making: what is carried from epoch to epoch, and the files that it leaves."""

from __future__ import annotations

import math
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field

from common.errors import UserError, one_line
from common.files import sha256, write_json
from engine import checkpoint
from engine.checkpoint import Header, header_of, pretrained_path
from engine.compute import Compute
from engine.config import Config
from engine.data import RunData
from engine.environment import describe
from engine.learner import ADVICE, Learner, restore
from engine.lock import Place, RunLock
from engine.processes import Ranks
from engine.progress import Progress, Scalars, note
from engine.records import Record, write_metrics
from engine.run import RunDirectory
from engine.teachers import Teachers

SECONDS_TO_SEE = 60  # what another machine wrote: a network's file system may remember as long


@dataclass
class TrainingRun:
    """A run, what it learns and how far it is. Of several processes only the main one writes, and
    the others follow from its files."""

    config: Config
    directory: RunDirectory
    learner: Learner
    goes_on: bool = False  # after an epoch: its learner has not read --pretrained
    history: list[Record] = field(default_factory=list)  # a record an epoch
    best_epoch: int = 0
    _lock: RunLock | None = None  # these three are of the process that writes, once it has begun
    _place: Place | None = None
    _scalars: Scalars | None = None

    @property
    def name(self) -> str:
        """Cell and seed."""
        return f"{self.config.cell} seed {self.config.seed}"

    def is_trained(self) -> bool:
        """Whether all epochs are done."""
        return len(self.history) >= self.config.epochs

    def start(self, teachers: Teachers, view: str, compute: Compute) -> None:
        """Make the run's directory, or go on after its last checkpoint where there is one. `view`
        describes what the images go through: another one is another experiment. UserError where
        another process has the run in work."""
        if compute.ranks.is_main:
            self._lock = RunLock.of(self.directory.path)
            self._check_again()
            self.directory.prepare(self.config)
            self._place = Place.of(self.directory.config)
        self._wait_until_all_see_it(compute.ranks)
        if self.directory.checkpoint("last").is_file():
            self._resume()
        self._check_that_all_see(len(self.history), compute.ranks)
        if compute.ranks.is_main:
            self._record_environment(teachers, view, compute)
            self._scalars = Scalars(self.directory.tensorboard, first_epoch=len(self.history) + 1)

    def _check_again(self) -> None:
        """UserError where the run is none any more that could be begun or gone on with: since it
        was looked at, groups may have been trained for hours."""
        self.directory.check_settings(self.config)
        if self.goes_on and not self.directory.checkpoint("last").is_file():
            raise UserError(
                f"{self.directory.path} was taken away or begun anew meanwhile: give the same "
                "command again"
            )

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
        """Keep an epoch."""
        self.history.append(record)
        if self._is_best(record):
            self.best_epoch = record["epoch"]
        if self._place is not None:
            self._place.check()
            self._write(num_classes)
        if self._scalars is not None:
            self._scalars.write(record)

    def _write(self, num_classes: int) -> None:
        """The records, then last.pt, then what else the epoch is kept in. A run killed before
        last.pt repeats the epoch, which may get other bits (on a GPU); one killed after it keeps
        the epoch, and `_catch_up` writes what is missing."""
        self.directory.write_epochs(self.history)
        header = self._header(num_classes)
        state = self.learner.state_dict() | {"best_epoch": self.best_epoch}
        checkpoint.save(self.directory.checkpoint("last"), header, state)
        for which in self._kept():
            self._keep(which, header)

    def _kept(self) -> list[str]:
        """The checkpoints that the last epoch is kept in besides last.pt."""
        epoch = len(self.history)
        is_asked_for = epoch in self.config.keep_epochs
        return ["best"] * (self.best_epoch == epoch) + [f"epoch{epoch}"] * is_asked_for

    def _keep(self, which: str, header: Header) -> None:
        model = {"model": self.learner.model.state_dict()}
        checkpoint.save(self.directory.checkpoint(which), header, model)

    def _catch_up(self, header: Header) -> None:
        """Write what a kill after last.pt left out."""
        for which in self._kept():
            path = self.directory.checkpoint(which)
            if not path.is_file() or checkpoint.load(path)[0].epoch != header.epoch:
                self._keep(which, header)

    def _check_best(self) -> None:
        """UserError unless best.pt is of the best epoch. An earlier version wrote it before last.pt
        and may have been killed between: then it is of the next epoch, which may be the best."""
        if self.best_epoch == 0 and self.history:
            return  # none was tested yet
        self.directory.check_whole(has_best=True)
        best = self.directory.checkpoint("best")
        epoch = checkpoint.load(best)[0].epoch
        if epoch not in (self.best_epoch, len(self.history) + 1):
            raise UserError(f"{best} is of epoch {epoch}, the best is {self.best_epoch}: {ADVICE}")

    def _header(self, num_classes: int) -> Header:
        config, model = self.config, self.learner.model
        return header_of(model, config.arch, num_classes, config.image_size, len(self.history))

    def adopt(self, num_classes: int) -> None:
        """Keep weights that were trained elsewhere, as the last and the best epoch."""
        if self._place is not None:
            self._place.check()
            header = self._header(num_classes)
            self._keep("best", header)
            state = self.learner.state_dict() | {"best_epoch": 0}
            checkpoint.save(self.directory.checkpoint("last"), header, state)

    def go_back_to_best(self) -> None:
        """Load the weights of the best epoch, which the main process has written."""
        _, state = checkpoint.load(self.directory.checkpoint("best"))
        self.learner.model.load_state_dict(state["model"])

    def finish(self, data: RunData, tests: dict[str, dict[str, float]]) -> None:
        """Write metrics.json: the last and the best epoch, each with its figures on test images."""
        if self._place is None:
            return
        self._place.check()
        self._check_best()
        seconds = [record["seconds"] for record in self.history]
        write_metrics(
            self.directory.metrics,
            {
                "dataset": self.config.dataset,
                "cell": self.config.cell,
                "seed": self.config.seed,
                "epochs": self.config.epochs,
                "selected_on": data.selected_on,
                "train_images": len(data.train.images),
                "test_images": len(data.test.images),
                "median_epoch_seconds": statistics.median(seconds) if seconds else None,
                **{
                    which: {
                        "epoch": record["epoch"],
                        "gap_points": record["gap_points"],
                        "test": tests[which],
                    }
                    for which, record in self._last_and_best().items()
                },
            },
        )

    def _last_and_best(self) -> dict[str, Record]:
        if not self.history:  # adopted: its training images are not known
            return {which: {"epoch": 0, "gap_points": None} for which in ("last", "best")}
        return {"last": self.history[-1], "best": self.history[self.best_epoch - 1]}

    def report(self, selected_on: str, progress: Progress) -> None:
        """Print the last epoch's line."""
        if self._place is None:
            return
        record = self.history[-1]
        said = f"  train {_told(record['train'])}"
        if validation := record.get("validation"):
            said += f"  {selected_on} {_told(validation)}"
            fidelity = validation.get("fidelity_ensemble")
            said += f" fidelity {fidelity:.1%}" if fidelity is not None else ""
        if augmented := record.get("validation_view"):
            said += f"  under the training view {_told(augmented)}"
        progress.line(
            f"{self.config.cell}  epoch {record['epoch']}/{self.config.epochs}{said}"
            f"  {record['seconds']:.1f} s  eta {progress.eta()}",
            self.directory.log,
        )

    def stop(self, reason: BaseException | None = None) -> None:
        """Close what is open, and keep the reason where the run was cut short."""
        if self._scalars is not None:
            self._scalars.close()
            if reason is not None:
                why = one_line(reason) or type(reason).__name__
                with suppress(UserError):  # the reason may be that there is no place for it
                    note(f"{self.config.cell}  stopped: {why}", self.directory.log)
        if self._place is not None:
            self._place.leave()
        if self._lock is not None:
            self._lock.release()

    def _resume(self) -> None:
        last = self.directory.checkpoint("last")
        header, state = checkpoint.load(last)
        self.history = self.directory.read_epochs(header.epoch)
        tested = [record["epoch"] for record in self.history if "validation" in record]
        self.directory.check_whole()
        self.best_epoch = restore(self.learner, header, state, last)
        if self.best_epoch not in (tested or [0]):
            raise UserError(f"{last} names no epoch that was tested as the best: {ADVICE}")
        if self._place is not None:
            self._catch_up(header)
            self._check_best()
            self.directory.name_what_was_not_kept(self.config, header.epoch)

    def _wait_until_all_see_it(self, ranks: Ranks) -> None:
        """Until the settings that the main process has written are there for every one."""
        for _ in range(SECONDS_TO_SEE):
            if ranks.total(int(self.directory.config.is_file())) == ranks.size:
                return
            time.sleep(1)
        raise self._not_shared()

    def _check_that_all_see(self, epochs: int, ranks: Ranks) -> None:
        if ranks.total(epochs) != ranks.size * epochs:
            raise self._not_shared()

    def _not_shared(self) -> UserError:
        return UserError(
            f"{self.directory.path} is not the same folder for all processes: give them one "
            "--output-dir that all machines share"
        )

    def _is_best(self, record: Record) -> bool:
        if "validation" not in record:
            return False
        if self.best_epoch == 0:
            return True
        best = self.history[self.best_epoch - 1]
        return record["validation"]["top1"] > best["validation"]["top1"]

    def _record_environment(self, teachers: Teachers, view: str, compute: Compute) -> None:
        """Add this session to environment.json; UserError when a teacher or the view changed since
        the last."""
        path = self.directory.environment
        saved = self.directory.read_environment()
        learner = self.learner
        now = teachers.record(dict(zip(learner.teacher_names, learner.questions, strict=True)))
        for name, teacher in saved["teachers"].items():
            if teacher["sha256"] != now.get(name, {}).get("sha256"):
                raise UserError(
                    f"teacher {name} ({teacher['file']}) changed since {self.directory.path} "
                    "began: start the student anew with --resume never"
                )
        if saved.get("view", view) != view:
            raise UserError(
                f"the view of {self.directory.path} changed since it began (it was: "
                f"{saved['view']}; it is: {view}): start anew with --resume never"
            )
        session = describe(compute.device) | compute.record()
        sessions = [*saved["sessions"], session]
        # What the first epoch began with: the file may be another one by now.
        start = saved["pretrained"] if "pretrained" in saved else self._pretrained()
        record = {"teachers": now, "pretrained": start, "view": view, "sessions": sessions}
        write_json(path, record)

    def _pretrained(self) -> dict[str, str] | None:
        """File and SHA-256 of the weights that it started from, if not from scratch."""
        if self.config.pretrained == "none":
            return None
        file = self.config.pretrained
        return {"file": file, "sha256": sha256(pretrained_path(file))}


def _told(figures: Record) -> str:
    return f"loss {figures['loss']:.3f} top-1 {figures['top1']:.1%}"
