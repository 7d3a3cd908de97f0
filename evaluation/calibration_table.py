"""The calibration of every model: its rows, its table and its diagrams."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from engine.run import RunDirectory
from evaluation.answers import Answers
from evaluation.figures import reliability_figure
from evaluation.grid import named, of_each, open_grid
from evaluation.measures import CALIBRATION
from evaluation.options import CalibrationOptions
from evaluation.results import keep, publish
from evaluation.tables import Row
from metrics.bootstrap import bootstrap_calibration_gap, means_with_intervals
from metrics.calibration import (
    ReliabilityBins,
    calibration_gap,
    equal_mass_sums,
    equal_width_sums,
    largest_gap,
    reliability,
    sample_columns,
)
from metrics.shots import members

REFERENCE_BINS = 10


def publish_calibration(options: CalibrationOptions) -> None:
    """Print and write the table, and draw the reliability diagrams."""
    _, store, runs = open_grid(options)

    def of_run(run: RunDirectory) -> tuple[Row, ReliabilityBins]:
        answers = store.answers(run, split=options.split, view=options.view)
        measured = calibration(answers, options.bins, store.sources.shot_groups(run))
        row = {"cell": str(run.cell), "seed": run.seed, **measured, **store.stamp(run)}
        return row, reliability_of(answers, options.bins)

    measured = of_each(runs, of_run, named)
    rows = [row for row, _ in measured]
    bins = [row for cell_row, found in measured for row in bin_rows(cell_row, found)]
    files = keep(options.folder / f"{options.name}_bins", bins, ("cell", "bin"))
    diagrams: dict[str, ReliabilityBins] = {}
    for row, found in measured:
        diagrams.setdefault(row["cell"], found)
    publish(
        options.folder / options.name,
        rows,
        CALIBRATION,
        reliability_figure(diagrams),
        f"{options.images}; ECE over {options.bins} equal-width bins "
        f"with its 95% bootstrap interval;\nece_bin_mean: unweighted over {REFERENCE_BINS} bins, "
        "as the paper reports it",
        f"images, accuracy and confidence of each bin: {', '.join(map(str, files))}",
        store.summary(),
        latex=options.latex == "yes",
    )  # fmt: skip


def bin_rows(row: Row, bins: ReliabilityBins) -> Iterator[Row]:
    """A row for each bin of the model that `row` is about: what lies in it, the bin being (low,
    high]; accuracy and mean confidence are None where nothing does."""
    about = {name: row[name] for name in ("cell", "seed", "asked", "commit", "checkpoints")}
    edges, counts = bins.edges.tolist(), bins.counts.long().tolist()
    shares = zip(bins.accuracy.tolist(), bins.confidence.tolist(), strict=True)
    for number, (count, found) in enumerate(zip(counts, shares, strict=True), start=1):
        accuracy, confidence = found if count else (None, None)
        numbers = {"low": edges[number - 1], "high": edges[number], "images": count}
        shares_of_bin = {"accuracy": accuracy, "confidence": confidence}
        yield {**about, "bin": number, **numbers, **shares_of_bin}


def calibration(answers: Answers, bins: int, shot_groups: torch.Tensor | None) -> Row:
    """Every calibration measure of one model; intervals at 95%. With `shot_groups` (C,), top-1 and
    ECE also over the images of many-, medium- and few-shot classes."""
    columns = _columns(answers)
    row: Row = means_with_intervals(
        {column.key: column.per_image(answers) for column in CALIBRATION if column.per_image}
    )
    row |= _binned(columns, bins)
    if shot_groups is not None:
        for name, chosen in members(shot_groups, answers.labels).items():
            row[f"top1_{name}"] = answers.correct[chosen].double().mean().item()
            row[f"ece_{name}"] = calibration_gap(equal_width_sums(columns[chosen], bins)).item()
    return row


def reliability_of(answers: Answers, bins: int) -> ReliabilityBins:
    """A model's reliability diagram."""
    return reliability(equal_width_sums(_columns(answers), bins))


def _binned(columns: torch.Tensor, bins: int) -> Row:
    sums = equal_width_sums(columns, bins)
    of_reference = equal_width_sums(columns, REFERENCE_BINS)
    low, high = bootstrap_calibration_gap(columns, n_bins=bins)
    return {
        "ece": calibration_gap(sums).item(),
        "ece_low": low,
        "ece_high": high,
        "mce": largest_gap(sums).item(),
        "ece_equal_mass": calibration_gap(equal_mass_sums(columns, bins)).item(),
        "ece_bin_mean": calibration_gap(of_reference, weighting="bin").item(),
    }


def _columns(answers: Answers) -> torch.Tensor:
    return sample_columns(answers.correct, answers.confidence)
