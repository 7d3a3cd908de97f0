"""The finished runs that a measurement is about, and a word on those that are not there."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.cells import LARGEST_ENSEMBLE, Cell, TeacherCell, expand, grid_order
from engine.config import ON_BAD_IMAGE
from engine.errors import RunError
from engine.run import RunDirectory
from metrics.outputs import OutputStore

SCRIPT_STEMS = {
    "CIFAR100": "cifar100",
    "CIFAR100_imb100": "cifar100_imb",
    "ImageNet": "ImageNet",
    "ImageNet_LT": "ImageNet_LT",
}


@dataclass(frozen=True)
class GridRun:
    """A finished run of the grid."""

    cell: Cell
    seed: int
    run: RunDirectory


@dataclass(frozen=True)
class Grid:
    """A data set's runs below a folder."""

    output_dir: Path
    dataset: str

    @property
    def folder(self) -> Path:
        """Where the data set's runs and results are."""
        return self.output_dir / self.dataset

    def finished(self, cells: Sequence[Cell], seeds: Sequence[int] | None = None) -> list[GridRun]:
        """The finished runs of `cells`, students of all `seeds` (None: all there are).

        Those missing or in progress are named on stderr, with the script that makes them.
        RunError when none is finished.
        """
        by_cell = {cell: self._runs_of(cell, seeds) for cell in sorted(set(cells), key=grid_order)}
        runs = [run for found in by_cell.values() for run in found]
        done = [run for run in runs if run.run.is_finished()]
        for run in runs:
            if not run.run.is_finished():
                print(f"in progress, left out: {run.run.path}", file=sys.stderr)
        for line in self._advice([cell for cell, found in by_cell.items() if not found]):
            print(line, file=sys.stderr)
        if not done:
            raise RunError(f"none of the cells asked for is finished in {self.folder}")
        return done

    def teacher(self, cell: TeacherCell) -> RunDirectory:
        """A teacher's finished run; RunError where there is none."""
        run = RunDirectory.locate(str(self.output_dir), self.dataset, cell, cell.number)
        if not run.is_finished():
            raise RunError(
                f"teacher {cell} is not finished ({run.path}): made by {self._script(cell)}"
            )
        return run

    def taught(self, runs: Sequence[GridRun]) -> list[GridRun]:
        """The students among `runs` whose teachers are there; the others are named on stderr.

        RunError when none is left.
        """
        students = [run for run in runs if run.cell.teachers]
        ready = []
        for run in students:
            try:
                for cell in run.cell.teachers:
                    self.teacher(cell)
                ready.append(run)
            except RunError as error:
                print(f"left out: {run.cell}, whose {error}", file=sys.stderr)
        if not ready:
            raise RunError(f"no student with its teachers is finished in {self.folder}")
        return ready

    def _runs_of(self, cell: Cell, seeds: Sequence[int] | None) -> list[GridRun]:
        begun = sorted((self.folder / str(cell)).glob("seed*/config.yaml"))
        numbers = sorted(int(path.parent.name.removeprefix("seed")) for path in begun)
        if isinstance(cell, TeacherCell):
            wanted = [cell.number]
        else:
            wanted = numbers if seeds is None else seeds
        return [
            GridRun(cell, k, RunDirectory.locate(str(self.output_dir), self.dataset, cell, k))
            for k in wanted
            if k in numbers
        ]

    def _advice(self, missing: Sequence[Cell]) -> list[str]:
        by_script: dict[str, list[str]] = {}
        for cell in missing:
            by_script.setdefault(self._script(cell), []).append(str(cell))
        return [
            f"not there: {' '.join(names)} (made by {how}, with CELLS for some alone)"
            for how, names in by_script.items()
        ]

    def _script(self, cell: Cell) -> str:
        """The command that trains a cell; a set without scripts of its own borrows CIFAR-100's."""
        stem = SCRIPT_STEMS.get(self.dataset, SCRIPT_STEMS["CIFAR100"])
        dataset = "" if self.dataset in SCRIPT_STEMS else f"DATASET={self.dataset} "
        if isinstance(cell, TeacherCell):
            return f"{dataset}bash script/{stem}-T.sh"
        # Only the CIFAR grids have a script for three teachers; elsewhere CELLS names them.
        three = "3T_" if len(cell.teachers) == LARGEST_ENSEMBLE and "cifar" in stem else ""
        return f"{dataset}bash script/{three}{stem}.sh"


def measure_parser(description: str, cells: Sequence[str], name: str) -> argparse.ArgumentParser:
    """The flags that every measurement has; `cells` and the results' `name` are its defaults."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--dataset", default="CIFAR100")
    parser.add_argument("--output-dir", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--data-path", type=Path, default=Path("data"), help="folder of the data")
    parser.add_argument("--list-path", type=Path, help="folder of ImageNet-LT's lists")
    parser.add_argument("--on-bad-image", choices=ON_BAD_IMAGE, default="error")
    parser.add_argument("--cells", nargs="+", default=list(cells), help="names, T, or 0T to 3T")
    parser.add_argument("--seeds", nargs="+", type=int, help="of students (default: all)")
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=0, help="processes that compute views")
    parser.add_argument("--view-seed", type=int, default=0, help="of random views")
    parser.add_argument("--name", default=name, help="of the result files beside the runs")
    return parser


def open_grid(options: argparse.Namespace) -> tuple[Grid, OutputStore, list[GridRun]]:
    """The grid, the store of its outputs and the finished runs that the flags ask for."""
    grid = Grid(options.output_dir, options.dataset)
    store = OutputStore(
        options.dataset,
        options.data_path,
        list_path=options.list_path,
        on_bad_image=options.on_bad_image,
        which=options.checkpoint,
        view_seed=options.view_seed,
        device=options.device,
        batch_size=options.batch_size,
        workers=options.workers,
    )
    return grid, store, grid.finished(expand(options.cells), options.seeds)
