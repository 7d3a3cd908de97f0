"""A run's directory, runs/<dataset>/<cell>/seed<k>: where each file of a run is, and its state.

Imports nothing heavy, so that a finished run is skipped in an instant.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from engine.cells import Cell, TeacherCell
from engine.config import StudentConfig, TeacherConfig, changed_settings, to_yaml
from engine.errors import RunError
from engine.files import write_text


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run; a run is found by data set, cell and seed."""

    path: Path

    @classmethod
    def locate(cls, output_dir: str, dataset: str, cell: Cell | str, seed: int) -> RunDirectory:
        """The directory of a run, whether or not it exists."""
        return cls(Path(output_dir) / dataset / str(cell) / f"seed{seed}")

    @classmethod
    def of(cls, config: TeacherConfig | StudentConfig) -> RunDirectory:
        """The directory of the run that `config` describes."""
        return cls.locate(config.output_dir, config.dataset, config.parsed_cell, config.seed)

    @classmethod
    def of_teacher(cls, config: StudentConfig, teacher: TeacherCell) -> RunDirectory:
        """The directory of a student's teacher: same data set, its number the seed."""
        return cls.locate(config.output_dir, config.dataset, teacher, teacher.number)

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
        """The "last" or "best" checkpoint."""
        return self.path / f"{which}.pt"

    def is_finished(self) -> bool:
        """Whether the run reached its last epoch."""
        return self.metrics.is_file()

    def has_finished(self, config: TeacherConfig | StudentConfig) -> bool:
        """Whether nothing is left to do for `config`, and say so if it is."""
        self.check_settings(config)
        done = self.is_finished() and config.resume == "auto"
        if done:
            print(f"{config.cell} seed {config.seed}: finished, see {self.metrics}")
        return done

    def check_settings(self, config: TeacherConfig | StudentConfig) -> None:
        """RunError when the directory holds a run made with other settings than `config`."""
        if config.resume == "never" or not self.config.is_file():
            return
        changes = changed_settings(self._saved_settings(), config)
        if changes:
            raise RunError(
                f"{self.path} holds a run with other settings ({'; '.join(changes)}): use another "
                "--output-dir, or --resume never to replace it"
            )

    def prepare(self, config: TeacherConfig | StudentConfig) -> None:
        """Make the directory and write its settings, clearing it first for `--resume never`."""
        if config.resume == "never":
            shutil.rmtree(self.path, ignore_errors=True)
        write_text(self.config, to_yaml(config))

    def read_epochs(self, until: int) -> list[dict[str, Any]]:
        """The records of epochs 1 to `until`; RunError when one is missing."""
        lines = self.epochs.read_text().splitlines() if self.epochs.is_file() else []
        try:
            records = [json.loads(line) for line in lines[:until]]
        except json.JSONDecodeError:
            raise RunError(f"{self.epochs} is damaged: start anew with --resume never") from None
        if len(records) < until:
            raise RunError(
                f"{self.epochs} holds {len(records)} epochs, {self.checkpoint('last').name} was "
                f"saved after {until}: start anew with --resume never"
            )
        return records

    def write_epochs(self, records: list[dict[str, Any]]) -> None:
        """Replace the records at once."""
        write_text(self.epochs, "".join(json.dumps(record) + "\n" for record in records))

    def _saved_settings(self) -> dict[str, Any]:
        saved = yaml.safe_load(self.config.read_text())
        if not isinstance(saved, dict):
            raise RunError(f"{self.config} is damaged: start anew with --resume never")
        return saved


def find_runs(output_dir: Path, dataset: str) -> list[RunDirectory]:
    """All runs of a data set that have begun, sorted by path; RunError when there is none."""
    found = sorted((output_dir / dataset).glob("*/seed*/config.yaml"))
    if not found:
        raise RunError(f"no runs in {output_dir / dataset}: train teachers and students first")
    return [RunDirectory(path.parent) for path in found]
