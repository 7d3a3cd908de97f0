"""A number of a model or a set of models as a function of the test images that it is taken over.

Images are chosen by counts (B, n): how often each of n images takes part in each of B resamples.
Counts are whole numbers, so that means of rights and wrongs which are equal are equal to the bit:
a rank correlation sees their ties.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

DECIMALS = 10  # of a difference of fractions: rounding must not split its ties


class PerImage(Protocol):
    """What has a value for each choice of images."""

    def over(self, counts: Tensor) -> Tensor:
        """(B, n) -> (B,) float64."""

    def half(self, which: int) -> PerImage:
        """The same over every other image, from image 0 or 1 on."""


@dataclass(frozen=True)
class Mean:
    """values (n,) float64 of the images that are `taken` (n,), 1 or 0; 0 elsewhere."""

    values: Tensor
    taken: Tensor

    @classmethod
    def of_all(cls, values: Tensor) -> Mean:
        """Of all n images."""
        return cls(values.double(), torch.ones(len(values), dtype=torch.float64))

    @classmethod
    def of_some(cls, values: Tensor, index: Tensor, images: int) -> Mean:
        """values (m,) of the images at `index` (m,) among n."""
        every = torch.zeros(2, images, dtype=torch.float64)
        every[:, index] = torch.stack([values.double(), torch.ones(len(index)).double()])
        return cls(*every)

    def over(self, counts: Tensor) -> Tensor:
        """The mean over the images that take part. (B, n) -> (B,)."""
        return (counts @ self.values) / (counts @ self.taken)

    def half(self, which: int) -> Mean:
        """Over every other image of all."""
        kept = (torch.arange(len(self.taken)) % 2 == which).double()
        return Mean(self.values * kept, self.taken * kept)


@dataclass(frozen=True)
class Gap:
    """A training top-1, of images that are the same in every resample, minus a test top-1; in
    fractions."""

    train: float
    test: Mean

    def over(self, counts: Tensor) -> Tensor:
        """(B, n) -> (B,)."""
        return (self.train - self.test.over(counts)).round(decimals=DECIMALS)

    def half(self, which: int) -> Gap:
        """The test top-1 over every other image."""
        return Gap(self.train, self.test.half(which))


@dataclass(frozen=True)
class Ratio:
    """One mean over another; 0 where that is 0."""

    top: Mean
    bottom: Mean

    def over(self, counts: Tensor) -> Tensor:
        """(B, n) -> (B,)."""
        bottom = self.bottom.over(counts)
        return torch.where(bottom > 0, self.top.over(counts) / bottom, 0.0)

    def half(self, which: int) -> Ratio:
        """Of both over every other image."""
        return Ratio(self.top.half(which), self.bottom.half(which))


@dataclass(frozen=True)
class Printed:
    """A number of which no more is known."""

    value: float

    def over(self, counts: Tensor) -> Tensor:
        """(B, n) -> (B,)."""
        return torch.full((len(counts),), self.value, dtype=torch.float64)

    def half(self, which: int) -> Printed:
        """Itself."""
        return self
