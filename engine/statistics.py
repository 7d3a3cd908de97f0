"""The mean and standard deviation by which a user's own images are normalised."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dataloader.datasets import load_split, parse_dataset
from dataloader.statistics import measured_statistics
from dataloader.views import Statistics
from engine.config import Config
from engine.run import Runs

CACHE = ".image_statistics.json"


def with_statistics(config: Config) -> Config:
    """`config` with the statistics that it leaves open: those of its run where there is one to go
    on from, else measured on the training images as stored."""
    _ = parse_dataset(config.dataset, config.views)  # before its name becomes a path
    run = Runs.beside(config).of_config(config)
    goes_on = config.resume == "auto" and run.has_epoch()
    saved = run.saved_settings() if goes_on else {}
    numbers = {name: tuple(saved.get(name) or ()) for name in ("mean", "std")}
    return dataclasses.replace(config, **(numbers if numbers["mean"] else vars(_measured(config))))


def _measured(config: Config) -> Statistics:
    """All runs of a data set measure the same images, whatever each of them holds out."""
    root = Path(config.data_path)
    base = parse_dataset(config.dataset, config.views).base
    images = load_split(base, "train", root, views=config.views)
    return measured_statistics(images, root / CACHE)
