"""Reading an image file."""

from __future__ import annotations

import errno
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dataloader.errors import UserError
from dataloader.files import regular

# Errors that say nothing of the file: --on-bad-image skip must not leave it out for them.
OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
# Each is decoded inside this process. Of the others Pillow hands some to a program of the
# machine: PostScript, whatever its file is called, to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")

SCALED_TO_16_BITS = ("PNG", "PPM")  # what Pillow's mode I, of 32 bits, holds of these
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # tags of TIFF, and a value of one


def read_rgb(path: Path) -> Image.Image:
    """The image file at `path`, decoded and RGB, 8 bits a channel.

    Pillow's convert("RGB") of what the file holds, but for grey levels of 12 or 16 bits: Pillow
    clips them, here their upper 8 bits are taken, as Pillow does of colours. UserError when it is
    missing, corrupt, of a format that is not in FORMATS, of levels whose range it does not say
    (floating point, 32 bits), or of more pixels than Pillow allows (some 89 million); OSError when
    the machine has no room for it. Pillow's warnings, of odd metadata, are not passed on: an image
    would tell of them at each reading.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decoded(path)
    except UserError:
        raise
    except UnidentifiedImageError:
        reason = f"it is none of {', '.join(FORMATS)}"
    except Exception as error:  # a damaged file can raise nearly anything
        if getattr(error, "errno", None) in OF_THE_MACHINE:
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
    raise UserError(f"cannot read the image {path}: {reason}")


def _decoded(path: Path) -> Image.Image:
    with Image.open(regular(path), formats=FORMATS) as image:
        image.load()
        if image.mode.startswith(("I", "F")):
            image = _upper_bits(image)
        if image.mode == "La":  # converts to nothing else
            image = image.convert("LA")
        return image if image.mode == "RGB" else image.convert("RGB")  # else a copy


def _upper_bits(image: Image.Image) -> Image.Image:
    """The 8 upper bits of grey levels that have more."""
    tags = getattr(image, "tag_v2", {})  # of a TIFF file
    if image.mode.startswith("I;16"):
        bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
    elif image.mode == "I" and image.format in SCALED_TO_16_BITS:
        bits = 16
    else:
        raise ValueError(f"its levels (mode {image.mode}) have no known range: make them 8 bits")
    levels = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(255 - levels if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else levels)
