"""The loaders of a run: which images train, which select the best epoch, which test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dataloader.datasets import load_split, parse_dataset
from dataloader.holdout import split_holdout
from dataloader.image_set import ImageSet
from dataloader.loader import ViewLoader
from dataloader.views import Statistics
from engine.config import StudentConfig, TeacherConfig

TEST_VIEW_SEED = 0  # the test view draws nothing; every run passes the same seed all the same


@dataclass(frozen=True)
class RunData:
    """Loaders of a run. `validation` selects the best epoch; it is the test split itself, as
    `selected_on` then says, unless a share of the training set is held out for it."""

    train: ViewLoader
    validation: ViewLoader
    test: ViewLoader
    selected_on: str
    num_classes: int
    statistics: Statistics


def load_data(config: TeacherConfig | StudentConfig, *, pin_memory: bool) -> RunData:
    """Read the data set of `config` and make its loaders."""
    root = Path(config.data_path)
    family = parse_dataset(config.dataset).family
    train_list = Path(config.train_list) if config.train_list else None
    train = load_split(config.dataset, "train", root, train_list=train_list)
    test = load_split(config.dataset, "test", root)

    def loader(images: ImageSet, view: str, *, training: bool) -> ViewLoader:
        return ViewLoader(
            images,
            family.view(view, config.image_size),
            seed=config.stream if training else TEST_VIEW_SEED,
            batch_size=config.batch_size,
            shuffle=training,
            workers=config.workers,
            pin_memory=pin_memory,
        )

    test_loader = validation = loader(test, "test", training=False)
    selected_on = "test"
    if config.holdout_fraction > 0:
        kept, held_out = split_holdout(train.labels, config.holdout_fraction)
        validation = loader(train.subset(held_out), "test", training=False)
        train, selected_on = train.subset(kept), "holdout"
    return RunData(
        train=loader(train, config.parsed_cell.view, training=True),
        validation=validation,
        test=test_loader,
        selected_on=selected_on,
        num_classes=train.num_classes,
        statistics=family.statistics,
    )
