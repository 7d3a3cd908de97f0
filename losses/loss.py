"""What a loss is, and what it is given. Imports nothing heavy: `--help` reads the losses' settings,
so that a loss's file imports torch for type checking alone and writes tensors' methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch

FEATURE_MAPS, CLASS_MAPS = "feature_maps", "class_maps"
FIXED_CLASSIFIER = "fixed_classifier"  # of class maps, that learns from logits alone


@dataclass(frozen=True)
class Maps:
    """What a net made of a batch on its way to the logits, as far as it is needed; in float32."""

    features: tuple[torch.Tensor, ...] = ()  # of each stage, (B, D, h, w); of no stages the last
    classes: torch.Tensor | None = None  # (B, C, h, w), their means the logits without the bias


@dataclass(frozen=True)
class Lesson:
    """What several teachers say together (losses.combination)."""

    logits: torch.Tensor  # (K, B, C) that the losses are given: the teachers', or (1, B, C)
    weights: torch.Tensor | None  # (K, B) that sum to 1 over the teachers; None: all alike
    classes: torch.Tensor  # (B,) that they predict together


@dataclass(frozen=True)
class Minor:
    """The other labels of images that are mixed of two, whose share is the smaller one."""

    labels: torch.Tensor  # (B,) int64
    share: float  # of the labels' weight


@dataclass(frozen=True)
class Seen:
    """A batch as a loss sees it. ValueError when the shapes do not fit."""

    logits: torch.Tensor  # (B, C)
    teacher_logits: torch.Tensor | None  # (K, B, C); None without teachers
    labels: torch.Tensor  # (B,) int64
    maps: Maps = Maps()
    teacher_maps: tuple[Maps, ...] = ()  # of each teacher
    lesson: Lesson | None = None  # of several
    minor: Minor | None = None  # of mixed images

    def __post_init__(self) -> None:
        check_labels(self.logits, self.labels)
        if self.teacher_logits is not None:
            check_teachers(self.logits, self.teacher_logits)

    @property
    def taught(self) -> torch.Tensor:
        """The teachers' logits (K, B, C), or what is made of them; ValueError without teachers."""
        if self.lesson is not None:
            return self.lesson.logits
        if self.teacher_logits is None:
            raise ValueError("teacher_logits: a student's loss needs teachers, got None")
        return self.teacher_logits


def check_labels(logits: torch.Tensor, labels: torch.Tensor) -> None:
    """ValueError unless they are (B, C) and (B,)."""
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"logits must be (B, C) and labels (B,), got {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}"
        )


def check_teachers(logits: torch.Tensor, teacher_logits: torch.Tensor) -> None:
    """ValueError unless they are (B, C) and (K, B, C)."""
    if (
        logits.ndim != 2
        or teacher_logits.ndim != 3
        or len(teacher_logits) == 0
        or (teacher_logits.shape[1:] != logits.shape)
    ):
        raise ValueError(
            f"teacher_logits must be (K, B, C) with K >= 1 and B, C as in "
            f"{tuple(logits.shape)}, got {tuple(teacher_logits.shape)}"
        )


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """What a student learns from its teachers, beside the labels. The fields are its settings, each
    an `option`."""

    needs: ClassVar[frozenset[str]] = frozenset()  # of the three above
    in_validation: ClassVar[bool] = True  # where maps have to be made for it
    published_weight: ClassVar[float | None] = None  # None: 1 - ce_weight

    @property
    def asks_labels(self) -> bool:
        """Whether it is of one label an image, which mixed images do not have."""
        return False

    @property
    def weight(self) -> float:
        """Its own factor, beside `--kd-weight`."""
        return 1.0

    def ramp(self, epoch: int) -> float:
        """The share of its weight that it has in an epoch of training, from 0."""
        return 1.0

    def check(self, *, num_classes: int, processes: int) -> None:
        """UserError where it cannot be learnt from: so many classes, so many processes that have a
        part of each batch."""
        return

    @abstractmethod
    def __call__(self, seen: Seen) -> torch.Tensor:
        """A scalar, mean over the batch, in float32 whatever the input."""


@dataclass(frozen=True, kw_only=True)
class PerImage(Loss):
    """A loss that is a mean over images, and over the teachers, whom the lesson may weigh."""

    @abstractmethod
    def per_image(self, seen: Seen) -> torch.Tensor:
        """Of each teacher and image, (K, B), in float32 whatever the input."""

    def __call__(self, seen: Seen) -> torch.Tensor:
        """The mean."""
        values = self.per_image(seen)
        if seen.lesson is None or seen.lesson.weights is None:
            return values.mean()
        return (seen.lesson.weights * values).sum(0).mean()
