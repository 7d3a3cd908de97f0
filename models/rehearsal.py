"""One image through a net before anything is made of it: does it take such images at all?"""

from __future__ import annotations

import copy

import torch
from torch import nn

SHAPES_ALONE = torch.device("meta")
SMALL = 64  # pixels: computing such an image takes less time than working out its shapes


def rehearsal(model: nn.Module, image_size: int) -> tuple[nn.Module, torch.Tensor]:
    """A net in eval mode and an image (1, 3, H, W) that show which shapes `model` makes of images
    of `image_size` pixels, as cheaply as it can: without numbers where the image is large and the
    net can do without, else a copy of it and a black image.

    ValueError when the net cannot take images of that size.
    """
    image = torch.zeros(1, 3, image_size, image_size)
    if image_size > SMALL:
        outline, shape = copy.deepcopy(model).to(SHAPES_ALONE).eval(), image.to(SHAPES_ALONE)
        if _answers(outline, shape):
            return outline, shape
    if _answers(actor := copy.deepcopy(model).eval(), image):
        return actor, image
    raise ValueError("its layers cannot take images of that size")


def _answers(model: nn.Module, image: torch.Tensor) -> bool:
    try:
        with torch.no_grad():
            model(image)
    except (ValueError, RuntimeError, AssertionError):  # torch's ways to say it
        return False
    return True
