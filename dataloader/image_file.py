"""Reading an image file."""

from __future__ import annotations

import struct
from pathlib import Path

from PIL import Image

from dataloader.errors import UserError

# What Pillow raises for a file that is not the image it seems to be.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)


def read_rgb(path: Path) -> Image.Image:
    """The image file at `path`, decoded and RGB; UserError when it is missing or corrupt."""
    try:
        with Image.open(path) as image:
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB")  # else a copy
    except _UNREADABLE as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"cannot read the image {path}: {reason}") from None
