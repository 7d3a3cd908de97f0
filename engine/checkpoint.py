"""Checkpoints: a plain state_dict under "model", with what is needed to rebuild its net."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.errors import RunError
from engine.files import write_bytes
from models.pretrained import check_keys, read_weights_file
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
    """Header and state of the checkpoint at `path`, on the CPU; RunError when it is none."""
    content = read_weights_file(path)
    if not isinstance(content, dict) or not {"header", "model"} <= set(content):
        raise RunError(f"{path} is no checkpoint of this project")
    return Header(**content.pop("header")), content


def load_model(path: Path) -> tuple[Header, nn.Module]:
    """Header and model, in eval mode, of the checkpoint at `path`."""
    header, state = load(path)
    model = build_model(header.arch, header.num_classes, image_size=header.image_size)
    check_keys(model.state_dict(), state["model"], path)
    model.load_state_dict(state["model"])
    return header, model.eval()
