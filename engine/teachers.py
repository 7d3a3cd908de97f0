"""The teachers of some students, found by their cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from common.errors import UserError
from common.files import sha256
from engine.cells import TeacherCell
from engine.checkpoint import load_model
from engine.compute import Compute
from engine.config import StudentConfig
from engine.run import RunDirectory, Runs
from models.frozen_teachers import FrozenTeachers


@dataclass(frozen=True)
class Teachers:
    """K frozen teachers by name, and what a student's record says of each: file and SHA-256."""

    names: tuple[str, ...] = ()
    models: FrozenTeachers | None = None
    files: tuple[dict[str, str], ...] = ()

    def logits(self, images: torch.Tensor, *, teaching: bool = False) -> torch.Tensor | None:
        """(K, B, C) logits of normalised images (B, 3, H, W); None without teachers. `teaching`:
        a student learns from them."""
        return None if self.models is None else self.models(images, teaching=teaching)

    def rows(self, names: Sequence[str]) -> list[int]:
        """Where the teachers called `names` stand among the K."""
        return [self.names.index(name) for name in names]

    def record(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """File and SHA-256 of the teachers called `names`."""
        return {name: self.files[row] for name, row in zip(names, self.rows(names), strict=True)}


def load_teachers(configs: Sequence[StudentConfig], num_classes: int, compute: Compute) -> Teachers:
    """The frozen teachers that students of one data set need, each once.

    UserError when one is missing, unfinished, or made for other classes or another image size.
    """
    needed = {cell: config for config in configs for cell in config.parsed_cell.teachers}
    if not needed:
        return Teachers()
    paths = [
        finished_teacher(config, cell).checkpoint(config.teacher_checkpoint)
        for cell, config in needed.items()
    ]
    models = [compute.place(_load(cell, config, num_classes)) for cell, config in needed.items()]
    files = tuple({"file": str(path), "sha256": sha256(path)} for path in paths)
    by_batch = configs[0].teacher_batchnorm == "batch"  # of all: it is part of what they share
    return Teachers(tuple(map(str, needed)), FrozenTeachers(models, by_batch=by_batch), files)


def finished_teacher(config: StudentConfig, cell: TeacherCell) -> RunDirectory:
    """The run of a student's teacher; UserError where it is not finished."""
    run = Runs.beside(config).of_teacher(cell)
    if not run.is_finished():
        state = "is not finished" if run.has_begun() else "is missing"
        views = f" --views {config.views}" if config.views else ""
        raise UserError(
            f"teacher {cell} of {config.cell} {state} ({run.path}): run "
            f"python train_teacher.py --dataset {config.dataset}{views} --cell {cell}"
        )
    return run


def _load(cell: TeacherCell, config: StudentConfig, num_classes: int) -> nn.Module:
    run = finished_teacher(config, cell)
    path = run.checkpoint(config.teacher_checkpoint)
    header, model = load_model(path)
    if header.num_classes != num_classes:
        raise UserError(
            f"teacher {cell} ({path}) has {header.num_classes} classes, {config.dataset} has "
            f"{num_classes}: train it on this data set"
        )
    if header.image_size != config.image_size:
        raise UserError(
            f"teacher {cell} ({path}) was trained at {header.image_size} pixels, the student's "
            f"--image-size is {config.image_size}: they see the same views"
        )
    _check_statistics(cell, config, run)
    return model


def _check_statistics(cell: TeacherCell, config: StudentConfig, run: RunDirectory) -> None:
    """UserError when the teacher's inputs were normalised in another way than the student's."""
    saved = run.saved_settings()
    for name in ("mean", "std"):
        before, now = tuple(saved.get(name, ())), getattr(config, name)
        if before != now:
            raise UserError(
                f"teacher {cell} ({run.path}) was trained with --{name} {before}, the student has "
                f"{now}: they see the same inputs, so train one of them anew"
            )
