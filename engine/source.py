"""What a run draws its images from: which images, and under which views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataloader.datasets import Family, load_split, parse_dataset
from dataloader.holdout import split_holdout
from dataloader.image_set import Images
from dataloader.views import Statistics, View


@dataclass(frozen=True)
class Source:
    """The settings that say it, under their names in `engine.config`."""

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

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Source:
        """The source among all the settings of a run."""
        return cls(**{name: settings[name] for name in cls.__dataclass_fields__})

    @property
    def which(self) -> tuple[Any, ...]:
        """What decides on the images, whatever is then seen of them."""
        return (
            self.dataset, self.data_path, self.train_list, self.test_list, self.list_path,
            self.views, self.max_train_images, self.max_test_images, self.holdout_fraction,
        )  # fmt: skip

    @property
    def statistics(self) -> Statistics:
        """How the data set's channels are normalised."""
        if self.mean:
            return Statistics(tuple(self.mean), tuple(self.std))  # lists in a saved config
        return self._family.statistics

    def view(self, name: str) -> View:
        """The view called `name`, at this size and strength."""
        return self._family.view(name, self.image_size, strength=self.strength)

    @property
    def _family(self) -> Family:
        return parse_dataset(self.dataset, self.views).family

    def images(self, split: str) -> Images | None:
        """The images that train ("train"), test ("test"), or are the data set's own to select on
        ("validation", None where it has none)."""
        images = self.load(split)
        return self.divided(images)[0] if split == "train" else images

    def divided(self, training: Images) -> tuple[Images, Images | None]:
        """Of the training split, the images that train, and those held out, if any."""
        if self.holdout_fraction == 0:
            return training, None
        kept, held_out = split_holdout(training.labels, self.holdout_fraction)
        return training.subset(kept), training.subset(held_out)

    def load(self, split: str) -> Images | None:
        """A split, whatever is held out of it."""
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
