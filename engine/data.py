"""The loaders of a run: which images train, which select the best epoch, which test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from dataloader.datasets import load_split, parse_dataset
from dataloader.holdout import split_holdout
from dataloader.image_set import Images
from dataloader.loader import ViewLoader
from dataloader.views import Statistics
from engine.compute import pick_device
from engine.config import Config
from engine.processes import ALONE, Ranks
from engine.shots import shot_groups_of

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
    root = Path(config.data_path)
    family = parse_dataset(config.dataset).family
    lists = {
        "train_list": Path(config.train_list) if config.train_list else None,
        "list_path": Path(config.list_path) if config.list_path else None,
    }
    train = load_split(config.dataset, "train", root, **lists)
    test = load_split(config.dataset, "test", root, **lists)
    own_validation = load_split(config.dataset, "validation", root, **lists)

    def loader(images: Images, view: str, *, training: bool) -> ViewLoader:
        return ViewLoader(
            images,
            family.view(view, config.image_size, strength=config.strength),
            seed=config.stream if training else TEST_VIEW_SEED,
            batch_size=config.batch_size,
            shuffle=training,
            drop_last=training and config.drop_last == "yes",
            part=(ranks.rank, ranks.size),
            workers=config.workers,
            pin_memory=pick_device(config.device).type == "cuda",
            on_bad_image=config.on_bad_image,
        )

    test_loader = validation = loader(test, "test", training=False)
    selected_on = "test"
    shot_groups = shot_groups_of(train)
    if config.holdout_fraction > 0:
        kept, held_out = split_holdout(train.labels, config.holdout_fraction)
        validation = loader(train.subset(held_out), "test", training=False)
        train, selected_on = train.subset(kept), "holdout"
    elif own_validation is not None:
        validation, selected_on = loader(own_validation, "test", training=False), "validation"
    return RunData(
        train=loader(train, config.parsed_cell.view, training=True),
        validation=validation,
        test=test_loader,
        selected_on=selected_on,
        num_classes=train.num_classes,
        statistics=family.statistics,
        shot_groups=shot_groups,
    )
