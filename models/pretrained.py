"""Start a model from a torchvision state_dict, such as ImageNet's `resnet50.pt`."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from models.errors import ModelError

FINAL_LAYERS = ("fc.weight", "fc.bias", "heads.head.weight", "heads.head.bias")


def load_pretrained(model: nn.Module, path: Path) -> bool:
    """Copy the weights at `path` into `model`; returns whether its final layer was kept as new.

    The final layer stays as initialised where the class count differs. Any other key that is
    missing, unexpected or of another shape is a ModelError that names it.
    """
    if not path.is_file():
        raise ModelError(
            f"no weights at {path}: the README says how to make the file; --pretrained none trains "
            "from scratch"
        )
    weights = dict(read_state_dict(path))
    own = model.state_dict()
    final = [key for key in FINAL_LAYERS if key in own]
    new_classes = any(_shape(weights, key) != _shape(own, key) for key in final)
    if new_classes:
        weights |= {key: own[key] for key in final}
    check_keys(own, weights, path)
    model.load_state_dict(weights)
    return new_classes


def read_state_dict(path: Path) -> Mapping[str, torch.Tensor]:
    """The mapping of names to tensors at `path`; ModelError when the file holds anything else."""
    content = read_weights_file(path)
    if not isinstance(content, Mapping) or not all(map(torch.is_tensor, content.values())):
        raise ModelError(
            f"{path} is no state_dict: save it with torch.save(model.state_dict(), ...)"
        )
    return content


def read_weights_file(path: Path) -> object:
    """What torch.save wrote to `path`, tensors and plain containers only, on the CPU."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"no weights at {path}") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"{path} is truncated or no file of weights ({reason})") from None


def check_keys(
    own: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], path: Path
) -> None:
    """ModelError that names every key in which `weights` does not fit the model's `own`."""
    problems = [f"{key} is missing" for key in own if key not in weights]
    problems += [f"{key} is unexpected" for key in weights if key not in own]
    problems += [
        f"{key} has shape {_shape(weights, key)}, needed {_shape(own, key)}"
        for key in own
        if key in weights and _shape(weights, key) != _shape(own, key)
    ]
    if problems:
        raise ModelError(f"{path} does not fit the architecture: {'; '.join(problems)}")


def _shape(weights: Mapping[str, torch.Tensor], key: str) -> tuple[int, ...] | None:
    return tuple(weights[key].shape) if key in weights else None
