"""What each model says of each image, computed once and kept beside its run.

runs/<dataset>/<cell>/seed<k>/outputs/<split>-<view>.npz holds logits and, for the test view, low
resolution attention maps. It is made from one forward pass, on the same pixels for every model,
and made again when anything that it is a function of changes (`OutputStore._key`). Every measure
is arithmetic on these files.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models import VisionTransformer
from tqdm import tqdm

from dataloader.datasets import load_split, parse_dataset
from dataloader.errors import UserError
from dataloader.files import sha256, write_bytes
from dataloader.image_set import Images
from dataloader.loader import Batch, ViewLoader
from dataloader.views import View
from engine.checkpoint import load_model
from engine.compute import Compute, pick_device
from engine.run import RunDirectory
from engine.shots import shot_groups_of
from evaluation.options import MeasureOptions
from metrics.attention import (
    attention_with_logits,
    class_maps,
    classifier_weight,
    forward_with_features,
)

# A class map takes at most 8 x 8 half-precision values, so that a model's maps fit in 256 MiB:
# all test images of CIFAR-100, some 2,000 evenly spaced ones of ImageNet.
MAP_BYTES = 2**28
BYTES_PER_CLASS_MAP = 8 * 8 * 2
FORMAT = 2  # of the file; a change makes all outputs anew
ARRAYS = ("index", "logits", "labels")
HELD_OUTPUTS = 8  # in memory: the models of a cell and its neighbours in the grid


@dataclass(frozen=True)
class AttentionMaps:
    """Maps of some images, each scaled to [-1, 1]: every use of a map ignores its scale.

    rows: (n,) their rows among the outputs; of_class: (n, C, h, w) float16, the mean over classes
    subtracted, or (n, 1, h, w) where the map knows no class (attention rollout);
    class_sum: (n, h, w) float32, the raw maps of all classes added.
    """

    rows: torch.Tensor
    of_class: torch.Tensor
    class_sum: torch.Tensor

    def select(self, target: str | torch.Tensor) -> torch.Tensor:
        """(n, h, w) float32 maps of the (n,) target classes, or of "class_sum"."""
        if isinstance(target, str):
            return self.class_sum
        if self.of_class.shape[1] == 1:
            return self.of_class[:, 0].float()
        return self.of_class[torch.arange(len(target)), target].float()


@dataclass(frozen=True)
class Outputs:
    """A model on a split under a view, a row an image that could be read.

    index: (N,) positions in the split; logits: (N, C) float32; labels: (N,); maps or None.
    """

    index: torch.Tensor
    logits: torch.Tensor
    labels: torch.Tensor
    maps: AttentionMaps | None
    image_size: int  # pixels


@dataclass
class OutputStore:
    """Outputs of a data set's runs: read where they are current, else computed and kept."""

    options: MeasureOptions
    forward_passes: list[Path] = field(default_factory=list)  # the file that each one filled
    reused: set[Path] = field(default_factory=set)
    _splits: dict[str, Images] = field(default_factory=dict, repr=False)
    _fingerprints: dict[str, str] = field(default_factory=dict, repr=False)
    _hashes: dict[tuple[Path, int, int], str] = field(default_factory=dict, repr=False)
    _recent: dict[tuple[Path, str], Outputs] = field(default_factory=dict, repr=False)

    def get(self, run: RunDirectory, *, split: str = "test", view: str = "test") -> Outputs:
        """The outputs of `run`'s checkpoint on every image of the split under the view."""
        checkpoint = run.checkpoint(self.options.checkpoint)
        key = self._key(run, split, view)
        path = run.outputs / self._file_name(split, view)
        if (path, key) not in self._recent:
            self._recent[path, key] = self._read_or_run(path, key, checkpoint, split, view)
            if len(self._recent) > HELD_OUTPUTS:
                self._recent.pop(next(iter(self._recent)))
        return self._recent[path, key]

    def _key(self, run: RunDirectory, split: str, view: str) -> str:
        """All that outputs are a function of: the checkpoint, what the view does and its seed, the
        images and labels, the precision, and the format of the file."""
        return json.dumps(
            {
                "format": FORMAT,
                "checkpoint": self._hash(run.checkpoint(self.options.checkpoint)),
                "view": self._view(view, run.saved_settings()["image_size"]).description,
                "view_seed": self.options.view_seed,
                "images": self._fingerprint(split),
                "precision": self._compute.amp,
            }
        )

    def _hash(self, path: Path) -> str:
        """SHA-256 of a checkpoint, computed once for each state of the file."""
        state = path.stat()
        key = (path, state.st_mtime_ns, state.st_size)
        if key not in self._hashes:
            self._hashes[key] = sha256(path)
        return self._hashes[key]

    def _fingerprint(self, split: str) -> str:
        if split not in self._fingerprints:
            self._fingerprints[split] = self.images(split).fingerprint()
        return self._fingerprints[split]

    def _view(self, view: str, size: int) -> View:
        return parse_dataset(self.options.dataset).family.view(view, size)

    def images(self, split: str) -> Images:
        """The images of a split."""
        if split not in self._splits:
            self._splits[split] = load_split(
                self.options.dataset,
                split,
                Path(self.options.data_path),
                list_path=Path(lists) if (lists := self.options.list_path) else None,
            )
        return self._splits[split]

    def summary(self) -> str:
        """How many models were run and how many outputs were there already."""
        repeated = len(self.forward_passes) - len(set(self.forward_passes))
        reused = len(self.reused - set(self.forward_passes))
        return (
            f"forward passes: {len(self.forward_passes)} (a model over a split under a view; "
            f"{repeated} repeated), outputs read from disk: {reused}"
        )

    def _read_or_run(
        self, path: Path, key: str, checkpoint: Path, split: str, view: str
    ) -> Outputs:
        kept = _read(path, key)
        if kept is not None:
            self.reused.add(path)
            return kept
        outputs = self._forward(checkpoint, split, view)
        _write(path, key, outputs)
        self.forward_passes.append(path)
        return outputs

    @cached_property
    def shot_groups(self) -> torch.Tensor | None:
        """(C,) many-, medium- or few-shot group of each class; None for a balanced set."""
        return shot_groups_of(self.images("train"))

    @cached_property
    def _compute(self) -> Compute:
        statistics = parse_dataset(self.options.dataset).family.statistics
        return Compute(pick_device(self.options.device), "none", statistics)

    def _file_name(self, split: str, view: str) -> str:
        seed = f"-seed{self.options.view_seed}" if self.options.view_seed else ""
        which = "" if self.options.checkpoint == "last" else f"-{self.options.checkpoint}"
        return f"{split}-{view}{seed}{which}.npz"

    def _forward(self, checkpoint: Path, split: str, view: str) -> Outputs:
        header, model = load_model(checkpoint)
        images = self.images(split)
        loader = ViewLoader(
            images,
            self._view(view, header.image_size),
            seed=self.options.view_seed,
            batch_size=self.options.batch_size,
            workers=self.options.workers,
            on_bad_image=self.options.on_bad_image,
        )
        name = f"{checkpoint.parent} {split} {view}"
        batches = tqdm(loader.epoch(0), name, len(loader), leave=False, disable=None)
        mapped = _mapped_images(images) if view == "test" else torch.empty(0, dtype=torch.long)
        model = self._compute.place(model)
        index, logits, labels, maps = _collect(model, batches, self._compute, mapped)
        if not torch.isfinite(logits).all():
            raise UserError(f"{checkpoint} answers with NaN or infinity: train it anew")
        return Outputs(index, logits, labels, maps, header.image_size)


def _mapped_images(images: Images) -> torch.Tensor:
    """Evenly spaced images whose maps are kept: as many as MAP_BYTES hold."""
    most = min(MAP_BYTES // (BYTES_PER_CLASS_MAP * images.num_classes), len(images))
    return torch.linspace(0, len(images) - 1, most, dtype=torch.float64).round().long().unique()


@torch.no_grad()
def _collect(
    model: nn.Module, batches: Iterable[Batch], compute: Compute, mapped: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, AttentionMaps | None]:
    """Index, logits and labels of all batches, and the maps of the `mapped` indices."""
    indices, logits, labels, maps = [], [], [], []
    for index, views, batch_labels in batches:
        inputs = compute.inputs(views)
        chosen = torch.isin(index, mapped)
        if chosen.any():
            found, *kept = _logits_and_maps(model, inputs, chosen.to(inputs.device))
            maps.append([part.cpu() for part in kept])
        else:
            found = model(inputs)
        indices.append(index)
        logits.append(found.float().cpu())
        labels.append(batch_labels)
    index = torch.cat(indices)
    joined = [torch.cat(parts) for parts in zip(*maps, strict=True)]
    kept = AttentionMaps(torch.isin(index, mapped).nonzero()[:, 0], *joined) if joined else None
    return index, torch.cat(logits), torch.cat(labels), kept


def _logits_and_maps(
    model: nn.Module, inputs: torch.Tensor, chosen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of all inputs; of the chosen ones the maps of each class and their sum."""
    if isinstance(model, VisionTransformer):
        logits, rollout = attention_with_logits(model, inputs)
        rollout = rollout[chosen]
        return logits, _scaled(rollout[:, None]).half(), rollout
    logits, features = forward_with_features(model, inputs)
    raw = class_maps(features[chosen], classifier_weight(model))
    centred = raw - raw.mean(dim=1, keepdim=True)
    return logits, _scaled(centred).half(), _scaled(raw.sum(dim=1)).float()


def _scaled(maps: torch.Tensor) -> torch.Tensor:
    """Each (h, w) map divided by its largest absolute value."""
    largest = maps.abs().amax(dim=(-2, -1), keepdim=True)
    return maps / largest.clamp_min(torch.finfo(torch.float32).tiny)


def _write(path: Path, key: str, outputs: Outputs) -> None:
    arrays = {"key": key, "image_size": outputs.image_size}
    arrays |= {name: getattr(outputs, name) for name in ARRAYS}
    if outputs.maps is not None:
        arrays |= {f"maps_{name}": value for name, value in vars(outputs.maps).items()}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.asarray(value) for name, value in arrays.items()})
    write_bytes(path, buffer.getvalue())


def _read(path: Path, key: str) -> Outputs | None:
    """The kept outputs; None where there are none, or they are damaged or of another checkpoint."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return None
            return _from_arrays(arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _from_arrays(arrays: Mapping[str, np.ndarray]) -> Outputs:
    maps = None
    if "maps_rows" in arrays:
        names = [f"maps_{part.name}" for part in fields(AttentionMaps)]
        maps = AttentionMaps(*(torch.from_numpy(arrays[name]) for name in names))
    index, logits, labels = (torch.from_numpy(arrays[name]) for name in ARRAYS)
    return Outputs(index, logits, labels, maps, int(arrays["image_size"]))
