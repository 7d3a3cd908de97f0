"""A teacher whose class activation maps are held to a correlation with those of another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import UserError
from common.settings import option
from losses.loss import CLASS_MAPS, Loss, Seen
from losses.maps import label_map

if TYPE_CHECKING:
    import torch

ROUNDING = 1e-12  # share of a float32 map's squares: what varies by less is constant


@dataclass(frozen=True, kw_only=True)
class MapCorrelation(Loss):
    """(correlation of the label's maps - R)^2, mean over the batch. The maps: the model's own and
    that of the one teacher that is seen."""

    needs = frozenset({CLASS_MAPS})
    asks_labels = True

    map_correlation: float = option(
        0.0, "correlation with the maps of --beside to aim at", at_least=-1, at_most=1
    )
    map_weight: float = option(1.0, "weight of the squared distance to it", at_least=0, at_most=1e6)

    @property
    def weight(self) -> float:
        """As set."""
        return self.map_weight

    def __call__(self, seen: Seen) -> torch.Tensor:
        """UserError where the two nets' maps differ in size."""
        (reference,) = seen.teacher_maps
        heatmap, other = label_map(seen.maps, seen.labels), label_map(reference, seen.labels)
        if heatmap.shape != other.shape:
            sizes = " and ".join("x".join(map(str, maps.shape[1:])) for maps in (heatmap, other))
            raise UserError(
                f"--beside: attention maps of {sizes} positions cannot be correlated: take nets "
                "whose last feature maps have the same size"
            )
        return (correlation(heatmap, other) - self.map_correlation).square().mean()


def correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Pearson's, over positions, of each image: (B, h, w) twice -> (B,). 0, with a gradient of 0,
    where one of the two maps is constant."""
    return (_standardised(a) * _standardised(b)).sum(1)


def _standardised(maps: torch.Tensor) -> torch.Tensor:
    """(B, h, w) -> (B, h * w) of mean 0 and length 1; a constant map becomes 0."""
    flat = maps.flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    squares = centred.square().sum(1, keepdim=True)
    constant = squares <= ROUNDING * flat.square().sum(1, keepdim=True)
    return centred.masked_fill(constant, 0) / squares.masked_fill(constant, 1).sqrt()
