"""What a file is that torch.save did not write, and what makes weights of it."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from dataloader.checked_zip import MAGIC

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
