"""A student's teachers, found by their cells' names."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from engine.cells import TeacherCell
from engine.checkpoint import load_model
from engine.compute import Compute
from engine.config import StudentConfig
from engine.errors import RunError
from engine.files import sha256
from engine.run import RunDirectory
from models.frozen_teachers import FrozenTeachers


def load_teachers(
    config: StudentConfig, num_classes: int, compute: Compute
) -> FrozenTeachers | None:
    """The frozen teachers of `config.cell`, in its order; None for a baseline.

    RunError when one is missing, unfinished, or made for other classes or another image size.
    """
    cells = config.parsed_cell.teachers
    if not cells:
        return None
    return FrozenTeachers([compute.place(_load(config, cell, num_classes)) for cell in cells])


def teacher_hashes(config: StudentConfig) -> dict[str, dict[str, str]]:
    """File and SHA-256 of each teacher, for the student's record."""
    files = {str(cell): _file(config, cell) for cell in config.parsed_cell.teachers}
    return {name: {"file": str(path), "sha256": sha256(path)} for name, path in files.items()}


def _load(config: StudentConfig, cell: TeacherCell, num_classes: int) -> nn.Module:
    path = _file(config, cell)
    header, model = load_model(path)
    if header.num_classes != num_classes:
        raise RunError(
            f"teacher {cell} ({path}) has {header.num_classes} classes, {config.dataset} has "
            f"{num_classes}: train it on this data set"
        )
    if header.image_size != config.image_size:
        raise RunError(
            f"teacher {cell} ({path}) was trained at {header.image_size} pixels, the student's "
            f"--image-size is {config.image_size}: they see the same views"
        )
    return model


def _file(config: StudentConfig, cell: TeacherCell) -> Path:
    run = RunDirectory.of_teacher(config, cell)
    if not run.is_finished():
        state = "is not finished" if run.config.is_file() else "is missing"
        raise RunError(
            f"teacher {cell} of {config.cell} {state} ({run.path}): run "
            f"python train_teacher.py --dataset {config.dataset} --cell {cell}"
        )
    return run.checkpoint(config.teacher_checkpoint)
