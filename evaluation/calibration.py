"""The calibration of every model: its rows, its table and its diagrams."""

from __future__ import annotations

import torch

from evaluation.calculate_ece import CalibrationOptions
from evaluation.figures import reliability_figure
from evaluation.grid import open_grid
from evaluation.outputs import Outputs
from evaluation.results import publish
from evaluation.table import Row
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
from metrics.shots import SHOT_GROUPS, members

REFERENCE_BINS = 10
COLUMNS = (
    "cell", "seed", "top1", "ece", "ece_low", "ece_high", "mce", "ece_equal_mass", "nll_nats",
    "brier", "ece_bin_mean", *(f"top1_{name}" for name in SHOT_GROUPS),
    *(f"ece_{name}" for name in SHOT_GROUPS),
)  # fmt: skip


def publish_calibration(options: CalibrationOptions) -> None:
    """Print and write the table, and draw the reliability diagrams."""
    _, store, runs = open_grid(options)
    rows, diagrams = [], {}
    for run in runs:
        outputs = store.get(run, split=options.split, view=options.view)
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
        options.folder / options.name,
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
            group = logits[chosen], labels[chosen]
            row[f"top1_{name}"] = top1_accuracy(*group)
            row[f"ece_{name}"] = expected_calibration_error(*group, n_bins=bins)
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
