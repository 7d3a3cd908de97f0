"""Calibration of every model of a grid: bash script/ECE.sh, or python -m metrics.calculate_ece"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch

from engine.errors import run_program
from metrics.agreement import correct_per_sample, top1_accuracy
from metrics.bootstrap import bootstrap_calibration_error, means_with_intervals
from metrics.calibration import (
    brier_score_per_sample,
    equal_mass_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    negative_log_likelihood_per_sample,
    reliability_bins,
)
from metrics.figures import reliability_figure
from metrics.grid import measure_parser, open_grid
from metrics.outputs import Outputs
from metrics.results import publish
from metrics.shots import SHOT_GROUPS, members
from metrics.table import Row

REFERENCE_BINS = 10
COLUMNS = (
    "cell", "seed", "top1", "ece", "ece_low", "ece_high", "mce", "ece_equal_mass", "nll_nats",
    "brier", "ece_bin_mean", *(f"top1_{name}" for name in SHOT_GROUPS),
    *(f"ece_{name}" for name in SHOT_GROUPS),
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Print and write the table, and draw the reliability diagrams."""
    parser = measure_parser("Calibration of every model.", ("T", "0T", "1T", "2T"), "ece")
    parser.add_argument("--split", choices=("test", "train"), default="test")
    parser.add_argument("--view", choices=("test", "base", "weak", "strong"), default="test")
    parser.add_argument("--bins", type=int, default=15)
    options = parser.parse_args(argv)
    grid, store, runs = open_grid(options)
    rows, diagrams = [], {}
    for run in runs:
        outputs = store.get(run.run, split=options.split, view=options.view)
        rows.append(
            {
                "cell": str(run.cell),
                "seed": run.seed,
                **calibration(outputs, options.bins, store.shot_groups),
            }
        )
        diagrams.setdefault(
            str(run.cell), reliability_bins(outputs.logits, outputs.labels, n_bins=options.bins)
        )
    publish(
        grid.folder / options.name,
        rows,
        COLUMNS,
        reliability_figure(diagrams),
        f"{options.split} images, {options.view} view; ECE over {options.bins} equal-width bins "
        f"with its 95% bootstrap interval;\nece_bin_mean: unweighted over {REFERENCE_BINS} bins, "
        "as the paper reports it",
        store.summary(),
    )  # fmt: skip


def calibration(outputs: Outputs, bins: int, shot_groups: torch.Tensor | None) -> Row:
    """Every calibration measure of one model; intervals at 95%. With `shot_groups` (C,), top-1 and
    ECE also over the images of many-, medium- and few-shot classes."""
    logits, labels = outputs.logits, outputs.labels
    row = _calibration(logits, labels, bins)
    if shot_groups is not None:
        for name, chosen in members(shot_groups, labels).items():
            own = logits[chosen], labels[chosen]
            row[f"top1_{name}"] = top1_accuracy(*own)
            row[f"ece_{name}"] = expected_calibration_error(*own, n_bins=bins)
    return row


def _calibration(logits: torch.Tensor, labels: torch.Tensor, bins: int) -> Row:
    per_sample = {
        "top1": correct_per_sample(logits, labels),
        "nll_nats": negative_log_likelihood_per_sample(logits, labels),
        "brier": brier_score_per_sample(logits, labels),
    }
    low, high = bootstrap_calibration_error(logits, labels, n_bins=bins)
    return means_with_intervals(per_sample) | {
        "ece": expected_calibration_error(logits, labels, n_bins=bins),
        "ece_low": low,
        "ece_high": high,
        "mce": maximum_calibration_error(logits, labels, n_bins=bins),
        "ece_equal_mass": equal_mass_calibration_error(logits, labels, n_bins=bins),
        "ece_bin_mean": expected_calibration_error(
            logits, labels, n_bins=REFERENCE_BINS, weighting="bin"
        ),
    }


if __name__ == "__main__":
    sys.exit(run_program(main, None))
