"""The report's figures of a whole grid. Each takes values and returns a Figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.cells import StudentCell
from evaluation.grid_values import GridValues, PerImage

# A marker and a colour for each number of teachers (Okabe and Ito 2008), filled: strong students.
LOOKS = {0: ("*", "#000000"), 1: ("o", "#0072B2"), 2: ("s", "#D55E00"), 3: ("^", "#009E73")}


STRENGTH_PANELS = {
    "top1": "test top-1, %",
    "gap": "training minus test top-1, points",
    "fidelity": "fidelity to the ensemble, %",
}
# plain cell -> strength -> figure -> its value of each seed
StrengthCurves = Mapping[str, Mapping[float, Mapping[str, Sequence[float]]]]


@dataclass(frozen=True)
class CellFigures:
    """What is drawn of a student cell, each over its seeds in turn; percent and points."""

    values: GridValues

    def top1(self, cell: StudentCell) -> list[float]:
        """On the test images."""
        return self._each(cell, lambda key: 100 * self._mean(self.values.top1[key]))

    def gap(self, cell: StudentCell) -> list[float]:
        """Training minus test top-1."""
        train = self._each(cell, lambda key: 100 * self.values.train_top1[key])
        return [a - b for a, b in zip(train, self.top1(cell), strict=True)]

    def fidelity(self, cell: StudentCell) -> list[float]:
        """To the ensemble of its teachers; empty where it is not known."""
        if any((cell, seed) not in self.values.fidelity for seed in self.values.seeds_of([cell])):
            return []
        return self._each(cell, lambda key: 100 * self._mean(self.values.fidelity[key]))

    def overlap(self, cell: StudentCell) -> list[float]:
        """IoU above chance of its teachers, one value; empty where it is not known."""
        known = self.values.corrected.get(cell.teachers)
        return [] if known is None else [self._mean(known)]

    def _each(
        self, cell: StudentCell, value: Callable[[tuple[StudentCell, int]], float]
    ) -> list[float]:
        return [value((cell, seed)) for seed in self.values.seeds_of([cell])]

    def _mean(self, kept: PerImage) -> float:
        images = self.values.images
        return kept.mean(torch.full((1, images), 1 / images, dtype=torch.float64)).item()


def grid_figure(values: GridValues) -> Figure:
    """Top-1 and gap against fidelity, and fidelity against IoU above chance: a point a cell, mean
    over its seeds."""
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    of, panels = CellFigures(values), figure.subplots(1, 3)
    for axes, x, y in zip(
        panels,
        (of.overlap, of.fidelity, of.fidelity),
        (of.fidelity, of.top1, of.gap),
        strict=True,
    ):
        for cell in values.cells:
            if x(cell) and y(cell):
                _point(axes, cell, float(np.mean(x(cell))), float(np.mean(y(cell))))
    _name(panels[0], "teachers' IoU above chance", "fidelity, %")
    _name(panels[1], "fidelity, %", "test top-1, %")
    _name(panels[2], "fidelity, %", "training minus test top-1, points")
    counts = sorted({len(cell.teachers) for cell in values.cells if of.fidelity(cell)})
    for count in counts:
        marker, colour = LOOKS[count]
        panels[1].scatter([], [], marker=marker, c=colour, label=_teachers(count))
    if counts:
        figure.legend(loc="outside lower center", ncols=4, title="filled: strong student")
    return figure


def strong_views_figure(values: GridValues) -> Figure:
    """The paper's main figure: IoU, fidelity, gap and top-1 against how many of the teachers were
    trained on the strong view. A line for each number of teachers and view of the student: the
    mean over cells, with the standard deviation over seeds of that mean."""
    figure = Figure(figsize=(9.6, 7.2), layout="constrained")
    of, panels = CellFigures(values), figure.subplots(2, 2).flat
    for axes, value, name in zip(
        panels,
        (of.overlap, of.fidelity, of.gap, of.top1),
        ("teachers' IoU above chance", "fidelity to the ensemble, %",
         "training minus test top-1, points", "test top-1, %"),
        strict=True,
    ):  # fmt: skip
        for count in (0, 1, 2, 3):
            for letter in "ws":
                cells = [c for c in values.cells if len(c.teachers) == count and c.letter == letter]
                if not (value == of.overlap and letter == "s"):  # the same teachers once more
                    _line(axes, cells, value, count, letter)
        _name(axes, "teachers trained on the strong view", name)
        axes.set_xticks(range(4))
    handles, labels = panels[3].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4,
                  title="filled, solid: strong student")  # fmt: skip
    return figure


def agreement_figure(names: Sequence[str], predictions: Sequence[torch.Tensor]) -> Figure:
    """Agreement of every two models, in percent of the test images."""
    stacked = torch.stack(list(predictions))
    shares = torch.stack([100 * (stacked == own).double().mean(1) for own in stacked])
    shares.fill_diagonal_(torch.nan)  # 100: it would take half of the colours
    side = max(4.0, 0.24 * len(names) + 1.6)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares.numpy(), cmap="cividis")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    figure.colorbar(image, ax=axes, shrink=0.7, label="same top-1 class, % of test images")
    return figure


def strength_figure(curves: StrengthCurves) -> Figure:
    """Top-1, gap and fidelity against the strength of the strong view: mean and standard deviation
    over seeds, a line for each plain cell."""
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    panels = figure.subplots(1, len(STRENGTH_PANELS))
    for axes, (name, title) in zip(panels, STRENGTH_PANELS.items(), strict=True):
        for k, (cell, strengths) in enumerate(curves.items()):
            known = {s: values[name] for s, values in sorted(strengths.items()) if values[name]}
            spread = [float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in known.values()]
            marker, colour = LOOKS[k % len(LOOKS)]
            axes.errorbar(
                list(known), [float(np.mean(v)) for v in known.values()], spread,
                marker=marker, color=colour, label=cell, capsize=2, linewidth=1.2,
            )  # fmt: skip
        _name(axes, "strength of the strong view", title)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def learning_figure(curves: dict[str, Sequence[Sequence[float]]]) -> Figure:
    """Test top-1 of each epoch, a line for each name, the mean over its runs."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for (name, runs), (dash, colour) in zip(curves.items(), _STROKES, strict=False):
        shortest = min(map(len, runs))
        mean = np.mean([run[:shortest] for run in runs], axis=0)
        axes.plot(range(1, shortest + 1), 100 * mean, dash, color=colour, label=name, linewidth=1.2)
    _name(axes, "epoch", "test top-1, %")
    axes.legend(fontsize=8, ncols=2)
    return figure


_STROKES = [(dash, LOOKS[count][1]) for count in LOOKS for dash in ("--", "-")] + [
    ("--", "#CC79A7"),
    ("-", "#CC79A7"),
]


def _line(
    axes: Axes,
    cells: Sequence[StudentCell],
    value: Callable[[StudentCell], list[float]],
    count: int,
    letter: str,
) -> None:
    by_strong: dict[int, list[list[float]]] = {}
    for cell in cells:
        if value(cell):
            strong = sum(teacher.letter == "s" for teacher in cell.teachers)
            by_strong.setdefault(strong, []).append(value(cell))
    if not by_strong:
        return
    marker, colour = LOOKS[count]
    places = sorted(by_strong)
    seeds = {x: min(map(len, by_strong[x])) for x in places}
    means = [np.mean([own[: seeds[x]] for own in by_strong[x]], axis=0) for x in places]
    spread = [own.std(ddof=1) if len(own) > 1 else 0.0 for own in means]
    offset = 0.04 * (count - 1.5) + (0.02 if letter == "s" else -0.02)
    axes.errorbar(
        [x + offset for x in places], [own.mean() for own in means], spread,
        marker=marker, color=colour, capsize=2, linewidth=1.2, markersize=6,
        markerfacecolor=colour if letter == "s" else "white",
        linestyle="-" if letter == "s" else "--",
        label=f"{_teachers(count)}, {'strong' if letter == 's' else 'weak'}",
    )  # fmt: skip


def _teachers(count: int) -> str:
    return f"{count or 'no'} teacher{'' if count == 1 else 's'}"


def _point(axes: Axes, cell: StudentCell, x: float, y: float) -> None:
    marker, colour = LOOKS[len(cell.teachers)]
    filled = colour if cell.letter == "s" else "none"
    axes.scatter(x, y, marker=marker, edgecolors=colour, facecolors=filled, s=34)


def _name(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
