"""The affinity and diversity of views: their rows, their table and their figure."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import torch

from Affinity.affinity import affinity, diversity
from dataloader.views import GRID_LETTERS
from engine.cells import TeacherCell
from engine.run import RunDirectory
from evaluation.figures import affinity_figure
from evaluation.grid import named, of_each, open_grid
from evaluation.measures import AFFINITY
from evaluation.options import AffinityOptions
from evaluation.outputs import OutputStore
from evaluation.results import publish
from evaluation.tables import Row
from metrics.bootstrap import bootstrap_ratio
from metrics.shots import members


def publish_affinity(options: AffinityOptions) -> None:
    """Print and write a row for each model and view, and draw affinity against accuracy."""
    _, store, runs = open_grid(options)
    of_runs = of_each(
        runs, lambda run: [row(run, view, store) for view in own_view_first(run)], named
    )
    rows = list(itertools.chain.from_iterable(of_runs))
    most = "" if options.max_images is None else f"{options.max_images} evenly spaced "
    publish(
        options.folder / options.name,
        rows,
        AFFINITY,
        affinity_figure(rows),
        f"{most}test images, views of seed {options.view_seed}; affinity: top-1 under the "
        "view / under base (the random crop\nalone), with its 95% bootstrap interval; "
        "affinity_to_test: the clean test view below the line;\n"
        "diversity, of teachers: training loss under the view / under base",
        store.summary(),
        by=("cell", "view"),
        latex=options.latex == "yes",
    )


def own_view_first(run: RunDirectory) -> list[str]:
    """The views that train models, the run's own ahead: the paper's measure is of that one."""
    return list(dict.fromkeys([run.cell.view, *GRID_LETTERS.values()]))


def row(run: RunDirectory, view: str, store: OutputStore) -> Row:
    """Affinity (to the base and to the test view) of `view` for one model, and diversity for a
    teacher, which a pass over all training images is worth: None, with a word on stderr, where what
    it would be divided by is 0."""
    correct = {
        name: store.answers(run, view=name).correct.double() for name in (view, "base", "test")
    }
    top1 = {name: values.mean().item() for name, values in correct.items()}
    low, high = bootstrap_ratio(correct[view], correct["base"]) if top1["base"] else (None, None)
    ratios = {
        "affinity": _ratio(affinity, top1[view], top1["base"]),
        "affinity_to_test": _ratio(affinity, top1[view], top1["test"]),
    }
    if isinstance(run.cell, TeacherCell):
        losses = {name: _training_loss(run, name, store) for name in (view, "base")}
        ratios["diversity"] = _ratio(diversity, losses[view], losses["base"])
    if undefined := [name for name, value in ratios.items() if value is None]:
        print(
            f"undefined: {' and '.join(undefined)} of {named(run)} under the {view} view: what it "
            "divides by is 0",
            file=sys.stderr,
        )
    return {
        "cell": str(run.cell),
        "seed": run.seed,
        "view": view,
        "top1_view": top1[view],
        "top1_base": top1["base"],
        "top1_test": top1["test"],
        "affinity": ratios["affinity"],
        "affinity_low": low,
        "affinity_high": high,
        "affinity_to_test": ratios["affinity_to_test"],
        "diversity": ratios.get("diversity"),
        **_by_shots(run, view, correct[view], store),
        **store.stamp(run),
    }


def _ratio(
    measure: Callable[[float, float], float], augmented: float, reference: float
) -> float | None:
    return measure(augmented, reference) if reference else None


def _by_shots(run: RunDirectory, view: str, correct: torch.Tensor, store: OutputStore) -> Row:
    """Top-1 under the view over many-, medium- and few-shot classes, of a long-tailed set."""
    shot_groups = store.sources.shot_groups(run)
    if shot_groups is None:
        return {}
    groups = members(shot_groups, store.answers(run, view=view).labels)
    return {f"top1_view_{name}": correct[chosen].mean().item() for name, chosen in groups.items()}


def _training_loss(run: RunDirectory, view: str, store: OutputStore) -> float:
    return store.answers(run, split="train", view=view).nll_nats.mean().item()
