"""Checkpoints: a plain state_dict under "model", with what is needed to rebuild its net."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard, get_type_hints

import torch
from torch import nn

from common.checked_zip import MAGIC, check_zip
from common.errors import DamagedError, UserError
from common.files import regular, write_bytes
from models.parts import PARTS, WHOLE, part_seen, see
from models.pretrained import Start, fitted, load_weights, weights_in
from models.registry import build_model, set_transform_input
from models.rehearsal import rehearsal

AGAIN = "download or copy it again"
UNPACK = "unpack it first"
EXPORT = "copy its arrays into the torch net, then torch.save(net.state_dict(), ...)"
SAVE = "in the program that wrote it, torch.save(model.state_dict(), ...)"

HEAD = 512  # bytes
ZIPPED = (MAGIC, b"PK\x05\x06")  # the latter without members
BEGINNINGS = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), kind, remedy)
    for pattern, kind, remedy in (
        (rb"\Z", "empty", AGAIN),
        (rb"version https://git-lfs", "a git-lfs pointer to the file itself", "git lfs pull"),
        (rb"\s*<(!doctype|html|head|body|\?xml|!--)", "a web page", AGAIN),
        (
            rb".{6}\0\0\{",
            "a safetensors file",
            "torch.save(safetensors.torch.load_file(...), ...)",
        ),
        (rb"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes them", EXPORT),
        (rb"\x08\x01\x12", "a TensorFlow model", EXPORT),
        (rb"\x08[\x02-\x20][\x12\x1a\x22\x2a\x32\x3a\x42]", "an ONNX model", EXPORT),
        (rb".{4}TFL3", "a TensorFlow Lite model", EXPORT),
        (rb"GGUF", "a GGUF file", EXPORT),
        (rb"\x93NUMPY", "a numpy array", EXPORT),
        (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "a compressed file", UNPACK),
        (rb"7z\xbc\xaf\x27\x1c|Rar!|.{257}ustar", "an archive", UNPACK),
        # torch's old format begins with a pickled number of its own.
        (rb"\x80[\x02-\x05](?!.{0,9}\x8a\x0a\x6c\xfc\x9c\x46)", "a pickle without torch", SAVE),
        (rb"[\t\n\f\r\x20-\x7e\x80-\xff]+\Z", "text", AGAIN),
    )
)
OF_TORCH = re.compile(rb"\x80[\x02-\x05]")  # whatever the file is called
ENDINGS = (  # of names, where the content says nothing
    (".onnx", "an ONNX model", EXPORT),
    (".pb", "a TensorFlow model", EXPORT),
    (".index", "part of a TensorFlow checkpoint", EXPORT),
    ("-00001", "part of a TensorFlow checkpoint", EXPORT),
    (".h5", "a Keras model", EXPORT),
)
MEMBERS = (  # of zip files: how the name of one ends
    (
        "/constants.pkl",
        "a TorchScript program",
        "torch.save(torch.jit.load(...).state_dict(), ...)",
    ),
    ("/data.pkl", None, None),  # torch.save's
    (".npy", "a file of numpy arrays", EXPORT),
    (".weights.h5", "a Keras model", EXPORT),
    ("", "a zip file that torch.save did not write", UNPACK),
)

Kind = tuple[str | None, str | None]


def foreign_kind(path: Path) -> Kind:
    """What the file is and what to do about it; (None, None) where torch.save may have written it.

    OSError when it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(ZIPPED):
        return _of_members(path)
    for pattern, kind, remedy in BEGINNINGS:
        if pattern.match(head):
            return kind, remedy
    return (None, None) if OF_TORCH.match(head) else _of_ending(path)


def _of_members(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except Exception:  # a damaged file can raise nearly anything; check_zip says it
        return None, None
    endings = ((e, k, r) for e, k, r in MEMBERS if any(name.endswith(e) for name in names) or not e)
    _, kind, remedy = next(endings)
    return kind, remedy


def _of_ending(path: Path) -> Kind:
    for ending, kind, remedy in ENDINGS:
        if path.name.endswith(ending):
            return kind, remedy
    return None, None


MOST_CLASSES = 100_000
USUAL_CLASSES = 1000  # ImageNet's
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
    sees: str = WHOLE  # the part of each image that it looks at


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
    return header, see(model.eval(), header.sees)


def build(arch: str, num_classes: int, image_size: int, part: str = WHOLE) -> nn.Module:
    """A freshly initialised model that looks at that part of each image; UserError for an unknown
    architecture."""
    with blamed_on(""):
        model = build_model(arch, num_classes, image_size=image_size)
    return seeing(model, part, image_size, arch)


def seeing(model: nn.Module, part: str, image_size: int, name: str) -> nn.Module:
    """The model, looking at that part of images of `image_size` pixels. UserError, which calls it
    `name`, where it cannot take one."""
    if part != part_seen(model):
        with blamed_on(f"{name} cannot see half of an image ({part}): "):
            rehearsal(see(model, part), image_size)
    return model


def header_of(model: nn.Module, arch: str, num_classes: int, image_size: int, epoch: int) -> Header:
    """The header of `model` after `epoch` epochs."""
    transforms = getattr(model, "transform_input", False)
    return Header(arch, num_classes, image_size, epoch, transforms, part_seen(model))


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
    transforms = True  # as published weights of torchvision do
    if isinstance(content, Mapping) and {"header", "model"} <= content.keys():
        transforms = _header(content["header"], path).transform_input
    said = [f"of its entry {entry!r}"] * bool(entry) + list(start.said)
    if set_transform_input(model, transforms):
        said.append("inputs transformed as torchvision does for published weights")
    return replace(start, said=tuple(said))


def read_net(path: Path, arch: str | None, image_size: int) -> tuple[nn.Module, tuple[str, ...]]:
    """A net with the weights at `path`, in eval mode, and what was done for it: a checkpoint of
    this project, or, where its architecture is named, weights of any number of classes.

    UserError as `load_model` or `read_pretrained`.
    """
    if arch is None:
        with blamed_on(f"{path}: name the architecture of weights from elsewhere, {path}:ARCH: "):
            return load_model(path)[1], ()
    model = build(arch, USUAL_CLASSES, image_size)
    start = read_pretrained(model, path)
    if start.has_new_layer and start.num_classes:
        model = build(arch, start.num_classes, image_size)
        start = read_pretrained(model, path)
    if start.has_new_layer:
        raise UserError(f"{path} has no weights of the final layer: take those of a whole net")
    return model.eval(), start.said


def _read(path: Path, remedy: str = "put it back from a copy, or train it anew") -> object:
    """What torch.save wrote to `path`, tensors and plain containers only, on the CPU.

    torch compares no checksum, so the zip file is checked first. Where torch refuses a file it
    advises to load it with weights_only=False, which runs code: its message is not passed on.
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
            warnings.simplefilter("ignore")  # torch warns of what a foreign pickle imports
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
    header = values if isinstance(values, dict) else {}
    # of a checkpoint older than a field
    header = {"transform_input": False, "sees": WHOLE, **header}
    fits = (
        header.keys() == kinds.keys()
        and all(type(header[name]) is kind for name, kind in kinds.items())
        and 1 <= header["num_classes"] <= MOST_CLASSES
        and 8 <= header["image_size"] <= MOST_PIXELS
        and header["epoch"] >= 0
        and header["sees"] in PARTS
    )
    if not fits:
        raise UserError(f"{path} is no checkpoint of this project: its header is none")
    return Header(**header)


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
    if not _is_dense(tensor):
        raise UserError(
            f"{where} is no tensor of weights, dense and of real numbers: save it as one"
        )
    if not torch.isfinite(tensor).all():
        raise UserError(f"{where} holds a NaN or an infinity: {remedy}")


def _is_dense(tensor: object) -> TypeGuard[torch.Tensor]:
    return (
        isinstance(tensor, torch.Tensor)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_complex() or tensor.is_nested)
        and tensor.nbytes <= tensor.untyped_storage().nbytes()
    )


@contextmanager
def blamed_on(what: str) -> Iterator[None]:
    """What `models` finds wrong is the user's to mend."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{what}{error!s:.2000}") from None
