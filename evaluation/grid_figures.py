"""The report's figures of a whole grid. Each takes values and returns a Figure, which is legible
printed in one column of a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dataloader.views import VIEW_LETTERS
from engine.cells import PAPER_LETTERS, STRONG, WEAK, StudentCell
from evaluation.figures import (
    COLOURS,
    MARKERS,
    Axes,
    Figure,
    MaxNLocator,
    by_view,
    own_style,
    to_rgba,
)
from evaluation.grid_values import FIDELITY, GAP, TOP1, GridValues
from evaluation.overlaps import USUAL
from evaluation.per_image import PerImage
from evaluation.tables import Row, counted
from metrics.calibration import ReliabilityBins

# A marker and a colour for each number of teachers of the grid.
LOOKS = dict(enumerate([("*", "#000000"), *zip(MARKERS, COLOURS, strict=True)][:4]))
# How much of its colour fills a marker, and how a line runs, by the student's view.
FILLS = (0, 1, 0.4, 0.7, 0.2)
LINES = ("--", "-", ":", "-.", (0, (6, 1)))

WIDTH, HEIGHT = 5.2, 4.9  # inches, of four panels; a page's column is some 3.4 wide
PAGE = 7.0  # inches, of a page's whole width
SMALL = 8  # points
TINY = 5.5
LEAST_POINTS = 3  # of a line
LEAST_SHARE = 0.01  # of the images, of a bin that is drawn
IOU_AXIS = "teachers' IoU above chance"
FIDELITY_AXIS = "fidelity to the ensemble, %"
TOP1_AXIS = "test top-1, %"
GAP_AXIS = "generalisation gap, points"
STRENGTH_PANELS = {"top1": TOP1_AXIS, "gap": GAP_AXIS, "fidelity": FIDELITY_AXIS}
# number of teachers and view's letter -> a run's top-1 by epoch, for each run
LearningCurves = Mapping[tuple[int, str], Sequence[Sequence[float]]]
# plain cell -> strength -> figure -> its value of each seed
StrengthCurves = Mapping[str, Mapping[float, Mapping[str, Sequence[float]]]]


@dataclass(frozen=True)
class CellFigures:
    """What is drawn of a student cell, each by seed; percent and points."""

    values: GridValues

    def top1(self, cell: StudentCell) -> dict[int, float]:
        """On the test images."""
        return self._each(cell, TOP1)

    def gap(self, cell: StudentCell) -> dict[int, float]:
        """Training minus test top-1; empty where it is not known."""
        return self._each(cell, GAP)

    def fidelity(self, cell: StudentCell) -> dict[int, float]:
        """To the ensemble of its teachers; empty where it is not known."""
        return self._each(cell, FIDELITY)

    def overlap(self, cell: StudentCell) -> dict[int, float]:
        """IoU above chance of its teachers, by the seed of their replicate."""
        known = sorted(self.values.overlaps.get(USUAL, {}).items(), key=lambda item: item[0][1])
        return {
            seed: self._mean(values)
            for (teachers, seed), values in known
            if teachers == cell.teachers
        }

    def _each(self, cell: StudentCell, measure: str) -> dict[int, float]:
        seeds = self.values.seeds_of([cell], measure)
        return {seed: 100 * self._mean(self.values.of(measure)[cell, seed]) for seed in seeds}

    def _mean(self, values: PerImage) -> float:
        return values.over(torch.ones(1, self.values.images, dtype=torch.float64)).item()


@own_style()
def grid_figure(values: GridValues, rows: Sequence[Row]) -> Figure:
    """Fidelity, gap and top-1 against fidelity and IoU: a point a cell, mean over its seeds, and
    the least-squares line of each number of teachers. Above each panel the rank correlation that
    the claims are judged by, out of their `rows`."""
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    of, panels = CellFigures(values), list(figure.subplots(2, 2).flat)
    for axes, x, y, x_name, y_name, claim, sign in zip(
        panels,
        (of.overlap, of.fidelity, of.fidelity, of.overlap),
        (of.fidelity, of.gap, of.top1, of.top1),
        (IOU_AXIS, FIDELITY_AXIS, FIDELITY_AXIS, IOU_AXIS),
        (FIDELITY_AXIS, GAP_AXIS, TOP1_AXIS, TOP1_AXIS),
        ("6.2 fidelity, ranks", "6.2 gap", "6.2 accuracy, ranks", "6.1 accuracy, ranks"),
        (1, 1, -1, -1),  # of the correlation in the claim's estimate
        strict=True,
    ):
        known = {cell: (x(cell), y(cell)) for cell in values.cells}
        points = {cell: (_mean(along), _mean(up))
                  for cell, (along, up) in known.items() if along and up}  # fmt: skip
        for cell, place in points.items():
            _point(axes, cell, *place, panel=panels.index(axes))
        for count, (_, colour) in LOOKS.items():
            _trend(axes, [point for cell, point in points.items() if len(cell.teachers) == count],
                   colour)  # fmt: skip
        name_axes(axes, x_name, y_name)
        axes.set_title(_correlation(rows, claim, sign), fontsize=SMALL)
    for count in sorted({len(cell.teachers) for cell in values.cells if of.fidelity(cell)}):
        marker, colour = LOOKS[count]
        panels[1].scatter([], [], marker=marker, c=colour, label=counted(count, "teacher"))
    for letter in {cell.letter: None for cell in values.cells if cell.letter not in PAPER_LETTERS}:
        fill = face("#000000", letter)
        name = f"{VIEW_LETTERS[letter]} student"
        panels[1].scatter([], [], marker="D", edgecolors="k", facecolors=fill, label=name)
    legend(figure, panels[1], 4, "filled: strong student")
    return figure


@own_style()
def strong_views_figure(values: GridValues) -> Figure:
    """The paper's main figure: IoU, fidelity, gap and top-1 against how many of the teachers were
    trained on the strong view, the rest of them on the weak one. A line for each number of teachers
    and view of the student: the mean over cells, with the standard deviation over seeds of that
    mean, of the seeds that all of a point's cells have."""
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    of, panels = CellFigures(values), figure.subplots(2, 2).flat
    for axes, value, name in zip(
        panels,
        (of.overlap, of.fidelity, of.gap, of.top1),
        (IOU_AXIS, FIDELITY_AXIS, GAP_AXIS, TOP1_AXIS),
        strict=True,
    ):
        cells = [c for c in values.cells if {t.letter for t in c.teachers} <= set(PAPER_LETTERS)]
        if value == of.overlap:  # of teachers, whoever learns from them
            cells = [
                StudentCell(teachers, STRONG)
                for teachers in dict.fromkeys(c.teachers for c in cells)
            ]
        for count in LOOKS:
            for letter in VIEW_LETTERS:
                chosen = [c for c in cells if len(c.teachers) == count and c.letter == letter]
                _line(axes, chosen, value, count, letter)
        name_axes(axes, "teachers trained on the strong view", name)
        axes.set_xticks(range(len(LOOKS)))
    legend(figure, panels[3], 4, "filled, solid: strong student")
    return figure


@own_style()
def agreement_figure(
    names: Sequence[str], groups: Sequence[str], predictions: Sequence[torch.Tensor]
) -> Figure:
    """Agreement of every two models, in percent of the test images; rows and columns alike. groups:
    what each model is of; those of a group stand together, between lines."""
    stacked = torch.stack(list(predictions))
    shares = torch.stack([100 * (stacked == row).double().mean(1) for row in stacked])
    shares.fill_diagonal_(torch.nan)  # 100: it would take half of the colours
    side = min(PAGE - 1.6, max(2.4, 0.1 * len(names)))
    figure = Figure(figsize=(side + 1.6, side + 0.7), layout="compressed")
    axes = figure.add_subplot()
    image = axes.imshow(shares.numpy(), cmap="cividis")
    middles = {}
    for name in dict.fromkeys(groups):
        first, count = groups.index(name), groups.count(name)
        middles[name] = first + (count - 1) / 2
        if first:
            axes.axhline(first - 0.5, color="white", linewidth=1.2)
            axes.axvline(first - 0.5, color="white", linewidth=1.2)
    axes.set_xticks(list(middles.values()), list(middles), rotation=45, ha="right",
                    rotation_mode="anchor", fontsize=SMALL - 1)  # fmt: skip
    axes.set_yticks(range(len(names)), names, fontsize=TINY)
    axes.tick_params(length=1, pad=1)
    bar = figure.colorbar(image, ax=axes, shrink=0.7)
    bar.set_label("same class, % of test images", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


@own_style()
def strength_figure(curves: StrengthCurves) -> Figure:
    """Top-1, gap and fidelity against the strength of the strong view: mean and standard deviation
    over seeds, a line for each plain cell."""
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    *panels, empty = figure.subplots(2, 2).flat
    for axes, (name, title) in zip(panels, STRENGTH_PANELS.items(), strict=True):
        for k, (cell, strengths) in enumerate(curves.items()):
            known = {s: values[name] for s, values in sorted(strengths.items()) if values[name]}
            spread = [float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in known.values()]
            marker, colour = LOOKS[k % len(LOOKS)]
            axes.errorbar(
                list(known), [float(np.mean(v)) for v in known.values()], spread,
                marker=marker, color=colour, label=cell, capsize=2, linewidth=1.2,
            )  # fmt: skip
        name_axes(axes, "strength of the strong view", title)
    empty.set_axis_off()
    empty.legend(*panels[0].get_legend_handles_labels(), loc="center", fontsize=SMALL)
    return figure


@own_style()
def learning_figure(curves: LearningCurves) -> Figure:
    """Validation top-1 of each epoch: a panel for each view of the student, and there a line for
    each number of teachers, the mean over its runs, in a band that holds all of them."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    letters = [known for known in VIEW_LETTERS if any(letter == known for _, letter in curves)]
    panels = figure.subplots(1, len(letters), squeeze=False, sharey=True)[0]
    for axes, letter in zip(panels, letters, strict=True):
        for count in LOOKS:
            if runs := curves.get((count, letter)):
                _band(axes, runs, count)
        name_axes(axes, "epoch", "top-1, %" if axes is panels[0] else "")
        axes.set_title(f"{VIEW_LETTERS[letter]} students", fontsize=SMALL)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend(figure, max(panels, key=lambda axes: len(axes.lines)), 4, "line: mean; band: all runs")
    return figure


@own_style()
def reliability_lines_figure(
    diagrams: Mapping[str, Mapping[int, ReliabilityBins]],
) -> Figure:
    """Accuracy against confidence: a panel for each view of the students, a line for each number
    of teachers, through the bins that hold enough of the images; ECE in the legend."""
    figure = Figure(figsize=(WIDTH, 3.9), layout="compressed")
    for axes, (view, lines) in zip(
        figure.subplots(1, len(diagrams), squeeze=False, sharey=True)[0],
        diagrams.items(),
        strict=True,
    ):
        axes.plot([0, 1], [0, 1], color="0.55", linewidth=0.8)
        for count, bins in sorted(lines.items()):
            accuracy, confidence, counts = bins.accuracy, bins.confidence, bins.counts
            shown = counts >= LEAST_SHARE * counts.sum()
            error = ((accuracy - confidence).abs() @ counts / counts.sum()).item()
            marker, colour = LOOKS[count]
            axes.plot(
                confidence[shown].numpy(), accuracy[shown].numpy(), marker=marker, color=colour,
                linewidth=1.2, markersize=4, label=f"{counted(count, 'teacher')}, ECE {error:.3f}",
            )  # fmt: skip
        name_axes(axes, "confidence", "accuracy")
        axes.set_title(f"{view} students", fontsize=SMALL)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.legend(fontsize=SMALL - 1, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return figure


def _band(axes: Axes, runs: Sequence[Sequence[float]], count: int) -> None:
    """The mean of the runs by epoch, and their range."""
    marker, colour = LOOKS[count]
    shortest = min(map(len, runs))
    values = 100 * np.array([run[:shortest] for run in runs])
    epochs = range(1, shortest + 1)
    axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        epochs, values.mean(0), color=colour, linewidth=1.2, marker=marker, markersize=4,
        markevery=(count * shortest // 40, max(1, shortest // 8)), label=counted(count, "teacher"),
    )  # fmt: skip


def _mean(by_seed: Mapping[int, float]) -> float:
    return float(np.mean(list(by_seed.values())))


def _line(
    axes: Axes,
    cells: Sequence[StudentCell],
    value: Callable[[StudentCell], dict[int, float]],
    count: int,
    letter: str,
) -> None:
    by_strong: dict[int, list[dict[int, float]]] = {}
    for cell in cells:
        if known := value(cell):
            strong = sum(teacher.letter == STRONG for teacher in cell.teachers)
            by_strong.setdefault(strong, []).append(known)
    shared = {x: sorted(set.intersection(*map(set, by_strong[x]))) for x in sorted(by_strong)}
    places = [x for x, seeds in shared.items() if seeds]
    if not places:
        return
    means = [
        np.mean([[curve[seed] for seed in shared[x]] for curve in by_strong[x]], axis=0)
        for x in places
    ]
    spread = [mean.std(ddof=1) if len(mean) > 1 else 0.0 for mean in means]
    offset = 0.04 * (count - 1.5) + {WEAK: -0.02, STRONG: 0.02}.get(letter, 0)
    axes.errorbar(
        [x + offset for x in places], [mean.mean() for mean in means], spread,
        capsize=2, linewidth=1.2, markersize=5, **_look(count, letter),
    )  # fmt: skip


def _look(count: int, letter: str) -> dict[str, Any]:
    """Of a line of the students of `count` teachers on a view: told apart without colours."""
    marker, colour = LOOKS[count]
    return {
        "marker": marker,
        "color": colour,
        "markerfacecolor": face(colour, letter) if letter != WEAK else "white",
        "linestyle": by_view(LINES)[VIEW_LETTERS[letter]],
        "label": f"{counted(count, 'teacher')}, {VIEW_LETTERS[letter]}",
    }


def face(colour: str, letter: str) -> tuple[float, ...]:
    """Of the markers of students on a view: empty, full or pale."""
    return to_rgba(colour, by_view(FILLS)[VIEW_LETTERS[letter]])


def _correlation(rows: Sequence[Row], claim: str, sign: int) -> str:
    """Of a claim's row, as a title; empty where it was not judged."""
    for row in rows:
        if row["claim"] == claim:
            text = f"rho = {sign * row['estimate']:z.2f}"
            if row["replicates"] == 1:
                return f"{text} (one replicate)"
            low, high = sorted((sign * row["low"], sign * row["high"]))
            return f"{text} ({low:z.2f} to {high:z.2f}), n = {row['replicates']}"
    return ""


def _point(axes: Axes, cell: StudentCell, x: float, y: float, panel: int) -> None:
    """A cell's, which an SVG knows by its name."""
    marker, colour = LOOKS[len(cell.teachers)]
    fill = face(colour, cell.letter)
    axes.scatter(x, y, marker=marker, edgecolors=colour, facecolors=fill, s=26,
                 gid=f"point{panel}-{cell}")  # fmt: skip


def _trend(axes: Axes, points: Sequence[tuple[float, float]], colour: str) -> None:
    """The least-squares line through the points, where there are enough of them."""
    x, y = np.array(points).reshape(-1, 2).T
    if len(x) < LEAST_POINTS or np.ptp(x) == 0:
        return
    slope = np.cov(x, y)[0, 1] / x.var(ddof=1)
    ends = np.array([x.min(), x.max()])
    axes.plot(ends, y.mean() + slope * (ends - x.mean()), color=colour, linewidth=0.9, alpha=0.7)


def name_axes(axes: Axes, x: str, y: str) -> None:
    """Their names, in the size of a printed column."""
    axes.set_xlabel(x, fontsize=SMALL)
    axes.set_ylabel(y, fontsize=SMALL)
    axes.tick_params(labelsize=SMALL)
    axes.ticklabel_format(useOffset=False)


def legend(figure: Figure, axes: Axes, columns: int, title: str) -> None:
    """Of what is in `axes`, below all panels; none where nothing is."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        size = SMALL - 1 if len(handles) <= 2 * columns else TINY  # of three views
        figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, fontsize=size,
            title=title, title_fontsize=SMALL - 1, columnspacing=1.0,
        )  # fmt: skip
