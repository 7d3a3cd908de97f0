"""From finished runs to a replicate's two small files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from engine.cells import StudentCell, parse_teacher
from engine.config import StudentConfig
from engine.environment import code_at, commit
from engine.run import RunDirectory
from evaluation import described
from evaluation.grid import open_grid
from evaluation.judging import Measured
from evaluation.options import MeasureOptions
from evaluation.outputs import OutputStore
from evaluation.replicate import Replicate
from evaluation.study_figures import (
    FIGURES,
    HALVES,
    KL,
    PAIRS,
    SAME_HALF,
    SHUFFLED,
    WEAK_PAIRS,
    WW,
    measured_by,
    students,
)
from evaluation.study_files import ReplicateFile, write_replicate

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
