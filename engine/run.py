"""Where the files of a run are, and the one place that finds a run.

runs/<dataset>/<cell>/seed<k>/. Imports nothing heavy, so that a finished run is skipped in an
instant.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataloader.errors import UserError
from dataloader.files import write_text
from engine.cells import Cell, TeacherCell, parse_cell
from engine.config import Config, changed_settings, to_yaml


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
        """The "last" or "best" checkpoint."""
        return self.path / f"{which}.pt"

    def has_begun(self) -> bool:
        """Whether the run's settings are written."""
        return self.config.is_file()

    def has_epoch(self) -> bool:
        """Whether there is anything to lose: an epoch to go on from, or a result."""
        return self.checkpoint("last").is_file() or self.is_finished()

    def is_finished(self) -> bool:
        """Whether the run reached its last epoch."""
        return self.metrics.is_file()

    def has_finished(self, config: Config) -> bool:
        """Whether nothing is left to do for `config`, and say so if it is."""
        self.check_settings(config)
        done = self.is_finished() and config.resume == "auto"
        if done:
            print(f"{config.cell} seed {config.seed}: finished, see {self.metrics}")
        return done

    def check_settings(self, config: Config) -> None:
        """UserError when the directory holds an epoch made with other settings than `config`."""
        if config.resume == "never" or not self.has_epoch():
            return
        changes = changed_settings(self.saved_settings(), config)
        if changes:
            raise UserError(
                f"{self.path} holds a run with other settings ({'; '.join(changes)}): give this "
                f"one a name of its own, --cell {config.cell}+<variant>, or replace that one with "
                "--resume never"
            )

    def prepare(self, config: Config) -> None:
        """Make the directory and write its settings, clearing it first for `--resume never` and
        where no epoch was finished."""
        if config.resume == "never" or not self.has_epoch():
            shutil.rmtree(self.path, ignore_errors=True)
        write_text(self.config, to_yaml(config))

    def saved_settings(self) -> dict[str, Any]:
        """The settings that the run was made with; UserError when they are damaged."""
        import yaml  # not needed for --help, which works where nothing is installed

        saved = yaml.safe_load(self.config.read_text())
        if not isinstance(saved, dict):
            raise UserError(f"{self.config} is damaged: start anew with --resume never")
        return saved

    def read_epochs(self, until: int) -> list[dict[str, Any]]:
        """The records of epochs 1 to `until`; UserError when one is missing."""
        lines = self.epochs.read_text().splitlines() if self.epochs.is_file() else []
        try:
            records = [json.loads(line) for line in lines[:until]]
        except json.JSONDecodeError:
            raise UserError(f"{self.epochs} is damaged: start anew with --resume never") from None
        if len(records) < until:
            raise UserError(
                f"{self.epochs} holds {len(records)} epochs, {self.checkpoint('last').name} was "
                f"saved after {until}: start anew with --resume never"
            )
        return records

    def write_epochs(self, records: list[dict[str, Any]]) -> None:
        """Replace the records at once."""
        write_text(self.epochs, "".join(json.dumps(record) + "\n" for record in records))


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
        return RunDirectory(self.folder / str(cell) / f"seed{seed}", cell, seed)

    def of_config(self, config: Config) -> RunDirectory:
        """The directory of the run that `config` describes."""
        return self.of(config.parsed_cell, config.seed)

    def of_teacher(self, cell: TeacherCell) -> RunDirectory:
        """The directory of a teacher, whether or not it exists."""
        return self.of(cell, cell.seed)

    def of_cell(self, cell: Cell) -> list[RunDirectory]:
        """The cell's runs that have begun, by seed."""
        begun = (self.folder / str(cell)).glob("seed*/config.yaml")
        seeds = sorted(int(path.parent.name.removeprefix("seed")) for path in begun)
        return [self.of(cell, seed) for seed in seeds]

    def all(self) -> list[RunDirectory]:
        """All runs that have begun, by cell and seed; UserError when there is none."""
        names = {path.parent.parent.name for path in self.folder.glob("*/seed*/config.yaml")}
        if not names:
            raise UserError(f"no runs in {self.folder}: train teachers and students first")
        return [run for name in sorted(names) for run in self.of_cell(parse_cell(name))]


def unfinished(configs: Sequence[Config]) -> list[Config]:
    """Those of `configs` with something left to do; of the others it is said that they are
    finished. UserError when a directory holds a run made with other settings."""
    return [
        config
        for config in configs
        if not Runs.beside(config).of_config(config).has_finished(config)
    ]
