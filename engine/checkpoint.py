"""Checkpoints: a plain state_dict under "model", with what is needed to rebuild its net."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dataloader.errors import UserError
from dataloader.files import write_bytes
from models.pretrained import load_weights, start_from
from models.registry import build_model


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself."""

    arch: str
    num_classes: int
    image_size: int
    epoch: int  # epochs finished


def save(path: Path, header: Header, state: dict[str, Any]) -> None:
    """Replace the checkpoint at once. Serialised in memory first: torch.save reports a full disk
    as an internal error, a plain write as OSError."""
    buffer = io.BytesIO()
    torch.save({"header": vars(header), **state}, buffer)
    write_bytes(path, buffer.getvalue())


def load(path: Path) -> tuple[Header, dict[str, Any]]:
    """Header and state of the checkpoint at `path`, on the CPU; UserError when it is none."""
    content = _read(path)
    if not isinstance(content, dict) or not {"header", "model"} <= set(content):
        raise UserError(f"{path} is no checkpoint of this project")
    return Header(**content.pop("header")), content


def load_model(path: Path) -> tuple[Header, nn.Module]:
    """Header and model, in eval mode, of the checkpoint at `path`."""
    header, state = load(path)
    model = build(header.arch, header.num_classes, header.image_size)
    with _blamed_on(f"{path} "):
        load_weights(model, state["model"])
    return header, model.eval()


def build(arch: str, num_classes: int, image_size: int) -> nn.Module:
    """A freshly initialised model; UserError for an unknown architecture."""
    with _blamed_on(""):
        return build_model(arch, num_classes, image_size=image_size)


def read_pretrained(model: nn.Module, path: Path) -> bool:
    """Start `model` from the state_dict at `path`; whether its final layer was kept as new.

    UserError when there is no file, it holds anything else, or its keys do not fit the model.
    """
    if not path.is_file():
        raise UserError(
            f"no weights at {path}: the README says how to make the file; --pretrained none trains "
            "from scratch"
        )
    weights = _read(path)
    if not isinstance(weights, Mapping) or not all(map(torch.is_tensor, weights.values())):
        raise UserError(
            f"{path} is no state_dict: save it with torch.save(model.state_dict(), ...)"
        )
    with _blamed_on(f"{path} "):
        return start_from(model, weights)


def _read(path: Path) -> object:
    """What torch.save wrote to `path`, tensors and plain containers only, on the CPU."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no weights at {path}") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{path} is truncated or no file of weights ({reason})") from None


@contextmanager
def _blamed_on(what: str) -> Iterator[None]:
    """What `models` finds wrong is the user's to mend."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{what}{error}") from None
