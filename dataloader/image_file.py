"""Reading an image file."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from dataloader.errors import UserError

# Each is decoded inside this process. Of the others Pillow hands some to a program of the
# machine: PostScript, whatever its file is called, to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")


def read_rgb(path: Path) -> Image.Image:
    """The image file at `path`, decoded and RGB; UserError when it is missing, corrupt, of a format
    that is not in FORMATS, or of more pixels than Pillow allows (some 89 million)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decoded(path)
    except UnidentifiedImageError:
        reason = f"it is none of {', '.join(FORMATS)}"
    except Exception as error:  # a damaged file can raise nearly anything
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
    raise UserError(f"cannot read the image {path}: {reason}")


def _decoded(path: Path) -> Image.Image:
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise OSError("it is no file")
    with Image.open(path, formats=FORMATS) as image:
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")  # else a copy
