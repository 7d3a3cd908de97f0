"""The loaders of a run: which images train, which select the best epoch, which test."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dataloader.errors import UserError
from dataloader.image_set import Images
from dataloader.loader import ViewLoader
from dataloader.views import Statistics
from engine.compute import pick_device
from engine.config import Config
from engine.processes import ALONE, Ranks
from engine.shots import shot_groups_of
from engine.source import Source

TEST_VIEW_SEED = 0  # the test view draws nothing; every run passes the same seed all the same


@dataclass(frozen=True)
class RunData:
    """Loaders of a run. `validation` selects the best epoch: a held-out share of the training set,
    else the data set's own validation list, else the test split itself; `selected_on` says which.
    shot_groups: (C,) many-, medium- or few-shot group of each class, or None (metrics.shots).
    """

    train: ViewLoader
    validation: ViewLoader
    test: ViewLoader
    selected_on: str
    num_classes: int
    statistics: Statistics
    shot_groups: torch.Tensor | None


def load_data(config: Config, ranks: Ranks = ALONE) -> RunData:
    """Read the data set of `config` and make its loaders, of this process's part of each batch."""
    source = Source.of(vars(config))
    whole = source.load("train")
    train, held_out = source.divided(whole)
    own_validation = source.images("validation")
    skips = config.on_bad_image == "skip"
    if config.epochs:
        _check_batch(config, ranks)
        check_enough(train, "train", at_least=2, skips=skips)

    def loader(images: Images, view: str, *, training: bool) -> ViewLoader:
        if not training:
            check_enough(images, "test", at_least=1, skips=skips)
        return ViewLoader(
            images,
            source.view(view),
            seed=config.stream if training else TEST_VIEW_SEED,
            batch_size=config.batch_size,
            shuffle=training,
            drop_last=training and config.drop_last == "yes",
            no_single=training,
            part=(ranks.rank, ranks.size),
            workers=config.workers,
            pin_memory=pick_device(config.device).type == "cuda",
            on_bad_image=config.on_bad_image,
        )

    test = validation = loader(source.images("test"), "test", training=False)
    selected_on = "test"
    if held_out is not None:
        validation, selected_on = loader(held_out, "test", training=False), "holdout"
    elif own_validation is not None:
        validation, selected_on = loader(own_validation, "test", training=False), "validation"
    return RunData(
        train=loader(train, config.parsed_cell.view, training=True),
        validation=validation,
        test=test,
        selected_on=selected_on,
        num_classes=train.num_classes,
        statistics=source.statistics,
        shot_groups=shot_groups_of(whole),
    )


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
