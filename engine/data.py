"""A run's loaders: which images train, which select the best epoch, which test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from dataloader.channel_statistics import measured_statistics
from dataloader.datasets import parse_dataset
from dataloader.images import Images
from dataloader.loader import ViewLoader
from dataloader.subsets import partners_of
from dataloader.views import Statistics
from engine.compute import pick_device
from engine.config import Config, OneRole
from engine.processes import ALONE, Ranks
from engine.run import Runs
from engine.source import Source
from metrics.shots import shot_group_of_class


def shot_groups_of(train: Images) -> torch.Tensor | None:
    """(C,) group of each class (metrics.shots); None for a set without a tail."""
    counts = torch.bincount(torch.from_numpy(train.labels), minlength=train.num_classes)
    return shot_group_of_class(counts)


TEST_VIEW_SEED = 0  # the test view draws nothing; every run passes the same seed all the same


@dataclass(frozen=True)
class RunData:
    """Loaders of a run. `validation` selects the best epoch: a held-out share of the training set,
    else the data set's own validation list, else the test split itself; `selected_on` says which.
    shot_groups: (C,) many-, medium- or few-shot group of each class, or None (metrics.shots).
    others: other batches in the places of the training images and under their draws: PARTNERS, of
    each image another of its class, or the images themselves, by the name of another view.
    augmented: `validation` under the training view, the same draws in every epoch, or None.
    """

    train: ViewLoader
    validation: ViewLoader
    test: ViewLoader
    selected_on: str
    num_classes: int
    statistics: Statistics
    shot_groups: torch.Tensor | None
    others: Mapping[str, ViewLoader] = field(default_factory=dict)
    augmented: ViewLoader | None = None


@dataclass(frozen=True)
class _Loaders:
    """Makes loaders of this process's part of each batch."""

    config: Config
    source: Source
    ranks: Ranks

    def training(self, images: Images, view: str = "") -> ViewLoader:
        """Shuffled, under the training view or another one."""
        config = self.config
        return self._loader(
            images,
            view or config.parsed_cell.view,
            seed=config.stream,
            shuffle=True,
            drop_last=config.drop_last == "yes",
            no_single=True,
        )

    def other(self, images: Images, name: str) -> ViewLoader:
        """The same of what RunData.others calls so."""
        if name == PARTNERS:
            return self.training(_partners(images, self.config))
        return self.training(images, name)

    def testing(self, images: Images, view: str = "test") -> ViewLoader:
        """All images in their order, the same draws each time."""
        check_enough(images, "test", at_least=1, skips=self.config.on_bad_image == "skip")
        return self._loader(images, view, seed=TEST_VIEW_SEED)

    def _loader(self, images: Images, view: str, **order: Any) -> ViewLoader:
        return ViewLoader(
            images,
            self.source.view(view),
            batch_size=self.config.batch_size,
            part=(self.ranks.rank, self.ranks.size),
            workers=self.config.workers,
            pin_memory=pick_device(self.config.device).type == "cuda",
            on_bad_image=self.config.on_bad_image,
            **order,
        )


PARTNERS = "partners"  # no view's name


def load_data(config: Config, ranks: Ranks = ALONE, *, others: Iterable[str] = ()) -> RunData:
    """Read the data set of `config` and make its loaders, of this process's part of each batch;
    `others`: PARTNERS, or views, that are asked for."""
    source = Source.of(vars(config))
    whole = source.load("train")
    train, held_out = source.divided(whole)
    listed = source.validation()
    if config.epochs:
        _check_batch(config, ranks)
        check_enough(train, "train", at_least=2, skips=config.on_bad_image == "skip")
    loaders = _Loaders(config, source, ranks)
    test = loaders.testing(source.images("test"))
    selected_on, images = _selecting(held_out, listed)
    validation = test if images is None else loaders.testing(images)
    augments = config.validate_views == "yes"
    view = config.parsed_cell.view
    return RunData(
        train=loaders.training(train),
        others={name: loaders.other(train, name) for name in others},
        validation=validation,
        test=test,
        selected_on=selected_on,
        num_classes=train.num_classes,
        statistics=source.statistics,
        shot_groups=shot_groups_of(whole),
        augmented=loaders.testing(validation.images, view) if augments else None,
    )


def _selecting(held_out: Images | None, listed: Images | None) -> tuple[str, Images | None]:
    """What the best epoch is selected on, and its images; None where they are the test split."""
    if held_out is not None:
        return "holdout", held_out
    return ("test", None) if listed is None else ("validation", listed)


def _partners(train: Images, config: Config) -> Images:
    """Their partners of one fixed derangement. UserError where a class has one image, or images
    may be left out, which would leave others without one."""
    if config.on_bad_image == "skip":
        raise UserError(
            "--shuffle-teachers and --map-placebo need every image: use --on-bad-image error"
        )
    return train.subset(partners_of(train.labels, config.stream))


def _check_batch(config: Config, ranks: Ranks) -> None:
    """UserError unless a batch has two images for each process: BatchNorm needs them."""
    if config.batch_size < 2 * ranks.size:
        raise UserError(
            f"--batch-size {config.batch_size} is of all {ranks.size} processes together: give "
            "each two images or more"
        )


def check_enough(images: Images, purpose: str, *, at_least: int, skips: bool) -> None:
    """UserError unless there are `at_least` images for a `purpose`; where bad ones are skipped,
    that can be read."""
    if len(images) < at_least:
        raise UserError(f"too few images to {purpose} on: {len(images)} of at least {at_least}")
    found, reason = 0, ""
    for index in range(len(images) if skips else 0):
        try:
            images.image(index)
        except UserError as error:
            reason = reason or f"{error}"
            continue
        found += 1
        if found == at_least:
            return
    if skips:
        raise UserError(
            f"too few images to {purpose} on: of {len(images)} only {found} can be read, at least "
            f"{at_least} must: {reason}"
        )


CACHE = ".image_statistics.json"


def with_statistics(config: OneRole) -> OneRole:
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
    whole = dataclasses.replace(
        Source.of(vars(config)),
        dataset=parse_dataset(config.dataset, config.views).base,
        train_list=None,
        max_train_images=0,
    )
    return measured_statistics(whole.load("train"), _cache(Path(config.data_path)))


def _cache(place: Path) -> Path:
    """Where the statistics of the images at `place` are kept: in a folder, beside a file."""
    return place.with_name(f".{place.name}{CACHE}") if place.is_file() else place / CACHE
