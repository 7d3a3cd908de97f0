"""Checkpoints: a plain state_dict under "model", with what is needed to rebuild its net."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import nn

from dataloader.checked_zip import MAGIC, check_zip
from dataloader.errors import DamagedError, UserError
from dataloader.files import regular, write_bytes
from engine.foreign_file import SAVE, foreign_kind
from models.pretrained import Start, fitted, load_weights
from models.registry import build_model, set_transform_input
from models.state_dicts import weights_in

MOST_CLASSES = 100_000
MOST_PIXELS = 4096  # of a side
ANEW = (
    "its training diverged, train it anew with a lower --lr or a longer --warmup-epochs, and "
    "--resume never"
)


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself."""

    arch: str
    num_classes: int
    image_size: int
    epoch: int  # epochs finished
    transform_input: bool = False  # torchvision's: inputs are scaled as published weights want it


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
        model = build_model(
            header.arch,
            header.num_classes,
            image_size=header.image_size,
            transform_input=header.transform_input,
        )
    with blamed_on(f"{path} "):
        load_weights(model, state["model"])
    return header, model.eval()


def build(arch: str, num_classes: int, image_size: int) -> nn.Module:
    """A freshly initialised model; UserError for an unknown architecture."""
    with blamed_on(""):
        return build_model(arch, num_classes, image_size=image_size)


def header_of(model: nn.Module, arch: str, num_classes: int, image_size: int, epoch: int) -> Header:
    """The header of `model` after `epoch` epochs."""
    return Header(arch, num_classes, image_size, epoch, getattr(model, "transform_input", False))


def pretrained_path(text: str) -> Path:
    """The file that --pretrained names: `~` is the home folder, which a shell leaves to us after
    `=`, and a recipe always."""
    return Path.home() / text[2:] if text.startswith("~/") else Path(text)


def read_pretrained(model: nn.Module, path: Path) -> Start:
    """Start `model` from the state_dict at `path`, or from the one of a checkpoint there; how.

    A net that can transform its inputs does so from then on, as torchvision's do with published
    weights; with a checkpoint of this project's, if they were so trained. UserError when there is
    no file, it holds anything else, or its keys do not fit the model.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: name the file of weights in it")
    if not path.exists():
        raise UserError(
            f"no weights at {path}: docs/data.md says how to make the file; --pretrained none "
            "trains from scratch"
        )
    content = _read(path, "copy it again, or save it anew")
    with blamed_on(f"{path} "):
        weights, entry = weights_in(content)
        start = fitted(model, weights)
    _check_tensors(start.weights, f"{path}", "take other weights")
    load_weights(model, start.weights)
    is_own = isinstance(content, Mapping) and {"header", "model"} <= content.keys()
    said = [f"of its entry {entry!r}"] * bool(entry) + list(start.said)
    if set_transform_input(model, not is_own or _header(content["header"], path).transform_input):
        said.append("inputs transformed as torchvision does for published weights")
    return replace(start, said=tuple(said))


def _read(path: Path, remedy: str = "put it back from a copy, or train it anew") -> object:
    """What torch.save wrote to `path`, tensors and plain containers only, on the CPU.

    torch compares no checksum and advises, where it refuses a file, to load it without its guard:
    the zip file is checked first, and torch's words are kept to ourselves.
    """
    try:
        kind, conversion = foreign_kind(regular(path))
        if kind is not None:
            raise UserError(f"{path} is {kind}, no state_dict: {conversion}")
        with path.open("rb") as file:
            is_zip = file.read(len(MAGIC)) == MAGIC
        if is_zip:
            check_zip(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about what a stranger's file asks for
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(
            f"no weights at {path}: put them back from a copy, or train it anew"
        ) from None
    except DamagedError as error:
        raise UserError(f"{error}: {remedy}") from None
    except (OSError, UserError):
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise UserError(f"{path} {_refusal(error, remedy)}") from None


def _refusal(error: Exception, remedy: str) -> str:
    """Why torch would not read a file."""
    if found := re.search(r"(?:GLOBAL |``)([\w.]{1,80})", str(error)):
        return f"holds more than tensors ({found[1]}), and to read that could run code: {SAVE}"
    return f"is truncated or no file of weights alone: {remedy}"


def _header(values: object, path: Path) -> Header:
    """What a checkpoint says of itself, of the right types and of sizes that fit in memory."""
    kinds = get_type_hints(Header)
    if isinstance(values, dict):
        values = {"transform_input": False, **values}  # of a checkpoint older than the field
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


def _check_tensors(tensors: object, where: str, remedy: str = ANEW) -> None:
    """UserError unless it maps names to dense tensors, each with all its elements in the file, and
    these are finite numbers."""
    if not isinstance(tensors, Mapping) or not all(type(name) is str for name in tensors):
        raise UserError(f"{where} is no state_dict")
    for name, tensor in tensors.items():
        check_tensor(tensor, f"{where}, {name!r:.80}", remedy)


def check_tensor(tensor: object, where: str, remedy: str = ANEW) -> None:
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
        raise UserError(
            f"{where} is no tensor of weights, dense and of real numbers: save it as one"
        )
    if not torch.isfinite(tensor).all():
        raise UserError(f"{where} holds a NaN or an infinity: {remedy}")


@contextmanager
def blamed_on(what: str) -> Iterator[None]:
    """What `models` finds wrong is the user's to mend."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{what}{error!s:.2000}") from None
