"""Students of the same teachers by different objectives: a row each, and whether those that follow
their teachers more are more often right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from engine.run import RunDirectory
from evaluation.grid import Grid, named, of_each, open_grid
from evaluation.grid_reader import last_figures
from evaluation.options import ObjectiveOptions
from evaluation.outputs import OutputStore
from evaluation.results import publish
from evaluation.tables import Column, Row, beside, read_rows
from metrics.agreement import ensemble_logits
from metrics.calibration import calibration_gap, equal_width_sums, sample_columns
from metrics.conventions import BINS
from metrics.intervals import over_replicates, spearman

OBJECTIVES = tuple(
    map(
        Column,
        ("top1", "gap_points", "fidelity_taught", "fidelity_ensemble", "ece", "iou_T_S"),
    )
)
FEWEST = 4  # objectives that can be ranked


@dataclass(frozen=True)
class Followed:
    """A student's objective among those of the same teachers, view and replicate."""

    among: tuple[str, int]  # the cell without variant, and the seed
    fidelity: float  # on every second test image, from the first
    top1: float  # on the others


def publish_objectives(options: ObjectiveOptions) -> None:
    """Print and write a row for each student, and the rank correlations."""
    grid, store, runs = open_grid(options)
    overlaps = {
        (row["cell"], row["seed"]): row.get("iou")
        for row in read_rows(beside(options.folder / "iou_T_S", ".json"))
    }
    measured = of_each(grid.with_teachers(runs), partial(_measured, grid, store, overlaps), named)
    publish(
        options.folder / options.name,
        [row for row, _ in measured],
        OBJECTIVES,
        {},
        "last epoch, test images; gap: training top-1 under the student's view minus test top-1; "
        "fidelity:\nto what was taught, and to the mean of the teachers' logits; iou_T_S: of "
        "script/IoU_TS.sh, if it was measured",
        *correlation_lines(own for _, own in measured),
        store.summary(),
    )


def _measured(
    grid: Grid,
    store: OutputStore,
    overlaps: Mapping[tuple[str, int], float | None],
    run: RunDirectory,
) -> tuple[Row, Followed]:
    answers, teachers = store.answers(run), grid.teachers(run)
    taught = [store.answers(teacher, like=run) for teacher in teachers]
    agrees = answers.predictions == _together(
        [own.logits for own in taught if own.logits is not None]
    )
    last = last_figures(run)
    sums = equal_width_sums(sample_columns(answers.correct, answers.confidence), BINS)
    row = {
        "cell": str(run.cell),
        "seed": run.seed,
        "top1": _mean(answers.correct),
        "gap_points": last.get("gap_points"),
        "fidelity_taught": last.get("test", {}).get("fidelity_taught"),
        "fidelity_ensemble": _mean(agrees),
        "ece": calibration_gap(sums).item(),
        "iou_T_S": overlaps.get((str(run.cell), run.seed)),
        **store.stamp(run, *teachers),
    }
    among = str(replace(run.cell, variant=None)), run.seed
    return row, Followed(among, _mean(agrees[::2]), _mean(answers.correct[1::2]))


def _together(logits: Sequence[Tensor]) -> Tensor:
    """(N,) classes that the mean of the teachers' logits predicts."""
    return ensemble_logits(torch.stack([*logits])).argmax(1)


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


def correlation_lines(followed: Iterable[Followed]) -> list[str]:
    """What is said of the rank correlations, a line for each cell without its variant."""
    return [
        f"rank correlation of fidelity and top-1 over the objectives of {cell}: {_told(values)};\n"
        "fidelity from one half of these test images, top-1 from the other"
        for cell, values in rank_correlations(followed).items()
    ]


def _told(values: Sequence[float]) -> str:
    """The mean over replicates, with Student's interval if there are several."""
    own = over_replicates(values, 0.0)
    if len(values) == 1:
        return f"{own.estimate:+.2f} in one replicate"
    low, high = max(own.low, -1.0), min(own.high, 1.0)
    return (
        f"{own.estimate:+.2f}, 95% interval over {len(values)} replicates {low:+.2f} to {high:+.2f}"
    )


def rank_correlations(followed: Iterable[Followed]) -> dict[str, list[float]]:
    """Spearman's over the objectives of each replicate, of each cell where there are FEWEST of them
    or more."""
    groups: dict[tuple[str, int], list[Followed]] = {}
    for own in followed:
        groups.setdefault(own.among, []).append(own)
    of_cells: dict[str, list[float]] = {}
    for (cell, _), members in groups.items():
        if len(members) >= FEWEST:
            fidelity, top1 = torch.tensor([(m.fidelity, m.top1) for m in members]).T
            of_cells.setdefault(cell, []).append(spearman(fidelity, top1).item())
    return of_cells
