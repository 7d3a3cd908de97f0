"""The study's replicates, from runs to small files, and from those to endpoints.csv and .md."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from common.files import write_text
from engine.cells import StudentCell, parse_teacher
from engine.config import StudentConfig
from engine.environment import code_at, commit
from engine.run import RunDirectory
from evaluation import described, judging
from evaluation.grid import open_grid
from evaluation.judging import Measured, judged_rows, ratio_sentence
from evaluation.options import MeasureOptions
from evaluation.outputs import OutputStore
from evaluation.replicate import Replicate
from evaluation.study_figures import (
    FIGURES,
    HALVES,
    KL,
    PAIRS,
    RANKS,
    SAME_HALF,
    SHUFFLED,
    WEAK_PAIRS,
    WW,
    measured_by,
    students,
)
from evaluation.study_files import (
    ReplicateFile,
    codes_alike,
    one_study,
    read_replicate,
    write_replicate,
)
from evaluation.tables import Row, format_table, write_table

SINGLES = [(parse_teacher(name),) for name in ("T1w", "T2w", "T1s", "T2s")]
TEACHERS = ((), *SINGLES, *PAIRS, *WEAK_PAIRS[1:], HALVES, SAME_HALF)
STUDENTS: tuple[StudentCell, ...] = (
    *(cell for teachers in TEACHERS for cell in students(teachers)),
    *students(WW, KL),
    *students(WW, SHUFFLED),
)
TRAINING = ("common", "dataloader", "engine", "losses", "metrics", "models", "train_student.py",
            "train_teacher.py")  # fmt: skip
MEASURING = (*TRAINING, "evaluation")  # what figures are a function of
OF_A_REPLICATE = ("seed", "teacher_seed", "cell")  # settings in which replicates differ
PLANNED, LEAST = range(1, 11), 8  # replicates, and how many of them a verdict needs
RULE = (
    "Endpoints, figures and rules are those of [results/README.md](../README.md), written before "
    "the first run. Supported: estimate above 0 and p below .05, contradicted: below 0 and so; "
    "the p of primary endpoints is Holm's over the three, and an endpoint of two figures has the "
    "larger p of both. Intervals know the spread over replicates and the choice of test images. "
    "Teachers, initial weights and orders are drawn anew in each replicate; training images are "
    "not: **every verdict is given these training images**, this net and this recipe. Within a "
    "replicate models share initial weights: contrasts are paired, cells are not independent."
)
HEADINGS = {
    "primary": "Primary endpoints",
    "secondary": "Secondary, without correction",
    "exploratory": "Exploratory: nothing here was chosen beforehand, and nothing is corrected",
}


def write_replicates(options: MeasureOptions, folder: Path) -> None:
    """Two files for each seed; UserError names the first run that is missing."""
    cells = tuple(map(str, STUDENTS))
    grid, store, _ = open_grid(dataclasses.replace(options, cells=cells))
    for seed in options.seeds:
        like = grid.runs.of(STUDENTS[0], seed)
        replicate = Replicate(grid, store, seed, seed, like)
        rows = described.described(replicate, STUDENTS)
        measured = {figure.name: Measured.of(measured_by(figure, replicate)) for figure in FIGURES}
        facts = _facts(store, replicate)
        paths = write_replicate(folder, ReplicateFile(facts, measured, rows))
        print(f"replicate {seed}:", ", ".join(map(str, paths)))


def publish_endpoints(folder: Path) -> None:
    """Judge the replicates of the folder; print the primary and secondary ones."""
    files = {path: read_replicate(path) for path in sorted(folder.glob("replicate_*.csv"), key=_by)}
    if not files:
        raise UserError(f"no replicate in {folder}: python -m evaluation.study --write --seeds 1")
    one_study(files, codes_alike(folder))
    kept = list(files.values())
    measured = {
        name: [file.measured[name] for file in kept if name in file.measured]
        for name in (figure.name for figure in FIGURES)
    }
    rows = judged_rows(measured)
    page = folder / "endpoints.md"
    write_text(page, _page(kept, rows, ratio_sentence(measured)))
    paths = [*write_table(folder / "endpoints", rows), page]
    shown = [row for row in rows if row["rank"] != RANKS[-1]]
    print(format_table(shown, ("figure", "rank", "estimate", "low", "high", "p", "p_holm",
                               "replicates", "verdict")))  # fmt: skip
    print("results:", ", ".join(map(str, paths)))


def _by(path: Path) -> tuple[int, str]:
    """2 before 10."""
    return len(path.name), path.name


def _facts(store: OutputStore, replicate: Replicate) -> dict[str, str]:
    asked, now = store.options.asked, commit().split()[0]
    runs = [replicate.used[cell] for cell in sorted(replicate.used, key=str)]
    commits = {session.get("commit", "unknown").split()[0]
               for run in runs for session in run.read_environment()["sessions"]}  # fmt: skip
    return {
        "replicate": str(replicate.seed),
        "images": str(replicate.images),
        "trained at": " ".join(sorted(commits)),
        "measured at": now,
        "training code": " ".join(sorted({code_at(made_at, TRAINING) for made_at in commits})),
        "measuring code": code_at(now, MEASURING),
        "settings": _digest([asked, *map(_settings, runs)]),
        "data": _digest([_data(store, replicate.like, split) for split in ("train", "test")]),
    }


def _settings(run: RunDirectory) -> tuple[str, dict[str, object]]:
    """Those that make the run what it is, in every replicate the same."""
    left_out = {field.name for field in dataclasses.fields(StudentConfig)
                if field.metadata["operational"]} | set(OF_A_REPLICATE)  # fmt: skip
    saved = run.saved_settings()
    return str(run.cell), {name: saved[name] for name in sorted(saved.keys() - left_out)}


def _data(store: OutputStore, like: RunDirectory, split: str) -> str:
    """Of the pixels that a net is tested on, whatever files they come from, and the labels."""
    images, source = store.images(like, split), store.sources.of(like)
    digest = hashlib.sha256(images.labels.tobytes())
    for index in range(len(images)):
        digest.update(store.sources.picture(source, split, "test", index).numpy().tobytes())
    return digest.hexdigest()


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _page(kept: Sequence[ReplicateFile], rows: Sequence[Row], ratio: str) -> str:
    facts = kept[0].facts
    numbers = ", ".join(file.facts["replicate"] for file in kept)
    lines = ["# The study: endpoints", "", RULE, "",
             f"Replicates {numbers}: n = {len(kept)}; {facts['images']} test images. "
             f"Trained at {_commits(kept, 'trained at')}, "
             f"measured at {_commits(kept, 'measured at')}."]  # fmt: skip
    lines += _missing(kept)
    for rank in RANKS:
        of_rank = [row for row in rows if row["rank"] == rank]
        lines += ["", f"## {HEADINGS[rank]}", "", *judging.markdown(of_rank)]
    lines += ["", ratio, *described.sections([file.cells for file in kept])]
    return "\n".join([*lines, ""])


def _missing(kept: Sequence[ReplicateFile]) -> list[str]:
    """A paragraph on those that were planned and are not there."""
    there = {file.facts["replicate"] for file in kept}
    missing = [str(number) for number in PLANNED if str(number) not in there]
    if not missing:
        return []
    few = f" **Fewer than {LEAST}: no verdict of the study yet.**" if len(kept) < LEAST else ""
    return ["", f"Planned and not there: {', '.join(missing)}.{few}"]


def _commits(kept: Sequence[ReplicateFile], fact: str) -> str:
    commits = {commit for file in kept for commit in file.facts[fact].split()}
    return " ".join(sorted(commits))
