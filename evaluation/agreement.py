"""The agreement of every pair of a student's models: its rows, its table and its figure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from engine.run import RunDirectory
from evaluation.calculate_agreement import AgreementOptions
from evaluation.figures import fidelity_figure
from evaluation.grid import Grid, open_grid
from evaluation.outputs import OutputStore
from evaluation.results import publish
from evaluation.table import Row
from metrics.agreement import (
    agreement_per_sample,
    ensemble_logits,
    js_divergence_per_sample,
    kl_divergence_per_sample,
    top1_agreement,
)
from metrics.bootstrap import means_with_intervals
from metrics.information import (
    mutual_information,
    mutual_information_chance_floor,
    predictive_entropy_per_sample,
)
from metrics.reference import (
    batch_averaged_mutual_information,
    reference_kl_student_to_teacher_times_10,
)
from metrics.shots import SHOT_GROUPS, members

STUDENT = "S"
ENSEMBLE = "ensemble"
COLUMNS = (
    "cell", "seed", "pair", "fidelity", "fidelity_low", "fidelity_high",
    *(f"fidelity_{name}" for name in SHOT_GROUPS), "kl_p_to_q_nats", "kl_q_to_p_nats", "js_nats",
    "mutual_information_nats", "chance_floor_nats",
)  # fmt: skip


def publish_agreement(options: AgreementOptions) -> None:
    """Print and write a row for each pair of each student cell."""
    grid, store, runs = open_grid(options)
    rows = [row for run in grid.with_teachers(runs) for row in cell_rows(run, grid, store)]
    publish(
        options.folder / options.name,
        rows,
        COLUMNS,
        fidelity_figure([row for row in rows if row["pair"] == f"{ENSEMBLE}-{STUDENT}"]),
        "test images, test view; a pair p-q: teachers by name, their mean logits (ensemble), the "
        f"student ({STUDENT});\nmutual information of the predicted labels by Grassberger's "
        "estimator, its chance floor by the plug-in one",
        store.summary(),
        by=("cell", "pair"),
    )  # fmt: skip


def cell_rows(run: RunDirectory, grid: Grid, store: OutputStore) -> Iterator[Row]:
    """The rows of a student: teachers with it, the ensemble with it, and teachers among them."""
    teachers = {str(t.cell): store.get(t).logits for t in grid.teachers(run.cell.teachers)}
    outputs = store.get(run)
    student = outputs.logits
    groups = store.shot_groups
    shots = {} if groups is None else members(groups, outputs.labels)
    models = {**teachers, ENSEMBLE: ensemble_logits(torch.stack(list(teachers.values())))}
    pairs = [(name, STUDENT) for name in models]
    if len(teachers) > 1:
        pairs += [*itertools.combinations(teachers, 2), *((ENSEMBLE, name) for name in teachers)]
    models[STUDENT] = student
    for p, q in pairs:
        yield {
            "cell": str(run.cell),
            "seed": run.seed,
            "pair": f"{p}-{q}",
            **pair_measures(models[p], models[q]),
            **{
                f"fidelity_{name}": top1_agreement(models[p][chosen], models[q][chosen])
                for name, chosen in shots.items()
            },
        }


def pair_measures(p: torch.Tensor, q: torch.Tensor) -> Row:
    """Every measure of two models' logits (N, C), with 95% intervals of those that are means."""
    per_sample = {
        "fidelity": agreement_per_sample(p, q),
        "kl_p_to_q_nats": kl_divergence_per_sample(p, q),
        "kl_q_to_p_nats": kl_divergence_per_sample(q, p),
        "js_nats": js_divergence_per_sample(p, q),
        "entropy_p_nats": predictive_entropy_per_sample(p),
        "entropy_q_nats": predictive_entropy_per_sample(q),
    }
    labels = (p.argmax(1), q.argmax(1), p.shape[1])
    return means_with_intervals(per_sample) | {
        "mutual_information_nats": mutual_information(*labels, correction="grassberger"),
        "mutual_information_plug_in_nats": mutual_information(*labels),
        "mutual_information_miller_madow_nats": mutual_information(
            *labels, correction="miller_madow"
        ),
        "chance_floor_nats": mutual_information_chance_floor(*labels),
        "reference_mutual_information_by_batch_nats": batch_averaged_mutual_information(*labels),
        "reference_kl_q_to_p_times_10": reference_kl_student_to_teacher_times_10(q, p),
    }
