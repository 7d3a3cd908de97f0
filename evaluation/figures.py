"""The figures. Each function takes numbers and returns a Figure; nothing is global or shown."""

from __future__ import annotations

import io
import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from common.errors import UserError
from common.files import write_bytes
from dataloader.views import VIEW_LETTERS
from engine.cells import PAPER_LETTERS, views_of
from evaluation.tables import Row
from metrics.calibration import ReliabilityBins
from metrics.overlap import intersection_over_union

_backend = os.environ.pop("MPLBACKEND", None)  # one that is not there would end the import
try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.colors import to_rgba
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except (OSError, ValueError) as error:
    raise UserError(
        f"matplotlib cannot read its settings ({error}): mend or move the file matplotlibrc, in "
        "this folder or your home's .config/matplotlib"
    ) from None
finally:
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend

__all__ = ["Axes", "Figure", "MaxNLocator", "by_view", "own_style", "rendered", "saved", "to_rgba"]

Kind = TypeVar("Kind")
TRUE_TYPE = 42  # publishers refuse the other kind, 3


@contextmanager
def own_style() -> Iterator[None]:
    """In the block, or the function that this decorates, figures have matplotlib's own settings.

    An artist takes some of them when it is made and some when it is drawn.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["pdf.fonttype"] = TRUE_TYPE
        yield


@own_style()
def rendered(figure: Figure, kind: str, dpi: int) -> bytes:
    """The content of the figure's file; kind: "png", "pdf" or "svg". Text of an SVG is text, and
    the same figure is the same bytes."""
    matplotlib.rcParams["svg.fonttype"] = "none"
    matplotlib.rcParams["svg.hashsalt"] = "figure"
    _lay_out(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=NO_DATE.get(kind))
    return buffer.getvalue()


def _lay_out(figure: Figure) -> None:
    """Once, before its files are written: else each of them is laid out, and drawn twice for it."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def saved(figure: Figure, path: Path, dpi: int) -> Path:
    """Write the file, a .png, a .pdf or an .svg, and return its path."""
    write_bytes(path, rendered(figure, path.suffix[1:], dpi))
    return path


# Told apart by the colour-blind too (Okabe and Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Of those, and a white, on images; not the #FFFFFF of a paper, which is dark where a page is dark.
BRIGHT = ("#E69F00", "#56B4E9", "#F0E442", "#FEFEFE")
MARKERS = ("o", "s", "^", "D", "v", "P")
NEUTRAL = "0.55"  # for several views
OUTLINES = ("-", "--", "-.", ":")  # of the masks of models in one image
# What a file would say of itself that differs from one time or one version to the next.
NO_DATE = {"svg": dict.fromkeys(("Creator", "Date", "Format", "Type")),
           "pdf": {"CreationDate": None}}  # fmt: skip
PANEL = 2.2  # inches
MOST_NAMED = 24  # points of a figure: more names hide each other
DIMMEST = 0.15  # of an image's brightness, where a map is at its least
STEP = 1.04  # from one picture to the next, in sides of a picture
FAINT = 0.6  # of an image's brightness, below the outlines of all models


@own_style()
def reliability_figure(diagrams: Mapping[str, ReliabilityBins]) -> Figure:
    """A reliability diagram a model: accuracy of each bin, and below it the share of samples."""
    columns = min(6, len(diagrams))
    rows = math.ceil(len(diagrams) / columns)
    figure = Figure(figsize=(PANEL * columns, 1.35 * PANEL * rows), layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 1] * rows)
    for k, (name, bins) in enumerate(diagrams.items()):
        row, column = divmod(k, columns)
        top = figure.add_subplot(grid[2 * row, column])
        below = figure.add_subplot(grid[2 * row + 1, column], sharex=top)
        _reliability(top, below, name, bins)
        if column == 0:
            top.set_ylabel("accuracy")
            below.set_ylabel("share")
        if row == rows - 1:
            below.set_xlabel("confidence")
    return figure


@own_style()
def overlap_figure(rows: Sequence[Row]) -> Figure:
    """IoU of each row with its interval, and where chance alone would put it, if that is known."""
    figure = Figure(figsize=(max(5.0, 0.5 * len(rows) + 2), 4.2), layout="constrained")
    axes = figure.add_subplot()
    _bars(axes, rows, "iou")
    known = [(x, row["iou_chance"]) for x, row in enumerate(rows) if row["iou_chance"] is not None]
    for x, chance in known:
        axes.plot(
            [x - 0.4, x + 0.4], [chance] * 2, "k--", label="chance" if x == known[0][0] else ""
        )
    axes.set_ylabel("IoU of attention masks")
    if known:
        axes.legend()
    return figure


@own_style()
def fidelity_figure(rows: Sequence[Row]) -> Figure:
    """Fidelity of each student to its ensemble, with its interval."""
    figure = Figure(figsize=(max(5.0, 0.5 * len(rows) + 2), 4.2), layout="constrained")
    axes = figure.add_subplot()
    _bars(axes, rows, "fidelity")
    axes.set_ylabel("top-1 agreement with the ensemble")
    return figure


@own_style()
def affinity_figure(rows: Sequence[Row]) -> Figure:
    """Affinity against accuracy: a point for each model and view whose affinity is defined."""
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for view, marker in by_view(MARKERS).items():
        points = [row for row in rows if row["view"] == view and row["affinity"] is not None]
        colours = [_colour(row["cell"]) for row in points]
        x, y = [row["top1_test"] for row in points], [row["affinity"] for row in points]
        axes.scatter(x, y, c=colours, marker=marker)
        axes.scatter([], [], c="k", marker=marker, label=f"{view} view")
        for row in points if len(rows) <= MOST_NAMED else ():
            place = (row["top1_test"], row["affinity"])
            axes.annotate(row["cell"], place, (4, 3), textcoords="offset points", fontsize=7)
    axes.axhline(1, color=NEUTRAL, linewidth=0.8)
    axes.set_xlabel("top-1 under the test view")
    axes.set_ylabel("affinity (top-1 under the view / under base)")
    for view, colour in by_view(COLOURS).items():
        axes.scatter([], [], c=colour, marker="_", label=f"trained on {view} views")
    axes.legend(fontsize=8)
    return figure


@dataclass(frozen=True)
class AttentionRow:
    """An image, the (h, w) map of each model on it, and its (H, W) mask, True where it looks."""

    image: Image.Image
    maps: Sequence[Tensor]
    masks: Sequence[Tensor]


@own_style()
def attention_figure(rows: Sequence[AttentionRow], names: Sequence[str]) -> Figure:
    """Image, then the same as bright as each model's map, with the outline of its mask, then all
    outlines in one image and the IoU of the masks there. In one pair of axes: one for each picture
    would take seconds to lay out."""
    titles = ["image", *names, "together"]
    figure = Figure(figsize=(1.5 * len(titles), 1.5 * len(rows) + 0.3), layout="constrained")
    axes = figure.add_subplot()
    for y, row in enumerate(rows):
        side = row.masks[0].shape[-1]
        image = np.asarray(row.image.resize((side, side), Image.Resampling.BILINEAR))
        lit = [_lit(image, heatmap) for heatmap in row.maps]
        for x, picture in enumerate((image, *lit, (FAINT * image).astype(np.uint8))):
            axes.imshow(picture, extent=(STEP * x, STEP * x + 1, STEP * y + 1, STEP * y))
        for k, mask in enumerate(row.masks):
            for x in (k + 1, len(names) + 1):
                _outline(axes, mask, k, STEP * x, STEP * y)
        if len(row.masks) > 1:
            overlap = intersection_over_union(torch.stack(list(row.masks))[:, None])
            place = STEP * (len(names) + 1) + 0.03, STEP * y + 0.97
            axes.text(*place, f"IoU {overlap:.2f}", color=BRIGHT[-1], fontsize=8)
    for x, title in enumerate(titles):
        axes.text(STEP * x + 0.5, -0.03, title, ha="center", fontsize=9)
    axes.set(xlim=(0, STEP * len(titles)), ylim=(STEP * len(rows), 0))
    axes.set_axis_off()
    return figure


def _reliability(top: Axes, below: Axes, name: str, bins: ReliabilityBins) -> None:
    edges, counts = bins.edges.cpu().numpy(), bins.counts.cpu().numpy()
    filled = counts > 0
    width = edges[1] - edges[0]
    accuracy, confidence = bins.accuracy.cpu().numpy(), bins.confidence.cpu().numpy()
    top.bar(edges[:-1][filled], accuracy[filled], width, align="edge", color=_colour(name),
            alpha=0.6, edgecolor="white")  # fmt: skip
    top.plot(confidence[filled], accuracy[filled], "k.", markersize=4)
    top.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=0.8)
    ece = float(np.abs(accuracy - confidence) @ counts / counts.sum())
    top.set_title(f"{name}\nECE {ece:.3f}", fontsize=8)
    top.set(xlim=(0, 1), ylim=(0, 1))
    top.tick_params(labelbottom=False, labelsize=7)
    below.bar(edges[:-1], counts / counts.sum(), width, align="edge", color=NEUTRAL)
    below.tick_params(labelsize=7)


def _bars(axes: Axes, rows: Sequence[Row], name: str) -> None:
    for x, row in enumerate(rows):
        low, high = row[name] - row[f"{name}_low"], row[f"{name}_high"] - row[name]
        axes.bar(x, row[name], color=_colour(row["cell"]), alpha=0.75)
        axes.errorbar(x, row[name], [[max(0, low)], [max(0, high)]], color="k", capsize=3)
    several = len({row["seed"] for row in rows}) > 1
    labels = [row["cell"] + (f" ({row['seed']})" if several else "") for row in rows]
    axes.set_xticks(range(len(rows)), labels, rotation=60, ha="right", fontsize=8)


def _lit(image: np.ndarray, heatmap: Tensor) -> np.ndarray:
    """The image, as bright as the map."""
    side = image.shape[0]
    smooth = F.interpolate(heatmap[None, None].float(), (side, side), mode="bilinear")[0, 0]
    scaled = (smooth - smooth.min()) / (smooth.max() - smooth.min()).clamp_min(1e-12)
    light = DIMMEST + (1 - DIMMEST) * scaled.numpy()[..., None]
    return (image * light).astype(np.uint8)


def _outline(axes: Axes, mask: Tensor, model: int, x: float, y: float) -> None:
    """Of a mask, in the model's own colour and stroke, on the picture whose upper left corner is at
    x, y; none of one that is empty or full."""
    if mask.any() and not mask.all():
        colour, stroke = BRIGHT[model % len(BRIGHT)], OUTLINES[model % len(OUTLINES)]
        middles = (np.arange(mask.shape[-1]) + 0.5) / mask.shape[-1]
        axes.contour(x + middles, y + middles, mask.float().numpy(), levels=[0.5], colors=colour,
                     linestyles=stroke, linewidths=1.4)  # fmt: skip


def _colour(cell: str) -> str:
    """The colour of the view of all models that a cell's name joins; grey for several views. One
    for all names that are no cells'."""
    try:
        views = views_of(cell)
    except UserError:
        return COLOURS[0]
    return by_view(COLOURS)[views.pop()] if len(views) == 1 else NEUTRAL


def by_view(kinds: Sequence[Kind]) -> dict[str, Kind]:
    """One of `kinds` for each view that trains models, the paper's first, then in the order of the
    table of views; anew from the first where there are more views."""
    letters = dict.fromkeys([*PAPER_LETTERS, *VIEW_LETTERS])
    return dict(
        zip((VIEW_LETTERS[letter] for letter in letters), itertools.cycle(kinds), strict=False)
    )
