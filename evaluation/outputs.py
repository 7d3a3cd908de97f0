"""What each model says of each image, computed once and kept beside its run.

runs/<dataset>/<cell>/seed<k>/outputs/<split>-<view>.npz holds answers, <split>-<view>-maps.npz low
resolution attention maps, <split>-<view>-features.npz what the classifier is given. All are made
from one forward pass, on the same pixels for every model, and made again when anything that they
are a function of changes (`OutputStore._key`). Every measure is arithmetic on these files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import UserError
from dataloader.images import Images, evenly_spaced
from dataloader.loader import Batch, ViewDataset, ViewLoader
from dataloader.worker_processes import living_workers
from engine.cells import Cell, TeacherCell
from engine.checkpoint import blamed_on, load_model, seeing
from engine.compute import Compute, enough_memory, pick_device
from engine.config import TRAINED
from engine.data import shot_groups_of
from engine.environment import commit
from engine.progress import Progress
from engine.questions import parts_heard
from engine.renormalised import renormalised
from engine.run import RunDirectory
from engine.source import Source
from evaluation.answers import (
    MOST_FEATURES,
    SUFFIXES,
    Answers,
    AnyKept,
    AttentionMaps,
    Features,
    Kept,
    SeenFeatures,
    collect,
    read,
    size_of,
    write,
)
from evaluation.held_views import HeldViews
from evaluation.options import MeasureOptions
from evaluation.tables import CheckpointHashes, Row
from metrics.attention import says_where, source_of
from metrics.representations import before_classifier
from models.parts import WHOLE
from models.rehearsal import rehearsal


class Sources:
    """Images by run and split; each split is read once."""

    def __init__(self, options: MeasureOptions) -> None:
        self.options = options
        self._splits: dict[tuple[Any, ...], Images] = {}
        self._fingerprints: dict[tuple[Any, ...], str] = {}
        self._asked: dict[RunDirectory, dict[str, Any]] = {}
        self._shot_groups: dict[tuple[Any, ...], torch.Tensor | None] = {}
        self._views = HeldViews()

    def of(self, run: RunDirectory) -> Source:
        """Where the run's images come from."""
        return Source.of(self._settings(run))

    def images(self, source: Source, split: str) -> Images:
        """Those of a split, or of them the evenly spaced ones that `--max-images` leaves."""
        key = (*source.which, split)
        if key not in self._splits:
            images = source.images(split)
            if self.options.max_images is not None:
                images = images.subset(evenly_spaced(len(images), self.options.max_images))
            self._splits[key] = images
        return self._splits[key]

    def fingerprint(self, source: Source, split: str) -> str:
        """A text that differs where they do."""
        key = (*source.which, split)
        if key not in self._fingerprints:
            self._fingerprints[key] = self.images(source, split).fingerprint()
        return self._fingerprints[key]

    def shot_groups(self, run: RunDirectory) -> torch.Tensor | None:
        """(C,) many-, medium- or few-shot group of each class; None for a balanced set."""
        source = self.of(run)
        if source.which not in self._shot_groups:
            self._shot_groups[source.which] = shot_groups_of(source.load("train"))
        return self._shot_groups[source.which]

    def loader(self, run: RunDirectory, source: Source, split: str, view: str) -> ViewLoader:
        """Their views, in order, by as many processes as `run` had."""
        settings = self._settings(run)
        return ViewLoader(
            self.images(source, split),
            source.view(view),
            seed=self.options.view_seed,
            batch_size=self.options.batch_size,
            workers=settings["workers"],
            pin_memory=pick_device(self.options.device).type == "cuda",
            on_bad_image=settings["on_bad_image"],
        )

    def batches(self, loader: ViewLoader, source: Source, split: str) -> Iterator[Batch]:
        """What the loader of a split makes; the next model is asked about the same views without
        making them anew."""
        how = loader.view.description, loader.on_bad_image
        return self._views.batches((*source.which, split, *how), loader)

    def picture(self, source: Source, split: str, view: str, index: int) -> torch.Tensor:
        """What a model sees of the image at `index`: (3, H, W) uint8."""
        images = self.images(source, split)
        views = ViewDataset(images, source.view(view), seed=self.options.view_seed)
        return views[0, index][1]

    def part_heard(self, student: RunDirectory, cell: Cell) -> str:
        """The part of the images about which `student` asked its teacher `cell`; for anyone else
        the one that it was trained on."""
        teachers_see = self._settings(student).get("teachers_see", TRAINED)
        parts = parts_heard(teachers_see, student.cell.teachers)
        return next((part for teacher, part in parts.items() if teacher == cell), TRAINED)

    def part_seen(self, run: RunDirectory, like: RunDirectory) -> str:
        """The part of the images that a run's model looks at where it is asked as `like` asks."""
        part = self.part_heard(like, run.cell)
        return self._settings(run).get("sees", WHOLE) if part == TRAINED else part

    def _settings(self, run: RunDirectory) -> dict[str, Any]:
        """The run's settings (a default where it is older than one) under the options."""
        if run not in self._asked:  # of a finished run they stay as they are
            self._asked[run] = self.options.settings_of(run.saved_settings())
        return self._asked[run]


FORMAT = 3  # of the files; a change makes all outputs anew
# A class map takes at most 8 x 8 half-precision values, so that a model's maps fit in 256 MiB:
# all test images of CIFAR-100, some 2,000 evenly spaced ones of ImageNet.
MAP_BYTES = 2**28
BYTES_PER_CLASS_MAP = 8 * 8 * 2
LOGIT_BYTES = 2**28  # all of ImageNet's validation images, and not its training images
HELD_BYTES = 2**30  # of all outputs that are in memory


@dataclass(frozen=True)
class Wanted:
    """A model, and the images and view that it is asked about: those of a source, which is the
    model's own run's or, where several models are compared, one for all."""

    run: RunDirectory
    source: Source
    split: str
    view: str
    part: str = TRAINED  # of the images that it looks at, if not the one that it was trained on


@dataclass
class OutputStore:
    """Outputs of a data set's runs: read where they are current, else computed and kept."""

    options: MeasureOptions
    forward_passes: list[Path] = field(default_factory=list)  # the file that each one filled
    reused: set[Path] = field(default_factory=set)
    hashes: CheckpointHashes = field(default_factory=CheckpointHashes)
    _held: dict[tuple[Path, str], AnyKept] = field(default_factory=dict, repr=False)

    @cached_property
    def sources(self) -> Sources:
        """Where images come from."""
        return Sources(self.options)

    def answers(
        self,
        run: RunDirectory,
        *,
        split: str = "test",
        view: str = "test",
        like: RunDirectory | None = None,
    ) -> Answers:
        """The answers of `run`'s checkpoint to every image of the split under the view: of its own
        run's, or of the run `like`, whose teachers are asked as they taught it."""
        wanted = self._wanted(run, split, view, like)
        return self._kept(wanted, Answers) or self._forward(wanted)[0]

    def maps(
        self,
        run: RunDirectory,
        *,
        split: str = "test",
        view: str = "test",
        like: RunDirectory | None = None,
    ) -> AttentionMaps | None:
        """Where it looks on evenly spaced images of these; None where its net has no maps, or maps
        of a single position on such images, or none are to be kept (`--maps 0`)."""
        if self.options.maps == 0:
            return None
        wanted = self._wanted(run, split, view, like)
        kept = self._kept(wanted, AttentionMaps)
        if kept is None and source_of(self._model(wanted)):
            kept = self._forward(wanted, AttentionMaps)[1]
        return kept if kept is not None and says_where(kept.class_sum) else None

    def features(
        self,
        run: RunDirectory,
        *,
        split: str = "test",
        view: str = "test",
        like: RunDirectory | None = None,
    ) -> Features | None:
        """What its classifier is given of evenly spaced images of these; None where it is not known
        which layer of its net that is."""
        wanted = self._wanted(run, split, view, like)
        kept = self._kept(wanted, Features)
        if kept is None:
            known = before_classifier(*rehearsal(self._model(wanted), wanted.source.image_size))
            kept = self._forward(wanted, Features)[2] if known else None
        return kept

    def model(self, run: RunDirectory, *, like: RunDirectory) -> nn.Module:
        """The net of the run's checkpoint, for test views as those of `like` are normalised."""
        return self._model(self._wanted(run, "test", "test", like))

    def _wanted(
        self, run: RunDirectory, split: str, view: str, like: RunDirectory | None
    ) -> Wanted:
        part = self.sources.part_heard(like, run.cell) if like else TRAINED
        return Wanted(run, self.sources.of(like or run), split, view, part)

    def images(self, like: RunDirectory, split: str) -> Images:
        """The images that models are asked about."""
        return self.sources.images(self.sources.of(like), split)

    def checkpoint(self, run: RunDirectory) -> Path:
        """The file that is measured: of a kept epoch a student's; its teachers have epochs of their
        own, and are measured at their last."""
        which = self.options.checkpoint
        taught = which.startswith("epoch") and isinstance(run.cell, TeacherCell)
        return run.checkpoint("last" if taught else which)

    def stamp(self, *runs: RunDirectory) -> Row:
        """Where a row's numbers come from: how they were asked for, the code's commit, and the
        SHA-256 of each checkpoint by its place among the runs."""
        paths = [self.checkpoint(run) for run in dict.fromkeys(runs)]
        names = [path.relative_to(self.options.folder).as_posix() for path in paths]
        hashes = dict(zip(names, map(self.hashes.of, paths), strict=True))
        return {"asked": self.options.asked, "commit": self._commit, "checkpoints": hashes}

    def summary(self) -> str:
        """How many models were run and how many outputs were there already."""
        repeated = len(self.forward_passes) - len(set(self.forward_passes))
        reused = len(self.reused - set(self.forward_passes))
        return (
            f"forward passes: {len(self.forward_passes)} (a model over a split under a view; "
            f"{repeated} repeated), outputs read from disk: {reused}"
        )

    @cached_property
    def _commit(self) -> str:
        return commit()

    def _kept(self, wanted: Wanted, kind: type[Kept]) -> Kept | None:
        """What is in memory or on disk and current."""
        path, key = self._path(wanted, kind), self._key(wanted, kind)
        if isinstance(held := self._held.get((path, key)), kind):
            return held
        if (kept := read(path, key, kind)) is not None:
            self.reused.add(path)
            self._hold(path, key, kept)
        return kept

    def _keep(self, wanted: Wanted, made: AnyKept) -> None:
        path, key = self._path(wanted, type(made)), self._key(wanted, type(made))
        write(path, key, made)
        self._hold(path, key, made)

    def _hold(self, path: Path, key: str, kept: AnyKept) -> None:
        """In memory, where the oldest make room for it."""
        self._held[path, key] = kept
        while len(self._held) > 1 and sum(map(size_of, self._held.values())) > HELD_BYTES:
            self._held.pop(next(iter(self._held)))

    def _key(self, wanted: Wanted, kind: type) -> str:
        """All that outputs are a function of: the checkpoint, what the view does and its seed, the
        images and labels, the precision, and the format of the file; of maps and features their
        number too."""
        checkpoint = self.checkpoint(wanted.run)
        if not checkpoint.is_file():
            raise UserError(
                f"{checkpoint} is gone: put it back from a copy, or train the cell anew with "
                "--resume never"
            )
        what = {
            "format": FORMAT,
            "checkpoint": self.hashes.of(checkpoint),
            "view": wanted.source.view(wanted.view).description,
            "view_seed": self.options.view_seed,
            "images": self.sources.fingerprint(wanted.source, wanted.split),
            "precision": "float32",
            "device": pick_device(self.options.device).type,  # its last digits are its own
        }
        trained = self.sources.of(wanted.run).statistics
        if trained != wanted.source.statistics:
            what["normalised"] = [trained.mean, trained.std]
        if wanted.part != TRAINED:
            what["part"] = wanted.part
        if kind is AttentionMaps:
            what["maps"] = len(self._mapped(wanted))
        if kind is Features:
            what["features"] = len(self._featured(wanted))
        return json.dumps(what)

    def _path(self, wanted: Wanted, kind: type) -> Path:
        """Outputs on other images than the run's own have a file of their own."""
        options = self.options
        parts = [wanted.split, wanted.view]
        parts += [f"seed{options.view_seed}"] if options.view_seed else []
        parts += [options.checkpoint] if options.checkpoint != "last" else []
        parts += [f"{options.max_images}images"] if options.max_images else []
        parts += [wanted.part] if wanted.part != TRAINED else []
        if wanted.source != self.sources.of(wanted.run):
            parts.append(hashlib.sha256(repr(wanted.source).encode()).hexdigest()[:8])
        return wanted.run.outputs / ("-".join(parts) + SUFFIXES[kind])

    def _model(self, wanted: Wanted) -> nn.Module:
        """For inputs that are normalised as the source's are, whatever it was trained on."""
        path, size = self.checkpoint(wanted.run), wanted.source.image_size
        header, model = load_model(path)
        classes = self.sources.images(wanted.source, wanted.split).num_classes
        if header.num_classes != classes:
            raise UserError(
                f"{path} knows {header.num_classes} classes, the images are of {classes}: "
                "--data-path names those that it was trained on"
            )
        trained = self.sources.of(wanted.run).statistics
        renormalised(model, wanted.source.statistics, trained)
        if wanted.part != TRAINED:
            model = seeing(model, wanted.part, size, str(wanted.run.cell))
        if size != header.image_size:
            with blamed_on(f"{path} ({header.arch}), asked about images of {size} pixels: "):
                rehearsal(model, size)
        return model

    def _forward(
        self, wanted: Wanted, kind: type = Answers
    ) -> tuple[Answers, AttentionMaps | None, Features | None]:
        """Ask the model. Along with its answers are kept what of it is asked for, and, under the
        test view, where they are usually compared, its maps and its features."""
        model = self._model(wanted)
        usual, none = (wanted.split, wanted.view) == ("test", "test"), torch.empty(0).long()
        look = (usual or kind is AttentionMaps) and source_of(model) is not None
        featured = self._featured(wanted) if usual or kind is Features else none
        seen = SeenFeatures(model, wanted.source.image_size, featured)
        compute = Compute.measuring(self.options.device, wanted.source.statistics)
        loader = self.sources.loader(wanted.run, wanted.source, wanted.split, wanted.view)
        name = f"{wanted.run.path} {wanted.split} {wanted.view}"
        progress = Progress(name, total=len(loader), done=0, logs=[])
        remedy = "a smaller --batch-size"
        with living_workers(), closing(progress), enough_memory(f"{name} asked", remedy):
            answers, maps = collect(
                compute.place(model),
                _counted(self.sources.batches(loader, wanted.source, wanted.split), progress),
                compute,
                most=len(loader.images),
                mapped=self._mapped(wanted) if look else none,
                keep_logits=self._keeps_logits(wanted),
                watch=seen.of,
            )
        if not _all_finite(answers, maps):
            checkpoint = self.checkpoint(wanted.run)
            raise UserError(f"{checkpoint} answers with NaN or infinity: train it anew")
        features = seen.so_far()
        everything = answers, maps, features and features.halved()
        for made in everything:
            if made is not None:
                self._keep(wanted, made)
        self.forward_passes.append(self._path(wanted, Answers))
        return everything

    def _mapped(self, wanted: Wanted) -> torch.Tensor:
        """Evenly spaced images whose maps are kept: as many as MAP_BYTES hold, or as asked."""
        images = self.sources.images(wanted.source, wanted.split)
        most = MAP_BYTES // (BYTES_PER_CLASS_MAP * images.num_classes)
        if self.options.maps is not None:
            most = self.options.maps
        return torch.from_numpy(evenly_spaced(len(images), most))

    def _featured(self, wanted: Wanted) -> torch.Tensor:
        """Evenly spaced images whose features are kept."""
        images = self.sources.images(wanted.source, wanted.split)
        return torch.from_numpy(evenly_spaced(len(images), MOST_FEATURES))

    def _keeps_logits(self, wanted: Wanted) -> bool:
        images = self.sources.images(wanted.source, wanted.split)
        return 4 * len(images) * images.num_classes <= LOGIT_BYTES


def _all_finite(answers: Answers, maps: AttentionMaps | None) -> bool:
    looked = [] if maps is None else [maps.of_class, maps.class_sum]
    figures = [answers.nll_nats, answers.entropy_nats, *looked]
    return all(bool(torch.isfinite(figure).all()) for figure in figures)


def _counted(batches: Iterable[Batch], progress: Progress) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        progress.step()
