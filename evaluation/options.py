"""What every measurement can be asked: flags, under the environment variables that the scripts
share. Imports nothing heavy, so that `--help` answers at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from engine.config import ON_BAD_IMAGE, WHICH_CHECKPOINT, Settings, option
from engine.flags import parse


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(Settings):
    """What the measurements have in common."""

    dataset: str = option("CIFAR100", "data set of the runs (or DATASET)")
    output_dir: str = option("runs", "folder that holds the runs")
    data_path: str = option("data", "folder with the data sets (or DATA)")
    list_path: str | None = option(None, "folder of ImageNet-LT's lists, if not the data's")
    on_bad_image: str = option("error", "an image that cannot be read", choices=ON_BAD_IMAGE)
    cells: tuple[str, ...] = option((), "names, or the groups T, 0T, 1T, 2T, 3T (or CELLS)")
    seeds: tuple[int, ...] = option((), "of students; all there are without it", at_least=0)
    checkpoint: str = option("last", "epoch that is measured", choices=WHICH_CHECKPOINT)
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    batch_size: int = option(256, "images a forward pass", at_least=1)
    workers: int = option(0, "processes that compute views", at_least=0)
    view_seed: int = option(0, "seed of the random views", at_least=0)
    name: str = option("", "of the result files beside the runs")

    @property
    def folder(self) -> Path:
        """Where the data set's runs and results are."""
        return Path(self.output_dir) / self.dataset


Options = TypeVar("Options", bound=MeasureOptions)


def parse_options(
    options_class: type[Options], argv: Sequence[str] | None, about: str, **defaults: Any
) -> Options:
    """Options from the flags, under the environment's DATASET, DATA and CELLS, under `defaults`."""
    named = {"dataset": os.environ.get("DATASET"), "data_path": os.environ.get("DATA")}
    if cells := os.environ.get("CELLS", "").split():
        named["cells"] = tuple(cells)
    given = {name: value for name, value in named.items() if value}
    return parse(options_class, argv, about, **{**defaults, **given})
