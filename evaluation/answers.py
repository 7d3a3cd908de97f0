"""What is kept of a model: its answer to each image and where it looked, from one pass over images,
and their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from common.checked_zip import read_npz
from common.errors import UserError
from common.files import staged
from dataloader.loader import Batch
from engine.compute import Compute
from metrics.attention import (
    CLASS_SUM,
    Rollout,
    attention_with_logits,
    class_maps,
    classifier_weight,
    collected,
    forward_with_features,
    source_of,
)
from metrics.calibration import (
    brier_score_per_sample,
    negative_log_likelihood_per_sample,
    top_label_confidence,
)
from metrics.information import predictive_entropy_per_sample
from metrics.representations import before_classifier
from models.rehearsal import rehearsal


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

    def same_images(self, other: Answers) -> bool:
        """Whether both are about the same images in the same order."""
        return torch.equal(self.index, other.index) and torch.equal(self.labels, other.labels)


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
        """(n, h, w) float32 maps of the (n,) target classes, or of "class_sum".

        Raises:
            ValueError: another target.
        """
        if isinstance(target, str):
            if target != CLASS_SUM:
                raise ValueError(f"target: expected (n,) classes or {CLASS_SUM!r}, got {target!r}")
            return self.class_sum
        return of_target(self.of_class, target)


@dataclass(frozen=True)
class Features:
    """What a model's classifier is given of some images. index: (n,) int64 positions of these,
    ascending; values: (n, D) floating point."""

    index: torch.Tensor
    values: torch.Tensor

    def halved(self) -> Features:
        """Without their mean over images, divided by the largest absolute value, which changes no
        CKA, and in half precision, which then changes it by under 1e-5."""
        return Features(self.index, _scaled(self.values - self.values.mean(dim=0)).half())


def of_target(of_class: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(n, h, w) float32 maps of the (n,) target classes, of (n, C, h, w), or of (n, 1, h, w) which
    know no class."""
    if of_class.shape[1] == 1:
        return of_class[:, 0].float()
    return of_class[torch.arange(len(target)), target].float()


NO_CLASSIFIER = "no linear layer is seen to make the logits of"
MOST_FEATURES = 10_000  # evenly spaced images; features of 2,048 values take 40 MB
ROWS_AT_ONCE = 8192


def by_rows(count: int) -> Iterator[slice]:
    """Rows by the thousands: the float64 temporaries of all logits at once would be gigabytes."""
    for start in range(0, count, ROWS_AT_ONCE):
        yield slice(start, start + ROWS_AT_ONCE)


AnyKept = Answers | AttentionMaps | Features
Kept = TypeVar("Kept", Answers, AttentionMaps, Features)

SUFFIXES = {Answers: ".npz", AttentionMaps: "-maps.npz", Features: "-features.npz"}
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
    Features: {"index": ("int64", 1), "values": ("float16", 2)},
}


def tensors_of(kept: AnyKept) -> dict[str, torch.Tensor]:
    """Its tensors by name, those that it has."""
    return {name: value for name, value in vars(kept).items() if value is not None}


def size_of(kept: AnyKept) -> int:
    """Bytes in memory."""
    return sum(tensor.nbytes for tensor in tensors_of(kept).values())


def write(path: Path, key: str, kept: AnyKept) -> None:
    """Replace the file at once. `key` is what its content is a function of."""
    arrays = {name: tensor.numpy() for name, tensor in tensors_of(kept).items()}
    content: dict[str, Any] = {"key": key, **arrays}
    with staged(path) as partial, partial.open("wb") as file:
        np.savez(file, **content)  # a copy in memory first would double the peak


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


@torch.no_grad()
def collect(
    model: nn.Module,
    batches: Iterable[Batch],
    compute: Compute,
    *,
    most: int,
    mapped: torch.Tensor,
    keep_logits: bool,
    watch: Callable[[torch.Tensor], AbstractContextManager[Any]] = nullcontext,
) -> tuple[Answers, AttentionMaps | None]:
    """Answers to all batches, of at most `most` images, and the maps of those whose index is among
    `mapped`.

    Logits are looked at batch by batch and kept only if asked for: those of a million images of a
    thousand classes take 5 GB. The model is asked about each batch in the block that `watch` makes
    of the batch's index. UserError where there is no batch.
    """
    answers = Collected(most)
    maps: list[list[torch.Tensor]] = []
    for index, views, labels in batches:
        inputs = compute.inputs(views)
        chosen = torch.isin(index, mapped)
        with watch(index):
            if chosen.any():
                logits, *looked = _logits_and_maps(model, inputs, chosen.to(inputs.device))
            else:
                logits, *looked = (model(inputs),)
        logits = logits.float().cpu()
        if looked:
            known = (index[chosen], labels[chosen], logits[chosen])
            maps.append([*known, *(part.cpu() for part in looked)])
        answers.add(answers_of(index, labels, logits, keep_logits))
    answered = answers.so_far()
    if not maps:
        return answered, None
    index, labels, logits, of_class, class_sum = map(torch.cat, zip(*maps, strict=True))
    side = torch.tensor(inputs.shape[-1])
    return answered, AttentionMaps(index, labels, logits, of_class, class_sum, side)


def answers_of(
    index: torch.Tensor, labels: torch.Tensor, logits: torch.Tensor, keep_logits: bool
) -> Answers:
    """The answers that the logits (B, C) are."""
    return Answers(
        index=index,
        labels=labels,
        predictions=logits.argmax(1),
        confidence=top_label_confidence(logits),
        nll_nats=negative_log_likelihood_per_sample(logits, labels),
        brier=brier_score_per_sample(logits, labels),
        entropy_nats=predictive_entropy_per_sample(logits),
        logits=logits if keep_logits else None,
    )


class Collected:
    """Answers batch by batch, in memory that is taken once: small tensors left over from each of
    thousands of batches would keep the large ones between them from being given back."""

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._columns: dict[str, torch.Tensor] = {}

    def add(self, batch: Answers) -> None:
        """Keep a batch."""
        rows = slice(self._count, self._count + len(batch.labels))
        for name, values in tensors_of(batch).items():
            if name not in self._columns:
                self._columns[name] = values.new_empty(self._most, *values.shape[1:])
            self._columns[name][rows] = values
        self._count = rows.stop

    def so_far(self) -> Answers:
        """All of them; UserError where there are none."""
        if not self._columns:
            raise UserError("none of the images could be read, so there is nothing to measure")
        return Answers(**{name: column[: self._count] for name, column in self._columns.items()})


class SeenFeatures:
    """The features of the images `wanted`, positions (n,), seen while the model is asked about
    images of `image_size` pixels; none of a net whose classifier is not found."""

    def __init__(self, model: nn.Module, image_size: int, wanted: torch.Tensor) -> None:
        self._model, self._wanted = model, wanted
        self._place = before_classifier(*rehearsal(model, image_size)) if len(wanted) else None
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    @contextmanager
    def of(self, index: torch.Tensor) -> Iterator[None]:
        """Watch while the block asks the model once, about the images of the (B,) index."""
        chosen = torch.isin(index, self._wanted)
        if self._place is None or not chosen.any():
            yield
            return
        with collected(self._model, self._place) as seen:
            yield
        values = seen[-1]
        self._seen.append((index[chosen], values[chosen.to(values.device)].float().cpu()))

    def so_far(self) -> Features | None:
        """All of them, in float32."""
        if not self._seen:
            return None
        return Features(*map(torch.cat, zip(*self._seen, strict=True)))


def _logits_and_maps(
    model: nn.Module, inputs: torch.Tensor, chosen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of all inputs; of the chosen ones the maps of each class and their sum."""
    if isinstance(source_of(model), Rollout):
        logits, rollout = attention_with_logits(model, inputs)
        rollout = rollout[chosen]
        return logits, _scaled(rollout[:, None]).half(), rollout
    logits, features = forward_with_features(model, inputs)
    raw = class_maps(features[chosen], classifier_weight(model, features))
    centred = raw - raw.mean(dim=1, keepdim=True)
    return logits, _scaled(centred).half(), _scaled(raw.sum(dim=1)).float()


def _scaled(maps: torch.Tensor) -> torch.Tensor:
    """Each (h, w) map, or all features (n, D), divided by the largest absolute value."""
    largest = maps.abs().amax(dim=(-2, -1), keepdim=True)
    return maps / largest.clamp_min(torch.finfo(torch.float32).tiny)
