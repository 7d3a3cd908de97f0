"""Two images of a batch made into one: MixUp (Zhang et al. 2018, "mixup: Beyond empirical risk
minimization") and CutMix (Yun et al. 2019, "CutMix: Regularization strategy to train strong
classifiers with localizable features"). Imports nothing heavy: `--help` reads the settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import UserError
from common.settings import Settings, option

if TYPE_CHECKING:
    import torch

NONE, MIXUP, CUTMIX = MIXES = ("none", "mixup", "cutmix")

Box = tuple[int, int, int, int]  # left, top, right, bottom, the last two exclusive


@dataclass(frozen=True, kw_only=True)
class MixSettings(Settings):
    """How the batches of training are mixed."""

    mix: str = option(NONE, "make one image of two, and of their labels", choices=MIXES)
    mix_alpha: float = option(
        1.0, "the images' shares are drawn from Beta(alpha, alpha)", at_least=0.01, at_most=1000
    )
    mix_probability: float = option(1.0, "how often a batch is mixed", above=0, at_most=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mix == NONE and (self.mix_alpha, self.mix_probability) != (1, 1):
            raise UserError("--mix-alpha and --mix-probability are of --mix mixup or cutmix")


@dataclass(frozen=True)
class Mix:
    """How a batch is mixed with another one: by the box where there is one, else pixel by pixel."""

    share: float = 0.0  # of the other image; the label has as much
    box: Box | None = None  # that the other image fills

    def __call__(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) of both, as floats, to as many."""
        if self.box is None:
            return images * (1 - self.share) + others * self.share
        left, top, right, bottom = self.box
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        return mixed


def drawn_mix(settings: MixSettings, size: int, *key: int) -> Mix:
    """One for images of `size` x `size` pixels, a function of the key alone. Nothing is mixed where
    the coin says so; a probability of 1 draws none."""
    import torch

    from common.random_streams import seeded_draws

    with seeded_draws("mix", *key):
        if settings.mix_probability < 1 and torch.rand(1).item() >= settings.mix_probability:
            return Mix()
        alpha = settings.mix_alpha
        share = 1 - torch.distributions.Beta(alpha, alpha).sample().item()
        if settings.mix == MIXUP:
            return Mix(share)
        x, y = (int(torch.randint(size, (1,))) for _ in range(2))
        return cut(share, x, y, size)


def cut(share: float, x: int, y: int, size: int) -> Mix:
    """The square of a `share` of the area, about (x, y), clipped at the border: the share is what
    is left of it."""
    half = int(math.sqrt(share) / 2 * size)
    left, right = max(x - half, 0), min(x + half, size)
    top, bottom = max(y - half, 0), min(y + half, size)
    return Mix((right - left) * (bottom - top) / size**2, (left, top, right, bottom))
