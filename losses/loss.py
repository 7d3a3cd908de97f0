"""What a loss is, and what it is given. Imports nothing heavy: `--help` reads the losses' settings,
so that a loss's file imports torch for type checking alone and writes tensors' methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch

FEATURE_MAPS, CLASS_MAPS = "feature_maps", "class_maps"


@dataclass(frozen=True)
class Maps:
    """What a net made of a batch on its way to the logits, as far as it is needed; in float32."""

    features: tuple[torch.Tensor, ...] = ()  # of each stage, (B, D, h, w); of no stages the last
    classes: torch.Tensor | None = None  # (B, C, h, w), their means the logits without the bias


@dataclass(frozen=True)
class Seen:
    """A batch as a loss sees it. ValueError when the shapes do not fit."""

    logits: torch.Tensor  # (B, C)
    teacher_logits: torch.Tensor | None  # (K, B, C); None without teachers
    labels: torch.Tensor  # (B,) int64
    maps: Maps = Maps()
    teacher_maps: tuple[Maps, ...] = ()  # of each teacher

    def __post_init__(self) -> None:
        if self.logits.ndim != 2 or self.labels.shape != self.logits.shape[:1]:
            raise ValueError(
                f"logits must be (B, C) and labels (B,), got {tuple(self.logits.shape)} and "
                f"{tuple(self.labels.shape)}"
            )
        if self.teacher_logits is None:
            return
        if len(self.teacher_logits) == 0 or self.teacher_logits.shape[1:] != self.logits.shape:
            raise ValueError(
                f"teacher_logits must be (K, B, C) with K >= 1 and B, C as in "
                f"{tuple(self.logits.shape)}, got {tuple(self.teacher_logits.shape)}"
            )

    @property
    def taught(self) -> torch.Tensor:
        """The teachers' logits (K, B, C); ValueError without teachers."""
        if self.teacher_logits is None:
            raise ValueError("teacher_logits: a student's loss needs teachers, got None")
        return self.teacher_logits


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """What a student learns from its teachers, beside the labels. The fields are its settings, each
    an `option`."""

    needs: ClassVar[frozenset[str]] = frozenset()  # of FEATURE_MAPS and CLASS_MAPS

    @property
    def weight(self) -> float:
        """Its factor in the share 1 - ce_weight that it has of the objective."""
        return 1.0

    @abstractmethod
    def __call__(self, seen: Seen) -> torch.Tensor:
        """A scalar, mean over the batch, in float32 whatever the input."""
