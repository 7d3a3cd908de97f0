"""The images that a run's model is asked about: the run's own, unless the options say otherwise."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from dataloader.image_set import Images, evenly_spaced
from dataloader.loader import ViewDataset, ViewLoader
from engine.compute import pick_device
from engine.config import TrainConfig
from engine.run import RunDirectory
from engine.shots import shot_groups_of
from engine.source import Source
from evaluation.options import MeasureOptions


class Sources:
    """Images by run and split; each split is read once."""

    def __init__(self, options: MeasureOptions) -> None:
        self.options = options
        self._splits: dict[tuple[Any, ...], Images] = {}
        self._fingerprints: dict[tuple[Any, ...], str] = {}
        self._asked: dict[RunDirectory, dict[str, Any]] = {}
        self._shot_groups: dict[tuple[Any, ...], torch.Tensor | None] = {}

    def of(self, run: RunDirectory) -> Source:
        """Where the run's images come from."""
        return Source.of(self._settings(run))

    def images(self, source: Source, split: str) -> Images:
        """Those of a split, or of them the evenly spaced ones that `--max-images` leaves."""
        key = (*source.which, split)
        if key not in self._splits:
            images = source.images(split)
            if self.options.max_images is not None:
                images = images.subset(evenly_spaced(len(images), self.options.max_images))
            self._splits[key] = images
        return self._splits[key]

    def fingerprint(self, source: Source, split: str) -> str:
        """A text that differs where they do."""
        key = (*source.which, split)
        if key not in self._fingerprints:
            self._fingerprints[key] = self.images(source, split).fingerprint()
        return self._fingerprints[key]

    def shot_groups(self, run: RunDirectory) -> torch.Tensor | None:
        """(C,) many-, medium- or few-shot group of each class; None for a balanced set."""
        source = self.of(run)
        if source.which not in self._shot_groups:
            self._shot_groups[source.which] = shot_groups_of(source.load("train"))
        return self._shot_groups[source.which]

    def loader(self, run: RunDirectory, source: Source, split: str, view: str) -> ViewLoader:
        """Their views, in order, by as many processes as `run` had."""
        settings = self._settings(run)
        return ViewLoader(
            self.images(source, split),
            source.view(view),
            seed=self.options.view_seed,
            batch_size=self.options.batch_size,
            workers=settings["workers"],
            pin_memory=pick_device(self.options.device).type == "cuda",
            on_bad_image=settings["on_bad_image"],
        )

    def picture(self, source: Source, split: str, view: str, index: int) -> torch.Tensor:
        """What a model sees of the image at `index`: (3, H, W) uint8."""
        images = self.images(source, split)
        views = ViewDataset(images, source.view(view), seed=self.options.view_seed)
        return views[0, index][1]

    def _settings(self, run: RunDirectory) -> dict[str, Any]:
        """The run's settings (a default where it is older than one) under the options."""
        if run not in self._asked:  # of a finished run they stay as they are
            defaults = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
            asked = {k: v for k, v in vars(self.options).items() if v is not None}
            overrides = {k: asked[k] for k in asked.keys() & _OVERRIDES}
            self._asked[run] = defaults | run.saved_settings() | overrides
        return self._asked[run]


_OVERRIDES = {
    "data_path", "train_list", "test_list", "list_path", "holdout_fraction", "image_size",
    "on_bad_image", "workers",
}  # fmt: skip
