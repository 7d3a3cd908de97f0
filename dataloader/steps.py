"""The steps that a view is made of, as data: what is done, how often, how far, filled with what.

Nothing here touches a pixel or imports torch: `dataloader.pipeline` performs the steps. Colours are
RGB of 0 to 255, an `interpolation` is a name of Pillow's, and a probability of 1 draws no coin.
`faded` multiplies a step's probability and its magnitude (the distance from where the step does
nothing) by shares in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from hashlib import sha256
from typing import Any

Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)
LONGEST_SPELLED_OUT = 3


@dataclass(frozen=True)
class RandomResizedCrop:
    """A crop of a share of the area and an aspect ratio drawn from ranges, resized to the view."""

    scale: tuple[float, float]
    interpolation: str
    ratio: tuple[float, float] = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Resize:
    """The shorter side resized to `side` times the view's."""

    side: float = 1.0
    interpolation: str = "bilinear"


@dataclass(frozen=True)
class CenterCrop:
    """The middle, of the view's size."""


@dataclass(frozen=True)
class PaddedCrop:
    """A part of the view's size, of the picture with a black border all around that is `padding`
    times as wide as the view."""

    padding: float


@dataclass(frozen=True)
class HorizontalFlip:
    """Left and right exchanged."""

    probability: float = 0.5

    def faded(self, *, probability: float, magnitude: float) -> HorizontalFlip:
        """A flip has no magnitude."""
        return HorizontalFlip(self.probability * probability)


@dataclass(frozen=True)
class Rotation:
    """A rotation about the middle by an angle within +- `degrees`."""

    degrees: float
    probability: float = 1.0
    interpolation: str = "nearest"
    fill: Colour = BLACK

    def faded(self, *, probability: float, magnitude: float) -> Rotation:
        """Fewer degrees, less often."""
        return replace(
            self, degrees=self.degrees * magnitude, probability=self.probability * probability
        )


@dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast and saturation, in an order drawn, by factors within 1 +- each."""

    brightness: float
    contrast: float
    saturation: float
    probability: float = 1.0

    def faded(self, *, probability: float, magnitude: float) -> ColorJitter:
        """Factors closer to 1, less often."""
        return ColorJitter(
            self.brightness * magnitude,
            self.contrast * magnitude,
            self.saturation * magnitude,
            self.probability * probability,
        )


@dataclass(frozen=True)
class Cutout:
    """A square of `side` pixels filled, its centre anywhere, clipped at the border."""

    side: float
    probability: float = 1.0
    fill: Colour = BLACK

    def faded(self, *, probability: float, magnitude: float) -> Cutout:
        """A smaller square, less often."""
        return replace(self, side=self.side * magnitude, probability=self.probability * probability)


@dataclass(frozen=True)
class Operation:
    """A picture operation, and how its magnitude follows from a level: offset + slope * level.

    At the magnitude `neutral` it does nothing. `either_sign`: a coin mirrors the magnitude about
    it. `whole`: "nearest" or "down" where the magnitude is a whole number. `interpolations`: one
    of them is drawn each time. An operation without a magnitude has only its name.
    """

    name: str
    neutral: float | None = None
    offset: float = 0.0
    slope: float = 0.0
    either_sign: bool = False
    whole: str | None = None
    interpolations: tuple[str, ...] = ()

    def faded(self, share: float) -> Operation:
        """Every magnitude at `share` of its distance from neutral."""
        if self.neutral is None:
            return self
        offset = self.neutral + share * (self.offset - self.neutral)
        return replace(self, offset=offset, slope=share * self.slope)


Choice = tuple[str, float, int | None]  # operation, probability, level


@dataclass(frozen=True)
class AutoAugment:
    """A sub-policy drawn, and its two operations applied in turn, each with its probability."""

    sub_policies: tuple[tuple[Choice, ...], ...]  # of two each
    operations: tuple[Operation, ...]
    fill: Colour

    def faded(self, *, probability: float, magnitude: float) -> AutoAugment:
        """Each operation less far and less often."""
        rarer = tuple(
            tuple((name, chance * probability, level) for name, chance, level in sub_policy)
            for sub_policy in self.sub_policies
        )
        operations = tuple(operation.faded(magnitude) for operation in self.operations)
        return replace(self, sub_policies=rarer, operations=operations)


@dataclass(frozen=True)
class RandAugment:
    """`count` operations drawn with replacement, each applied with `probability` at a level of its
    own: normal(level_mean, level_std) cut to [0, level_mean]."""

    operations: tuple[Operation, ...]
    count: int
    probability: float
    level_mean: float
    level_std: float
    fill: Colour

    def faded(self, *, probability: float, magnitude: float) -> RandAugment:
        """Each operation less far and less often."""
        operations = tuple(operation.faded(magnitude) for operation in self.operations)
        return replace(self, operations=operations, probability=self.probability * probability)


Step = (
    RandomResizedCrop
    | Resize
    | CenterCrop
    | PaddedCrop
    | HorizontalFlip
    | Rotation
    | ColorJitter
    | Cutout
    | AutoAugment
    | RandAugment
)


def between(weak: tuple[Step, ...], strong: tuple[Step, ...], strength: float) -> tuple[Step, ...]:
    """The steps at `strength` in [0, 1]: `weak` at 0, `strong` at 1.

    In between, steps of both stay as they are; those of `weak` alone have 1 - strength times their
    magnitude, those of `strong` alone, which come after, strength times their probability and
    magnitude.
    """
    if strength in (0, 1):
        return strong if strength else weak
    fading = tuple(
        step if step in strong else _faded(step, probability=1, magnitude=1 - strength)
        for step in weak
    )
    growing = tuple(
        _faded(step, probability=strength, magnitude=strength)
        for step in strong
        if step not in weak
    )
    return fading + growing


def _faded(step: Step, *, probability: float, magnitude: float) -> Step:
    """TypeError for a step that sets the size, which no view can do by half."""
    if isinstance(step, RandomResizedCrop | Resize | CenterCrop | PaddedCrop):
        raise TypeError(f"{type(step).__name__} is of all views or of none")
    return step.faded(probability=probability, magnitude=magnitude)


def describe(value: Any) -> str:
    """All that `value`, a step or a part of one, is made of, as one line that stays the same.

    A long table is told by its length and a hash of its entries.
    """
    if is_dataclass(value):
        parts = (f"{field.name}={describe(getattr(value, field.name))}" for field in fields(value))
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, tuple):
        entries = ", ".join(map(describe, value))
        if len(value) > LONGEST_SPELLED_OUT:
            return f"{len(value)} entries {sha256(entries.encode()).hexdigest()[:16]}"
        return f"({entries})"
    return format(value, ".12g") if isinstance(value, float) else str(value)
