"""Checkpoints: a plain state_dict under "model", with what is needed to rebuild its net."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import nn

from dataloader.checked_zip import MAGIC, check_zip
from dataloader.errors import DamagedError, UserError
from dataloader.files import regular, write_bytes
from models.pretrained import load_weights, start_from
from models.registry import build_model

MOST_CLASSES = 100_000
MOST_PIXELS = 4096  # of a side


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
    """Header and state of the checkpoint at `path`, on the CPU; UserError when it is none, is
    damaged, or holds a NaN or an infinity."""
    content = _read(path)
    if not isinstance(content, dict) or not {"header", "model"} <= set(content):
        raise UserError(f"{path} is no checkpoint of this project")
    _check_tensors(content["model"], f"{path}, model")
    return _header(content.pop("header"), path), content


def load_model(path: Path) -> tuple[Header, nn.Module]:
    """Header and model, in eval mode, of the checkpoint at `path`."""
    header, state = load(path)
    with blamed_on(f"{path}: "):
        model = build_model(header.arch, header.num_classes, image_size=header.image_size)
    with blamed_on(f"{path} "):
        load_weights(model, state["model"])
    return header, model.eval()


def build(arch: str, num_classes: int, image_size: int) -> nn.Module:
    """A freshly initialised model; UserError for an unknown architecture."""
    with blamed_on(""):
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
    _check_tensors(weights, f"{path}")
    with blamed_on(f"{path} "):
        return start_from(model, weights)


def _read(path: Path) -> object:
    """What torch.save wrote to `path`, tensors and plain containers only, on the CPU.

    torch compares no checksum and advises, where it refuses a file, to load it without its guard:
    the zip file is checked first, and torch's words are kept to ourselves.
    """
    try:
        with regular(path).open("rb") as file:
            is_zip = file.read(len(MAGIC)) == MAGIC
        if is_zip:
            check_zip(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about what a stranger's file asks for
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no weights at {path}") from None
    except DamagedError as error:
        raise UserError(f"{error}: put it back from a copy, or train it anew") from None
    except (OSError, UserError):
        raise
    except Exception:  # a damaged file can raise nearly anything
        raise UserError(
            f"{path} is truncated or no file of weights alone: put it back from a copy, "
            "or train it anew"
        ) from None


def _header(values: object, path: Path) -> Header:
    """What a checkpoint says of itself, of the right types and of sizes that fit in memory."""
    kinds = get_type_hints(Header)
    fits = (
        isinstance(values, dict)
        and values.keys() == kinds.keys()
        and all(type(values[name]) is kind for name, kind in kinds.items())
        and 1 <= values["num_classes"] <= MOST_CLASSES
        and 8 <= values["image_size"] <= MOST_PIXELS
        and values["epoch"] >= 0
    )
    if not fits:
        raise UserError(f"{path} is no checkpoint of this project: its header is none")
    return Header(**values)


def _check_tensors(tensors: object, where: str) -> None:
    """UserError unless it maps names to dense tensors, each with all its elements in the file, and
    these are finite numbers."""
    if not isinstance(tensors, Mapping) or not all(type(name) is str for name in tensors):
        raise UserError(f"{where} is no state_dict")
    for name, tensor in tensors.items():
        check_tensor(tensor, f"{where}, {name!r:.80}")


def check_tensor(tensor: object, where: str) -> None:
    """UserError unless it is a dense tensor on the CPU, with all its elements in memory (repeated
    by a stride of 0, one number makes a tensor of any size), and these are finite numbers."""
    is_dense = (
        torch.is_tensor(tensor)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_complex() or tensor.is_nested)
        and tensor.nbytes <= tensor.untyped_storage().nbytes()
    )
    if not is_dense:
        raise UserError(f"{where} is no tensor of weights")
    if not torch.isfinite(tensor).all():
        raise UserError(
            f"{where} holds a NaN or an infinity, its training diverged: train it anew with a "
            "lower --lr or a longer --warmup-epochs, and --resume never"
        )


@contextmanager
def blamed_on(what: str) -> Iterator[None]:
    """What `models` finds wrong is the user's to mend."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{what}{error!s:.2000}") from None
