"""Where each architecture's attention maps come from, in one table.

A class activation map needs a last feature map whose mean over positions a linear layer turns into
logits. Nets whose head does more than that (two layers, a normalisation after the mean) have none.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torchvision import models


@dataclass(frozen=True)
class ClassMaps:
    """features: the module that gives the last feature map, or, `before` it, is given it;
    classifier: the linear layer, or None where the features are the class maps themselves;
    rectified: whether the net applies a ReLU between the two."""

    features: str
    classifier: str | None
    before: bool = False
    rectified: bool = False


@dataclass(frozen=True)
class Rollout:
    """Attention of a transformer, from the class token through all layers."""


Source = ClassMaps | Rollout

POOLED = ClassMaps("avgpool", "fc", before=True)  # our nets' convention, and a user's
TABLE: dict[type[nn.Module], Source | None] = {
    models.VisionTransformer: Rollout(),
    models.SwinTransformer: ClassMaps("permute", "head"),
    models.EfficientNet: ClassMaps("features", "classifier.1"),
    models.MobileNetV2: ClassMaps("features", "classifier.1"),
    models.MNASNet: ClassMaps("layers", "classifier.1"),
    models.ShuffleNetV2: ClassMaps("conv5", "fc"),
    models.DenseNet: ClassMaps("features", "classifier", rectified=True),
    models.SqueezeNet: ClassMaps("classifier.2", None),  # a convolution with a map for each class
    models.ConvNeXt: None,  # a LayerNorm after the mean
    models.MaxVit: None,
    models.MobileNetV3: None,  # two layers
    models.VGG: None,
    models.AlexNet: None,
}


def source_of(model: nn.Module) -> Source | None:
    """Where the model's maps come from; None where it has none.

    A class outside the table has maps if it ends in modules `avgpool` and a linear `fc`.
    """
    for kind, source in TABLE.items():
        if isinstance(model, kind):
            return source
    linear = isinstance(getattr(model, "fc", None), nn.Linear)
    return POOLED if linear and isinstance(getattr(model, "avgpool", None), nn.Module) else None
