"""Start a model from another's weights, such as ImageNet's `resnet50.pt`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from models.anatomy import COUNTER, architecture_of, final_layer
from models.state_dicts import Weights, listed, under_own_names

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Start:
    """Weights as a model takes them. has_new_layer: its final layer stays as it is, for other
    classes; said: what was left out or renamed for it."""

    weights: dict[str, torch.Tensor]
    has_new_layer: bool
    said: tuple[str, ...]


def fitted(model: nn.Module, weights: Weights) -> Start:
    """A state_dict from elsewhere, made to fit `model`.

    What wrappers put before its names is taken off, the entries of parts that the model is built
    without (auxiliary heads) are left out, counters that are missing stay at 0, and numbers get
    the model's precision. The final layer stays as initialised where the class count differs.
    ValueError, as `load_weights`, for any other key that does not fit.
    """
    own = model.state_dict()
    final = final_layer(model)
    needed = [key for key in own if key not in final and not key.endswith(COUNTER)]
    named, said = under_own_names(weights, own, needed)
    heads = [key for key in named if getattr(model, key.split(".")[0], model) is None]
    said += [f"left out the auxiliary {listed(heads)}"] if heads else []
    counters = {key: own[key] for key in own if key.endswith(COUNTER)}
    kept = counters | {key: named[key] for key in named if key not in heads}
    has_new_layer = any(_shape(kept, key) != _shape(own, key) for key in final)
    if has_new_layer:
        kept |= {key: own[key] for key in final}
    if problems := _problems(kept, own):
        other = architecture_of(named)
        advice = f"; it fits --arch {other}" if other else ""
        raise ValueError(f"does not fit the architecture: {problems}{advice}")
    precise = {key: value.to(own[key].dtype) for key, value in kept.items()}
    return Start(precise, has_new_layer, tuple(said))


def load_weights(model: nn.Module, weights: Weights) -> None:
    """Copy a state_dict into `model`; ValueError names the first keys that are missing, unexpected
    or of another shape or type."""
    own = model.state_dict()  # and with it the versions of its parts, which a file may lack
    if problems := _problems(weights, own):
        raise ValueError(f"does not fit the architecture: {problems}")
    own.update(weights)
    model.load_state_dict(own)


def _problems(weights: Weights, own: Weights) -> str:
    """What does not fit, the first few of each kind; "" where all does."""
    both = [key for key in own if key in weights]
    kinds = [
        [f"{key:.80} is missing" for key in own if key not in weights],
        [f"{key:.80} is unexpected" for key in weights if key not in own],
        [
            f"{key:.80} has shape {_shape(weights, key)}, needed {_shape(own, key)}"
            for key in both
            if _shape(weights, key) != _shape(own, key)
        ],
        [
            f"{key:.80} is of {weights[key].dtype}, needed floating point"
            for key in both
            if own[key].is_floating_point() and weights[key].dtype not in FLOATS
        ],
    ]
    return "; ".join(listed(kind) for kind in kinds if kind)


def _shape(weights: Weights, key: str) -> tuple[int, ...] | None:
    return tuple(weights[key].shape) if key in weights else None
