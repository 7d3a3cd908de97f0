"""What `python -m evaluation.measure` can be asked. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from common.settings import NO_YES, Settings, option
from metrics.conventions import BINS, THRESHOLD

OUTPUTS = ("logits", "probabilities")


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
        None, "pixels of a side, at which maps are compared (what the files say, or 224)",
        at_least=1, at_most=4096,
    )  # fmt: skip
    output_dir: str = option("measured", "folder of the tables and figures")
