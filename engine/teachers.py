"""The teachers of some students, found by their cells."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from common.errors import UserError
from common.files import sha256
from common.settings import flag_of
from dataloader.views import Statistics
from engine.cells import TeacherCell
from engine.checkpoint import load_model, seeing
from engine.compute import Compute
from engine.config import TRAINED, Config, TrainConfig
from engine.flags import RECIPE_FOLDER
from engine.maps import check_maps, with_maps
from engine.objectives import objective_of
from engine.questions import questions_of
from engine.renormalised import renormalised
from engine.run import RunDirectory, Runs
from engine.source import Source
from losses.loss import Maps
from models.frozen_teachers import FrozenTeachers


@dataclass(frozen=True)
class Answers:
    """What K teachers say to a batch."""

    names: tuple[str, ...] = ()
    logits: torch.Tensor | None = None  # (K, B, C); None without teachers
    maps: tuple[Maps, ...] = ()  # of each

    def of(self, names: tuple[str, ...]) -> Answers:
        """Of all teachers' answers those of the ones called `names`. An index of a list would be a
        copy to the GPU, and a wait, at every step."""
        if names == self.names:
            return self
        if not names or self.logits is None:
            return Answers()
        rows = [self.names.index(name) for name in names]
        maps = tuple(self.maps[row] for row in rows if self.maps)
        return Answers(names, torch.stack([self.logits[row] for row in rows]), maps)

    def joined(self, others: Answers) -> Answers:
        """These, then those of other teachers."""
        if self.logits is None or others.logits is None:
            return others if self.logits is None else self
        logits = torch.cat([self.logits, others.logits])
        return Answers(self.names + others.names, logits, self.maps + others.maps)

    def replaced(self, others: Answers, chosen: torch.Tensor) -> Answers:
        """These, and those of `others`, of the same teachers, where `chosen` (B,) is True."""
        if self.logits is None or others.logits is None:
            return self
        logits = torch.where(chosen[:, None], others.logits, self.logits)
        pairs = zip(self.maps, others.maps, strict=True)
        return Answers(self.names, logits, tuple(_replaced(*pair, chosen) for pair in pairs))


def _replaced(kept: Maps, other: Maps, chosen: torch.Tensor) -> Maps:
    chosen = chosen[:, None, None, None]
    pairs = zip(kept.features, other.features, strict=True)
    features = tuple(torch.where(chosen, theirs, ours) for ours, theirs in pairs)
    if kept.classes is None or other.classes is None:
        return Maps(features)
    return Maps(features, torch.where(chosen, other.classes, kept.classes))


@dataclass(frozen=True)
class Teachers:
    """K frozen teachers by name (`questions_of`), and what a student's record says of each: file
    and SHA-256."""

    names: tuple[str, ...] = ()
    models: FrozenTeachers | None = None
    files: tuple[dict[str, str], ...] = ()

    def answer(
        self, images: torch.Tensor, needs: Collection[str] = (), *, teaching: bool = False
    ) -> Answers:
        """To normalised images (B, 3, H, W), with the maps that are needed. `teaching`: a student
        learns from them."""
        if self.models is None:
            return Answers()
        ask = partial(self.models, images, teaching=teaching, saved=bool(needs))
        return Answers(self.names, *with_maps([*self.models.teachers], needs, ask))

    def only(self, names: Collection[str]) -> Teachers:
        """Those called `names`."""
        rows = [row for row, name in enumerate(self.names) if name in names]
        if self.models is None or not rows:
            return Teachers()
        models = self.models.only(rows)
        return Teachers(
            tuple(self.names[row] for row in rows), models, tuple(self.files[row] for row in rows)
        )

    def record(self, heard: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """File and SHA-256 of the teachers that are heard: a cell's name to the name here."""
        return {cell: self.files[self.names.index(name)] for cell, name in heard.items()}


@dataclass(frozen=True)
class KnownTeachers:
    """Teachers whose logits are known for a view that is the same in every epoch."""

    teachers: Teachers
    logits: torch.Tensor | None  # (K, N, C) of N images, on the CPU; None without teachers

    def answer(
        self, index: torch.Tensor, images: torch.Tensor, needs: Collection[str], compute: Compute
    ) -> Answers:
        """To the images (B, 3, H, W) that have the numbers `index` (B,). Maps that are needed are
        asked for each time: to keep them would take too much memory."""
        if self.logits is None:
            return Answers()
        with compute.autocast():
            maps = self.teachers.answer(images, needs).maps if needs else ()
        return Answers(self.teachers.names, compute.send(self.logits[:, index]), maps)


def load_teachers(configs: Sequence[Config], num_classes: int, compute: Compute) -> Teachers:
    """The frozen teachers that runs of one data set need, each once.

    UserError when one is missing, unfinished, or made for other classes or another image size.
    """
    needed = {
        question: (cell, part, config)
        for config in configs
        for question, (cell, part) in questions_of(config).items()
    }
    if not needed:
        return Teachers()
    paths = [
        finished_teacher(config, cell).checkpoint(config.teacher_checkpoint)
        for cell, _, config in needed.values()
    ]
    models = {
        question: compute.place(_load(*asked, num_classes, compute.statistics))
        for question, asked in needed.items()
    }
    for config in configs:
        for question in questions_of(config):
            check_maps(models[question], objective_of(config).needs, question)
    files = tuple({"file": str(path), "sha256": sha256(path)} for path in paths)
    by_batch = configs[0].teacher_batchnorm == "batch"  # of all: it is part of what they share
    frozen = FrozenTeachers([*models.values()], by_batch=by_batch)
    return Teachers(tuple(models), frozen, files)


def finished_teacher(config: Config, cell: TeacherCell) -> RunDirectory:
    """The run of a teacher that is heard; UserError where it is not finished."""
    run = Runs.beside(config).of(cell, config.teacher_seed)
    if not run.is_finished():
        state = "is not finished" if run.has_begun() else "is missing"
        raise UserError(
            f"teacher {cell} of {config.cell} {state} ({run.path}): run {_command(config, run)}"
        )
    return run


def _command(config: Config, run: RunDirectory) -> str:
    """What trains the teacher `run` as students of `config` look for it."""
    same = ("dataset", "views", "cell", "seed", "output_dir", "data_path", "recipe", "variants")
    wanted = {**vars(config), "cell": run.cell, "seed": run.seed}
    recipe = str(RECIPE_FOLDER / f"{config.dataset.lower()}.yaml")  # found without a flag
    usual = {**vars(TrainConfig), "dataset": None, "recipe": recipe}
    given = [name for name in same if wanted[name] not in (None, usual[name])]
    words = [(flag_of(name), str(wanted[name])) for name in given]
    return shlex.join(["python", "train_teacher.py", *itertools.chain(*words)])


def _load(
    cell: TeacherCell, part: str, config: Config, num_classes: int, given: Statistics
) -> nn.Module:
    """The teacher, for inputs that are normalised by `given`."""
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
    renormalised(model, given, _statistics(config, run))
    return model if part == TRAINED else seeing(model, part, config.image_size, str(cell))


def _statistics(config: Config, run: RunDirectory) -> Statistics:
    """How the teacher's inputs were normalised."""
    saved = run.saved_settings()
    mean, std = (tuple(saved.get(name, ())) for name in ("mean", "std"))
    return dataclasses.replace(Source.of(vars(config)), mean=mean, std=std).statistics
