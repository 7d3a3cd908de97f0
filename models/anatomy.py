"""What an architecture's weights look like, without any of its numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import groupby

import torch
from torch import nn

from models.registry import architectures, outline

COUNTER = "num_batches_tracked"  # of BatchNorm; weights older than torch 0.4.1 lack it
FEWEST = 16  # weights and biases of a net: AlexNet's

Shapes = Mapping[str, tuple[int, ...]]


def final_layer(model: nn.Module) -> list[str]:
    """Keys of the last linear layer, or convolution: the one with an output for each class."""
    kinds = (nn.Linear, nn.Conv2d)
    *_, name = (name for name, part in model.named_modules() if isinstance(part, kinds))
    return [f"{name}.{key}" for key in model.get_submodule(name).state_dict()]


def architecture_of(weights: Mapping[str, torch.Tensor]) -> str | None:
    """The architecture that has weights of these names and shapes, whatever the classes."""
    shapes = _shapes(weights)
    if len(shapes) < FEWEST:
        return None
    first = next(iter(shapes))
    for _, names in groupby(architectures(), _family):
        family = list(names)
        if first in _anatomy(family[0])[0]:  # to build them all would take ten seconds
            for name in family:
                if _is_of(shapes, name):
                    return name
    return None


def _family(name: str) -> str:
    return re.split(r"[\d_]", name)[0]


def _is_of(shapes: Shapes, name: str) -> bool:
    own, final = _anatomy(name)
    body = {key: shape for key, shape in own.items() if key not in final}
    return body == {key: shape for key, shape in shapes.items() if key not in final}


@cache
def _anatomy(name: str) -> tuple[Shapes, list[str]]:
    """Of an architecture: the shape of each of its weights, and the keys of its final layer."""
    try:
        model = outline(name)
    except NotImplementedError:  # RegNets do arithmetic on tensors while they are built
        return {}, []
    return _shapes(model.state_dict()), final_layer(model)


def _shapes(weights: Mapping[str, torch.Tensor]) -> Shapes:
    return {key: tuple(w.shape) for key, w in weights.items() if not key.endswith(COUNTER)}
