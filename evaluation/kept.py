"""What is kept of a model: its answer to each image, and where it looked; and their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from dataloader.checked_zip import read_npz
from dataloader.errors import UserError
from dataloader.files import staged


@dataclass(frozen=True)
class Answers:
    """A model on a split under a view, a row an image that could be read; each (N,).

    index: positions in the split; labels; predictions; confidence: probability of the prediction;
    nll_nats, brier, entropy_nats: per image; float64. logits: (N, C) float32, or None where they
    would take too much room.
    """

    index: torch.Tensor
    labels: torch.Tensor
    predictions: torch.Tensor
    confidence: torch.Tensor
    nll_nats: torch.Tensor
    brier: torch.Tensor
    entropy_nats: torch.Tensor
    logits: torch.Tensor | None = None

    @property
    def correct(self) -> torch.Tensor:
        """(N,) bool."""
        return self.predictions == self.labels


@dataclass(frozen=True)
class AttentionMaps:
    """Maps of some images, each scaled to [-1, 1]: every use of a map ignores its scale.

    index: (n,) positions in the split; labels (n,); logits (n, C) float32; of_class: (n, C, h, w)
    float16, the mean over classes subtracted, or (n, 1, h, w) where the map knows no class
    (attention rollout); class_sum: (n, h, w) float32, the raw maps of all classes added;
    image_size: () pixels of the side of the images.
    """

    index: torch.Tensor
    labels: torch.Tensor
    logits: torch.Tensor
    of_class: torch.Tensor
    class_sum: torch.Tensor
    image_size: torch.Tensor

    def select(self, target: str | torch.Tensor) -> torch.Tensor:
        """(n, h, w) float32 maps of the (n,) target classes, or of "class_sum"."""
        if isinstance(target, str):
            return self.class_sum
        if self.of_class.shape[1] == 1:
            return self.of_class[:, 0].float()
        return self.of_class[torch.arange(len(target)), target].float()


Kept = TypeVar("Kept", Answers, AttentionMaps)

KEY = {"key": ("U", 0)}
ARRAYS = {  # type and number of dimensions of each, in a file
    Answers: {
        **dict.fromkeys(("index", "labels", "predictions"), ("int64", 1)),
        **dict.fromkeys(("confidence", "nll_nats", "brier", "entropy_nats"), ("float64", 1)),
        "logits": ("float32", 2),
    },
    AttentionMaps: {
        **dict.fromkeys(("index", "labels"), ("int64", 1)),
        "logits": ("float32", 2),
        "of_class": ("float16", 4),
        "class_sum": ("float32", 3),
        "image_size": ("int64", 0),
    },
}


def tensors_of(kept: Answers | AttentionMaps) -> dict[str, torch.Tensor]:
    """Its tensors by name, those that it has."""
    return {name: value for name, value in vars(kept).items() if value is not None}


def size_of(kept: Answers | AttentionMaps) -> int:
    """Bytes in memory."""
    return sum(tensor.nbytes for tensor in tensors_of(kept).values())


def write(path: Path, key: str, kept: Answers | AttentionMaps) -> None:
    """Replace the file at once. `key` is what its content is a function of."""
    arrays = {name: tensor.numpy() for name, tensor in tensors_of(kept).items()}
    with staged(path) as partial, partial.open("wb") as file:
        np.savez(file, key=key, **arrays)  # a copy in memory first would double the peak


def read(path: Path, key: str, kind: type[Kept]) -> Kept | None:
    """What is kept in the file; None where there is none, or it is damaged or of another key."""
    optional = ("logits",) if kind is Answers else ()
    try:
        if str(read_npz(path, KEY)["key"]) != key:  # the rest of an old file is not worth reading
            return None
        arrays = read_npz(path, ARRAYS[kind], optional=optional)
    except (OSError, UserError):
        return None
    if any(len(array) != len(arrays["index"]) for array in arrays.values() if array.ndim):
        return None
    return kind(**{name: torch.from_numpy(array) for name, array in arrays.items()})
