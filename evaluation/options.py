"""What every measurement can be asked: flags, under the environment variables that the scripts
share. Imports nothing heavy, so that `--help` answers at once."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from common.errors import UserError, shown
from common.settings import NO_YES, Settings, check_folder_name, option
from dataloader.views import GRID_LETTERS, VIEW_NAMES
from engine.cells import parse_cell
from engine.config import TrainConfig
from engine.flags import parse
from metrics.conventions import BINS, THRESHOLD

SPLITS = ("test", "train")
TAKEN = "results"  # the report's own table
MEASURE_AGAIN = "run the command again: models that were asked already are not asked again"


def of_run(name: str, also: str = "", **meta: Any) -> Any:
    """An option that takes the place of each run's setting `name`, with the values it may have."""
    meta = {**TrainConfig.__dataclass_fields__[name].metadata, **meta}
    words = " ".join(filter(None, [meta["help"], also]))
    return dataclasses.field(default=None, metadata={**meta, "help": f"{words}, if not the run's"})


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(Settings):
    """What the measurements have in common. Of `None` each run's own setting is taken."""

    dataset: str = option(
        "CIFAR100", "data set of the runs (or DATASET)", names_folder=True, operational=True
    )
    output_dir: str = option("runs", "folder that holds the runs", operational=True)
    cells: tuple[str, ...] = option(
        (), "names, or the groups T, 0T, 1T, 2T, 3T (or CELLS)", operational=True
    )
    seeds: tuple[int, ...] = option(
        (), "replicates that are measured; all there are without it", at_least=0, operational=True
    )
    checkpoint: str = option("last", "epoch that is measured: last, best, or a kept one, epoch189")

    data_path: str | None = of_run("data_path", "(or DATA)")
    train_list: str | None = of_run("train_list")
    test_list: str | None = of_run("test_list")
    list_path: str | None = of_run("list_path", operational=True)  # a place, as data_path
    holdout_fraction: float | None = of_run("holdout_fraction")
    image_size: int | None = of_run("image_size")
    # without it there is no answer, so that there are never two
    on_bad_image: str | None = of_run("on_bad_image", operational=True)
    max_images: int | None = option(
        None, "a quick look at so many evenly spaced images of a split", at_least=1
    )
    maps: int | None = option(
        None,
        "evenly spaced images whose attention maps are kept (what fits in 256 MB)",
        at_least=0,
    )
    view_seed: int = option(0, "seed of the random views", at_least=0)

    device: str = option("auto", "auto, cpu, cuda or cuda:N", operational=True)
    batch_size: int = option(256, "images a forward pass", at_least=1, operational=True)
    workers: int | None = of_run("workers")
    name: str = option("", "of the result files beside the runs", operational=True)
    latex: str = option("no", "the table in LaTeX too", choices=NO_YES, operational=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_place(self.dataset, self.output_dir)
        if not re.fullmatch(r"last|best|epoch[1-9][0-9]*", self.checkpoint):
            raise UserError(
                f"--checkpoint {shown(self.checkpoint)}: use last, best, or epoch<k>, one of the "
                "epochs that --keep-epochs kept"
            )
        if self.name or type(self).name:
            check_name("--name", self.name)
            if self.name == TAKEN or _is_cell(self.name):
                raise UserError(f"--name {self.name} is taken: name the result files otherwise")

    @property
    def folder(self) -> Path:
        """Where the data set's runs and results are."""
        return Path(self.output_dir) / self.dataset

    def settings_of(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that a run saved (a default where it is older than one), under what is given
        in their place."""
        defaults = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
        names = [f.name for f in dataclasses.fields(MeasureOptions) if f.default is None]
        given = {name: getattr(self, name) for name in names if name in defaults}
        in_place = {name: value for name, value in given.items() if value is not None}
        return {**defaults, **saved, **in_place}

    @property
    def asked(self) -> str:
        """What the numbers depend on besides the runs: one text for each way to measure."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)
                  if not f.metadata["operational"]}  # fmt: skip
        return " ".join(f"{name}={value}" for name, value in values.items() if value is not None)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(MeasureOptions):
    """What all measurements in one go can be asked besides."""

    anew: str = option(
        "no", "make a report that is up to date once more", choices=NO_YES, operational=True
    )


@dataclass(frozen=True, kw_only=True)
class ViewedOptions(MeasureOptions):
    """What a measurement on one split under one view can be asked besides."""

    split: str = option("test", "images", choices=SPLITS)
    view: str = option("test", "view of the images", choices=VIEW_NAMES)

    @property
    def images(self) -> str:
        """The images, as a table's note says it."""
        most = "" if self.max_images is None else f"at most {self.max_images} evenly spaced "
        return f"{most}{self.split} images, {self.view} view"


def check_place(dataset: str, output_dir: str) -> None:
    """UserError unless the data set's results have a folder below that of the runs."""
    check_folder_name("--dataset", dataset)
    if not output_dir:
        raise UserError("--output-dir is empty: name the folder that holds the runs")


def check_name(flag: str, name: str) -> None:
    """UserError unless what the flag gives can be a file's name, and no path to elsewhere."""
    if not re.fullmatch(r"\w[\w.+=-]{0,99}", name):
        raise UserError(
            f"{flag} {shown(name)} names files: use letters, digits and . _ + = -, first a letter "
            "or a digit, at most 100"
        )


def _is_cell(name: str) -> bool:
    try:
        parse_cell(name)
    except UserError:
        return False
    return True


Options = TypeVar("Options", bound=MeasureOptions)


def parse_options(
    options_class: type[Options], argv: Sequence[str] | None, about: str, **defaults: Any
) -> Options:
    """Options from the flags, under the environment's DATASET, DATA and CELLS, under `defaults`."""
    named: dict[str, Any] = {
        "dataset": os.environ.get("DATASET"), "data_path": os.environ.get("DATA")
    }  # fmt: skip
    if cells := os.environ.get("CELLS", "").split():
        named["cells"] = tuple(cells)
    given = {name: value for name, value in named.items() if value}
    return parse(options_class, argv, about, **{**defaults, **given})


@dataclass(frozen=True, kw_only=True)
class AgreementOptions(ViewedOptions):
    """What the agreement can be asked."""

    cells: tuple[str, ...] = option(
        ("1T", "2T", "3T"), "students, or groups (or CELLS)", operational=True
    )
    name: str = option("agreement", "of the result files beside the runs", operational=True)


GROUPS = ("T_T", "T_S")


TARGETS = ("ensemble", "label", "predicted", "class_sum")


@dataclass(frozen=True, kw_only=True)
class OverlapOptions(ViewedOptions):
    """What the overlap can be asked besides."""

    group: str = option("T_T", "teachers with each other, or with the student", choices=GROUPS)
    target: str = option("ensemble", "class whose maps are compared", choices=TARGETS)
    threshold: float = option(
        THRESHOLD, "of each map's range, above which it looks", at_least=0, below=1
    )
    cells: tuple[str, ...] = option(("2T",), "students, or groups (or CELLS)", operational=True)
    name: str = option("", "of the result files beside the runs (iou_<group>)", operational=True)


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions(ViewedOptions):
    """What the calibration can be asked besides."""

    bins: int = option(BINS, "equal-width bins of confidence", at_least=1, at_most=1000)
    cells: tuple[str, ...] = option(
        ("T", "0T", "1T", "2T"), "cells, or groups (or CELLS)", operational=True
    )
    name: str = option("ece", "of the result files beside the runs", operational=True)


@dataclass(frozen=True, kw_only=True)
class ObjectiveOptions(MeasureOptions):
    """What the comparison of objectives can be asked."""

    cells: tuple[str, ...] = option(("2T",), "students, or groups (or CELLS)", operational=True)
    name: str = option("objectives", "of the result files beside the runs", operational=True)


@dataclass(frozen=True, kw_only=True)
class ClaimsOptions(MeasureOptions):
    """What the claims can be asked."""

    cells: tuple[str, ...] = option(
        ("0T", "1T", "2T", "3T"), "students, or groups (or CELLS)", operational=True
    )


@dataclass(frozen=True, kw_only=True)
class AffinityOptions(MeasureOptions):
    """What the affinity can be asked."""

    cells: tuple[str, ...] = option(
        (*(f"T{k}{letter}" for k in (1, 2) for letter in GRID_LETTERS), "0T", "1T", "2T"),
        "cells, or groups (or CELLS)",
        operational=True,
    )
    name: str = option("affinity", "of the result files beside the runs", operational=True)
