"""Models from elsewhere, measured as the grid's are: the rows, and how they are handed over."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from common.errors import UserError
from evaluation.agreement_table import ENSEMBLE, alignment, compared, pair_measures
from evaluation.answers import Answers, Collected, Features, answers_of, by_rows, of_target
from evaluation.calibration_table import calibration, reliability_of
from evaluation.figures import reliability_figure, saved
from evaluation.latex import write_latex
from evaluation.measures import (
    AGREEMENT,
    CALIBRATION,
    INFORMATION,
    OVERLAP,
    REPRESENTATIONS,
    RUN_INFORMATION,
)
from evaluation.model_files import Maps, ModelFile
from evaluation.model_options import USUAL_SIZE, ModelOptions
from evaluation.overlap_table import constant_maps, overlap_measures, tell_constant_maps
from evaluation.results import screen
from evaluation.tables import Column, Row, write_table
from metrics.agreement import ensemble_logits
from metrics.overlap import RecentMasks, binarize

INTERVAL = tuple(Column(f"mutual_information_nats_{end}") for end in ("low", "high"))
GROUPS = (  # each a table on the screen, of the pairs that have its first column
    AGREEMENT,
    (*INFORMATION, *INTERVAL),
    (*OVERLAP["T_T"], Column("maps")),
    REPRESENTATIONS,
)
NOTE = (
    "intervals at 95%; ECE over {bins} equal-width bins; a pair p, q: KL(p || q) and the other "
    "way in nats;\nensemble: mean logits{of}; mutual information of the predicted labels by "
    "Grassberger's estimator, its chance\nfloor by the plug-in one"
)
MAPS_NOTE = (
    "; iou: of maps at {threshold} of their range, {size} pixels,\nof the class that the ensemble "
    "predicts where maps have classes; iou_chance: each mask from another image"
)
BESIDE = ("reliability.png", "pairs.csv", "pairs.json", "pairs.tex", "models.tex")  # not always


@dataclass(frozen=True)
class Models:
    """Models of the same images. labelled: whether the images' labels are known; those in the
    answers say nothing where they are not."""

    answers: dict[str, Answers]
    maps: dict[str, Maps]
    features: dict[str, Features]
    student: str | None
    labelled: bool

    @classmethod
    def of(cls, files: Sequence[ModelFile], student: str | None) -> Models:
        """UserError where no file is called `student`, or a name is taken."""
        names = [file.name for file in files]
        if student is not None and student not in names:
            raise UserError(f"--student {student} is none of {', '.join(names)}")
        if names == [student]:
            raise UserError(f"--student {student} is the only model: give its teachers too")
        if len(set(names)) < len(names):
            raise UserError("two models have one name: name each, NAME=FILE")
        if ENSEMBLE in names:
            raise UserError(f"{ENSEMBLE} is what the mean is called: name the file otherwise")
        return cls(
            {file.name: _answers(file) for file in files},
            {file.name: file.maps for file in files if file.maps is not None},
            {file.name: file.features for file in files if file.features is not None},
            student,
            files[0].labels is not None,
        )

    @property
    def teachers(self) -> list[str]:
        """All but the student."""
        return [name for name in self.answers if name != self.student]

    @property
    def members(self) -> tuple[Answers, ...]:
        """The teachers' answers, whose mean the ensemble is."""
        return tuple(self.answers[name] for name in self.teachers)

    def ensemble(self) -> Answers:
        """Its answers, without logits."""
        first = self.members[0]
        collected = Collected(len(first.labels))
        for rows in by_rows(len(first.labels)):
            logits = [
                member.logits[rows].double() for member in self.members if member.logits is not None
            ]
            mean = ensemble_logits(torch.stack(logits))
            collected.add(answers_of(first.index[rows], first.labels[rows], mean, False))
        return collected.so_far()


def publish_models(files: Sequence[ModelFile], options: ModelOptions, *notes: str) -> None:
    """Print and write the tables of the models and of their pairs, and draw what belongs to it,
    once all is known. What an earlier call left there of other models goes."""
    models, folder = Models.of(files, options.student), Path(options.output_dir)
    shown = dict(models.answers)
    if len(models.teachers) > 1:
        shown[ENSEMBLE] = models.ensemble()
    rows = [_model_row(name, answers, models, options.bins) for name, answers in shown.items()]
    size = options.image_size or _size(models)
    pairs = pair_rows(models, shown, size, options.threshold)
    paths = write_table(folder / "models", rows)
    print(screen(rows, _present(rows, ["model"], (*CALIBRATION, *RUN_INFORMATION))))
    if models.labelled:
        diagrams = {name: reliability_of(answers, options.bins) for name, answers in shown.items()}
        paths.append(saved(reliability_figure(diagrams), folder / "reliability.png", dpi=110))
    if pairs:
        paths += write_table(folder / "pairs", pairs)
        tell_constant_maps(pairs, "{p} and {q}")
    if options.latex == "yes":
        paths += _latex(folder, rows, pairs)
    for earlier in {folder / name for name in BESIDE}.difference(paths):
        earlier.unlink(missing_ok=True)
    for columns in GROUPS:
        if measured := [row for row in pairs if columns[0].key in row]:
            print("\n" + screen(measured, _present(measured, ["p", "q"], columns)))
    for note in notes:
        print(note)
    print(_note(models, options, size if any("iou" in row for row in pairs) else None))
    print("results:", ", ".join(map(str, paths)))


def pair_rows(models: Models, shown: dict[str, Answers], size: int, threshold: float) -> list[Row]:
    """A row for each pair, the ensemble among them where there is one."""
    masks, rows = RecentMasks(partial(binarize, threshold=threshold)), []
    target = shown.get(ENSEMBLE, shown[models.teachers[0]]).predictions
    pairs = compared(models.teachers, models.student, with_ensemble=ENSEMBLE in shown)
    for p, q in pairs:
        of_p, of_q = (models.members if name == ENSEMBLE else (shown[name],) for name in (p, q))
        row = {"p": p, "q": q, **pair_measures(of_p, of_q, labelled=models.labelled)}
        if p in models.maps and q in models.maps:
            row |= _overlap(models.maps, (p, q), target, masks, size)
        rows.append(row | alignment(models.features, p, q))
    return rows


def _latex(folder: Path, rows: Sequence[Row], pairs: Sequence[Row]) -> list[Path]:
    of_models = write_latex(folder / "models", rows, ["model"], (*CALIBRATION, *RUN_INFORMATION))
    columns = list(itertools.chain.from_iterable(GROUPS))
    of_pairs = [write_latex(folder / "pairs", pairs, ["p", "q"], columns)] if pairs else []
    return [of_models, *of_pairs]


def _answers(model: ModelFile) -> Answers:
    count = len(model.logits)
    labels = torch.zeros(count, dtype=torch.long)  # in the place of labels that nobody knows
    if model.labels is not None:
        labels = torch.from_numpy(model.labels)
    logits, collected = torch.from_numpy(model.logits), Collected(count)
    for rows in by_rows(count):
        index = torch.arange(count)[rows]
        collected.add(answers_of(index, labels[rows], logits[rows], False))
    return dataclasses.replace(collected.so_far(), logits=logits)


def _model_row(name: str, answers: Answers, models: Models, bins: int) -> Row:
    row: Row = {"model": name}
    if models.labelled:
        row |= calibration(answers, bins, None)
    return row | {"entropy_nats": answers.entropy_nats.mean().item()}


def _overlap(
    maps: dict[str, Maps],
    names: tuple[str, str],
    target: torch.Tensor,
    masks: RecentMasks,
    size: int,
) -> Row:
    """IoU of two models' maps on the images that both have maps of; nothing where the maps are of
    two kinds."""
    p, q = (maps[name] for name in names)
    if p.kind != q.kind:
        print(
            f"not compared: maps of {names[0]} ({p.kind}) and of {names[1]} ({q.kind}) are made in "
            "different ways",
            file=sys.stderr,
        )
        return {}
    common, *places = np.intersect1d(p.rows, q.rows, assume_unique=True, return_indices=True)
    if len(common) == 0:
        return {}
    wanted = target[torch.from_numpy(common)]
    both = [
        masks.of(of_target(maps.of_class[torch.from_numpy(at)], wanted), size)
        for maps, at in zip((p, q), places, strict=True)
    ]
    return {**overlap_measures(both), **constant_maps(both), "maps": p.kind}


def _size(models: Models) -> int:
    """Pixels of a side, as the maps' files have it."""
    sizes = {heatmap.image_size for heatmap in models.maps.values()} - {None}
    if len(sizes) > 1:
        raise UserError("the models saw images of different sizes: give --image-size for the maps")
    return next(iter(sizes), None) or USUAL_SIZE


def _present(rows: Sequence[Row], first: list[str], columns: Sequence[Column]) -> list[str]:
    return first + [column.key for column in columns if any(column.key in row for row in rows)]


def _note(models: Models, options: ModelOptions, size: int | None) -> str:
    of = "" if models.student is None else f" of all but {models.student}"
    note = NOTE.format(bins=options.bins, of=of)
    if not models.labelled:
        note = f"no labels, so nothing is said of accuracy and calibration; {note}"
    return note if size is None else note + MAPS_NOTE.format(threshold=options.threshold, size=size)
