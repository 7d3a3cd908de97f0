"""What `python -m evaluation.measure` can be asked. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from common.settings import NO_YES, Settings, option
from common.workers import default_workers
from dataloader.views import VIEW_FAMILIES
from metrics.conventions import BINS, THRESHOLD

OUTPUTS = ("logits", "probabilities")
USUAL_SIZE = 224  # pixels


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Settings):
    """Models from elsewhere, and how they are measured."""

    files: tuple[str, ...] = option(
        (), "models' outputs (.npz, .npy), FILE or NAME=FILE: docs/measure.md", positional=True
    )
    labels: str | None = option(None, "class numbers of the images, .npy or .npz")
    npy: str | None = option(None, "what .npy files of outputs hold", choices=OUTPUTS)
    allow_subset: str = option("no", "measure the images that all files have", choices=NO_YES)

    student: str | None = option(None, "the model that learned from the others")
    bins: int = option(BINS, "equal-width bins of confidence", at_least=1, at_most=1000)
    threshold: float = option(
        THRESHOLD, "of each map's range, above which it looks", at_least=0, below=1
    )
    image_size: int | None = option(
        None, "pixels of a side, of images and when maps are compared (as files say, or 224)",
        at_least=1, at_most=4096,
    )  # fmt: skip

    models: tuple[str, ...] = option(
        (), "nets that are asked about --images: FILE:ARCH or NAME=FILE:ARCH"
    )
    images: str | None = option(None, "folder of images, or of class folders")
    views: str = option(
        "imagenet", "how they are resized and normalised", choices=tuple(VIEW_FAMILIES)
    )
    mean: tuple[float, ...] = option((), "of red, green and blue, instead of the views'")
    std: tuple[float, ...] = option((), "of red, green and blue", above=0)
    maps: int = option(2000, "evenly spaced images on which nets show where they look", at_least=0)
    grad_cam: str = option("no", "Grad-CAM of all nets, also where class maps are", choices=NO_YES)
    map_layer: str | None = option(None, "last feature map of the nets that are in no table")
    classifier: str | None = option(None, "their linear layer, where class maps are to be taken")
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    batch_size: int = option(64, "images a forward pass", at_least=1)
    workers: int = option(default_workers(), "processes that read images", at_least=0)

    output_dir: str = option("measured", "folder of the tables and figures")
    latex: str = option("no", "the tables in LaTeX too", choices=NO_YES)
