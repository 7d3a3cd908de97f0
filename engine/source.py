"""Which images a run is about, by its settings. Imports no torch: whether they are those of before
is known at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from dataloader.datasets import load_split, parse_dataset
from dataloader.images import DataSet, Images
from dataloader.subsets import split_holdout
from dataloader.views import Statistics, View

HOW_SEEN = ("mean", "std", "image_size", "strength", "strong_view")


@dataclass(frozen=True)
class Source:
    """The settings that say it, under their names in `engine.config`: those of HOW_SEEN how the
    images look, the others which they are."""

    dataset: str
    data_path: str
    train_list: str | None
    test_list: str | None
    list_path: str | None
    views: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_train_images: int
    max_test_images: int
    holdout_fraction: float
    image_size: int
    strength: float
    strong_view: str

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Source:
        """The source among all the settings of a run."""
        return cls(**{name: settings[name] for name in cls.__dataclass_fields__})

    @property
    def which(self) -> tuple[Any, ...]:
        """What decides on the images, whatever is then seen of them."""
        return tuple(value for name, value in vars(self).items() if name not in HOW_SEEN)

    @property
    def statistics(self) -> Statistics:
        """How the data set's channels are normalised."""
        if self.mean:
            return Statistics(tuple(self.mean), tuple(self.std))  # lists in a saved config
        known = self._data_set.statistics
        if known is None:
            raise UserError(f"{self.dataset} has no known statistics: give --mean and --std")
        return known

    def view(self, name: str) -> View:
        """The view called `name`, at this size and strength; "strong" is the one chosen."""
        chosen = self.strong_view if name == "strong" else name
        return self._data_set.view(chosen, self.image_size, strength=self.strength)

    @property
    def _data_set(self) -> DataSet:
        return parse_dataset(self.dataset, self.views).data_set

    def images(self, split: str) -> Images:
        """The images that train ("train") or test ("test")."""
        images = self.load(split)
        return self.divided(images)[0] if split == "train" else images

    def divided(self, training: Images) -> tuple[Images, Images | None]:
        """Of the training split, the images that train, and those held out, if any."""
        if self.holdout_fraction == 0:
            return training, None
        kept, held_out = split_holdout(training.labels, self.holdout_fraction)
        return training.subset(kept), training.subset(held_out)

    def load(self, split: str) -> Images:
        """A split, whatever is held out of it."""
        images = self._stored(split)
        if images is None:
            raise UserError(f"{self.dataset} has no {split} split")
        return images

    def validation(self) -> Images | None:
        """The images that the data set has to select on."""
        return self._stored("validation")

    def _stored(self, split: str) -> Images | None:
        return load_split(
            self.dataset,
            split,
            Path(self.data_path),
            views=self.views,
            train_list=Path(self.train_list) if self.train_list else None,
            test_list=Path(self.test_list) if self.test_list else None,
            list_path=Path(self.list_path) if self.list_path else None,
            most=self.max_train_images if split == "train" else self.max_test_images,
        )
