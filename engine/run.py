"""Where the files of a run are, and the one place that finds a run.

runs/<dataset>/<cell>/seed<k>/. Imports nothing heavy, so that a finished run is skipped in an
instant.
"""

from __future__ import annotations

import dataclasses
import glob
import re
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from common.errors import DamagedError, UserError
from common.files import read_json, write_text
from common.settings import known_settings, read_yaml
from engine.cells import Cell, TeacherCell, parse_cell
from engine.config import (
    FIRST_SEED,
    Config,
    OneRole,
    StudentConfig,
    TeacherConfig,
    changed_settings,
    to_yaml,
)
from engine.records import read_environment, read_epochs, read_metrics, write_epochs

OWN_FILES = {
    "config.yaml", "environment.json", "epochs.jsonl", "metrics.json", "log.txt", "last.pt",
    "best.pt", "outputs", "tensorboard",
}  # fmt: skip
KEPT = re.compile(r"epoch[1-9][0-9]*\.pt")  # weights of --keep-epochs


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run: a cell trained with a seed."""

    path: Path
    cell: Cell
    seed: int

    @property
    def config(self) -> Path:
        """Resolved settings."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Machine, versions, commit, and the teachers' hashes."""
        return self.path / "environment.json"

    @property
    def epochs(self) -> Path:
        """One JSON object an epoch."""
        return self.path / "epochs.jsonl"

    @property
    def metrics(self) -> Path:
        """Last and best epoch; written when the run is finished."""
        return self.path / "metrics.json"

    @property
    def log(self) -> Path:
        """What the run printed."""
        return self.path / "log.txt"

    @property
    def outputs(self) -> Path:
        """Logits and attention maps, a file for each split and view."""
        return self.path / "outputs"

    @property
    def tensorboard(self) -> Path:
        """Event files, where TensorBoard is installed."""
        return self.path / "tensorboard"

    def checkpoint(self, which: str) -> Path:
        """The "last" or "best" checkpoint, or that of an epoch that was kept, "epoch189"."""
        return self.path / f"{which}.pt"

    def has_begun(self) -> bool:
        """Whether the run's settings are written."""
        return self.config.is_file()

    def has_epoch(self) -> bool:
        """Whether there is anything to lose: an epoch to go on from, or a result."""
        return self.checkpoint("last").is_file() or self.is_finished()

    def is_finished(self) -> bool:
        """Whether the run reached its last epoch: metrics.json is there and whole."""
        try:
            return "last" in read_json(self.metrics)
        except (OSError, ValueError, TypeError, RecursionError):
            return False

    def has_finished(self, config: Config) -> bool:
        """Whether nothing is left to do for `config`, and say so if it is."""
        self.check_settings(config)
        done = self.is_finished() and config.resume == "auto"
        if done:
            print(f"{config.cell} seed {config.seed}: finished, see {self.metrics}")
            self.name_what_was_not_kept(config, config.epochs)
        return done

    def goes_on(self, config: Config) -> bool:
        """Whether there is an epoch that `config` goes on from."""
        return config.resume == "auto" and self.checkpoint("last").is_file()

    def name_what_was_not_kept(self, config: Config, done: int) -> None:
        """Say which epochs of --keep-epochs are over (`done` are) without having been kept."""
        over = [k for k in config.keep_epochs if k <= done]
        if gone := [str(k) for k in over if not self.checkpoint(f"epoch{k}").is_file()]:
            print(
                f"{config.cell} seed {config.seed}: epoch {', '.join(gone)} of --keep-epochs is "
                "over, and its weights were not kept",
                file=sys.stderr,
            )

    def check_settings(self, config: Config) -> None:
        """UserError when the directory holds an epoch made with other settings than `config`, or
        has lost what to go on from."""
        if config.resume == "never":
            return
        if not self.has_epoch():
            self._check_that_nothing_is_lost()
            return
        changes = changed_settings(self.saved_settings(), config)
        if changes:
            plain = dataclasses.replace(self.cell, variant=None)  # a name has one variant
            raise UserError(
                f"{self.path} holds a run with other settings ({'; '.join(changes)}): give this "
                f"one a name of its own, --cell {plain}+<variant>, or replace that one with "
                "--resume never"
            )

    def as_begun(self, config: OneRole) -> OneRole:
        """`config` in the precision in which the run has epochs already, where `config` leaves it
        open."""
        if config.amp != "auto" or config.resume == "never" or not self.has_epoch():
            return config
        return dataclasses.replace(config, amp=self.saved_settings().get("amp", config.amp))

    def _check_that_nothing_is_lost(self) -> None:
        """UserError where epochs were finished and last.pt is gone. It is written after the first
        of them, so that one record alone is of an epoch cut short."""
        with self._blamed():
            if self.epochs.is_file() and len(self.epochs.read_bytes().splitlines()) > 1:
                raise DamagedError(f"{self.checkpoint('last')} is missing")

    def check_whole(self, *, has_best: bool = False) -> None:
        """UserError where a file is missing that was written before last.pt, or the best
        epoch's, which is there once an epoch was tested."""
        best = [self.checkpoint("best")] * has_best
        with self._blamed():
            for path in (self.config, self.environment, *best):
                if not path.is_file():
                    raise DamagedError(f"{path} is missing")

    def prepare(self, config: Config) -> None:
        """Make the directory and write its settings, clearing it first for `--resume never` and
        where no epoch was finished."""
        if config.resume == "never" or not self.has_epoch():
            self._clear()
        write_text(self.config, to_yaml(config))

    def delete(self) -> None:
        """Take the run away with all its files; UserError as for `--resume never`."""
        self._clear()
        if self.path.is_symlink():
            self.path.unlink()
        else:
            self.path.rmdir()

    def _clear(self) -> None:
        """Take what is there away, at once and whole, and what a killed process left of an earlier
        one; UserError where that is not possible, or no run's."""
        if not self.path.exists():
            return
        self._check_that_it_is_ours()
        folder = self.path.resolve()  # a link stays, and what it leads to is emptied
        prefix = f".{folder.name}-replaced-"
        aside = folder.with_name(prefix + secrets.token_hex(8))  # no process's number: they repeat
        try:
            folder.rename(aside)
            folder.mkdir()
        except OSError as error:
            raise UserError(f"cannot replace {self.path}: {error.strerror}: move it away") from None
        for replaced in folder.parent.glob(f"{glob.escape(prefix)}*"):
            shutil.rmtree(replaced, ignore_errors=True)
            if replaced.exists():
                print(f"{replaced} holds what could not be deleted: delete it", file=sys.stderr)

    def _check_that_it_is_ours(self) -> None:
        """UserError where another program's files would be deleted."""
        if not self.path.is_dir():
            raise UserError(f"{self.path} is no folder: move it away")
        if self.has_begun():
            return
        names = {path.name for path in self.path.iterdir() if not path.name.startswith(".")}
        if foreign := sorted(n for n in names - OWN_FILES if not KEPT.fullmatch(n)):
            raise UserError(f"{self.path} holds {foreign[0]}, which is no run's: move it away")

    def why_not(self) -> str | None:
        """Why the directory is no run of its cell and seed, such as a copy under another name;
        None where it is one."""
        try:
            saved = self.saved_settings()
        except UserError as error:
            return str(error)
        name, seed = saved.get("cell"), saved.get("seed", FIRST_SEED)
        if (name, seed) == (str(self.cell), self.seed):
            return None
        return f"its config.yaml is of {name} seed {seed}"

    @cached_property
    def teacher_seed(self) -> int:
        """The replicate of the teachers that a student has learnt from."""
        return self.saved_settings().get("teacher_seed", FIRST_SEED)

    def saved_settings(self) -> dict[str, Any]:
        """The settings that the run was made with; UserError when they are damaged."""
        role = TeacherConfig if isinstance(self.cell, TeacherCell) else StudentConfig
        with self._blamed():
            return known_settings(role, read_yaml(self.config), self.config)

    def read_epochs(self, until: int) -> list[dict[str, Any]]:
        """The records of epochs 1 to `until`; UserError when one is damaged or missing."""
        with self._blamed():
            records = read_epochs(self.epochs, until)
            if len(records) < until:
                raise DamagedError(
                    f"{self.epochs} holds {len(records)} epochs, {self.checkpoint('last').name} "
                    f"was saved after {until}"
                )
            return records

    def write_epochs(self, records: list[dict[str, Any]]) -> None:
        """Replace the records at once."""
        write_epochs(self.epochs, records)

    def read_environment(self) -> dict[str, Any]:
        """Teachers, view and sessions so far; UserError when they are damaged."""
        with self._blamed():
            return read_environment(self.environment)

    def read_metrics(self) -> dict[str, Any]:
        """The figures of a finished run; UserError when they are damaged."""
        try:
            return read_metrics(self.metrics)
        except DamagedError as error:
            raise UserError(
                f"{error}: remove {self.metrics.name} and train the cell again, which writes it "
                "anew from last.pt"
            ) from None
        except FileNotFoundError:
            raise UserError(
                f"{self.metrics} is missing: train the cell again, which writes it anew from "
                "last.pt"
            ) from None

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """What the block finds damaged or missing is told with what to do: no run goes on from
        it."""
        try:
            yield
            return
        except UserError as error:
            reason = f"{error}"
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            reason = f"{error.filename} is missing"
        raise UserError(f"{reason}: put it back from a copy, or start anew with --resume never")


@dataclass(frozen=True)
class Runs:
    """The runs of a data set below an output folder."""

    output_dir: Path
    dataset: str

    @classmethod
    def beside(cls, config: Config) -> Runs:
        """The runs among which the one that `config` describes has its place."""
        return cls(Path(config.output_dir), config.dataset)

    @property
    def folder(self) -> Path:
        """Where they and their results are."""
        return self.output_dir / self.dataset

    def of(self, cell: Cell, seed: int) -> RunDirectory:
        """The directory of a run, whether or not it exists."""
        run = RunDirectory(self.folder / str(cell) / f"seed{seed}", cell, seed)
        if isinstance(cell, TeacherCell) and seed == FIRST_SEED != cell.number:
            _check_that_it_has_moved(run)
        return run

    def of_config(self, config: Config) -> RunDirectory:
        """The directory of the run that `config` describes."""
        return self.of(config.parsed_cell, config.seed)

    def teachers_of(self, student: RunDirectory) -> list[RunDirectory]:
        """The directories of a student's teachers, whether or not they exist."""
        teachers = student.cell.teachers
        return [self.of(cell, student.teacher_seed) for cell in teachers] if teachers else []

    def of_cell(self, cell: Cell) -> list[RunDirectory]:
        """The cell's runs that have begun, by seed. What only looks like one (a copy, a folder of
        another name) is named on stderr and left out."""
        folders = {path.parent for path in (self.folder / str(cell)).glob("*/config.yaml")}
        runs = [self.of(cell, int(match[1])) for match in map(_seed_of, folders) if match]
        for path in sorted(folders - {run.path for run in runs}):
            _leave_out(path, "a run's folder is called seed<number>")
        return [run for run in sorted(runs, key=lambda run: run.seed) if _is_run(run)]

    def all(self) -> list[RunDirectory]:
        """All runs that have begun, by cell and seed, told apart as `of_cell` does; UserError when
        there is none."""
        cells = []
        for name in sorted(
            {path.parent.parent.name for path in self.folder.glob("*/*/config.yaml")}
        ):
            try:
                cells.append(parse_cell(name))
            except UserError as error:
                _leave_out(self.folder / name, str(error))
        runs = [run for cell in cells for run in self.of_cell(cell)]
        if not runs:
            raise UserError(f"no runs in {self.folder}: train teachers and students first")
        return runs


def unfinished(configs: Sequence[OneRole]) -> list[OneRole]:
    """Those of `configs` with something left to do, in the precision that they began with; of the
    others it is said that they are finished. UserError when a directory holds a run made with other
    settings."""
    runs = [(Runs.beside(config).of_config(config), config) for config in configs]
    return [run.as_begun(config) for run, config in runs if not run.has_finished(config)]


def _check_that_it_has_moved(run: RunDirectory) -> None:
    """UserError where a teacher of the first replicate is still where earlier versions kept it:
    there its number was its seed."""
    assert isinstance(run.cell, TeacherCell)
    before = run.path.with_name(f"seed{run.cell.number}")
    if run.path.exists() or not (before / run.config.name).is_file():
        return
    if "seed" not in read_yaml(before / run.config.name):
        raise UserError(
            f"{before} is of an earlier version, which called a teacher's number its seed: "
            f"mv {before} {run.path}"
        )


def _seed_of(folder: Path) -> re.Match[str] | None:
    return re.fullmatch(r"seed(0|[1-9][0-9]{0,17})", folder.name)


def _is_run(run: RunDirectory) -> bool:
    reason = run.why_not()
    if reason is not None:
        _leave_out(run.path, reason)
    return reason is None


def _leave_out(path: Path, reason: str) -> None:
    print(f"left out: {path}: {reason}", file=sys.stderr)
