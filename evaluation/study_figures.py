"""The figures of a replicate that are judged over replicates: contrasts of its cells, each as what
every test image adds to it. The endpoints of results/README.md are among them, by its names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import UserError
from engine.cells import PAPER_LETTERS, STRONG, WEAK, StudentCell, TeacherCell, parse_teacher
from evaluation.replicate import Looking, Replicate
from metrics.contrasts import (
    QUINTILES,
    Standardised,
    quintile_of,
    slope_on,
    standardised_difference,
)
from metrics.conventions import SHARE, SHARES, THRESHOLD, THRESHOLDS
from metrics.panel import panel_slope

Teachers = tuple[TeacherCell, ...]
Values = Callable[[Replicate, StudentCell], Tensor]  # of one student -> (n,)
Contributions = Callable[[Replicate], Tensor]  # -> (n,), whose mean is the figure


def _pair(*names: str) -> Teachers:
    return tuple(map(parse_teacher, names))


WW, *_, SS = PAIRS = (
    _pair("T1w", "T2w"), _pair("T1w", "T2s"), _pair("T1s", "T2w"), _pair("T1s", "T2s")
)  # fmt: skip
DOSES = {0.0: _pair("T1w", "T2w+r0"), 0.5: _pair("T1w", "T2w+r50"), 0.95: _pair("T1w", "T2w+r95")}
DOSED, PLACEBO = DOSES[0.95], _pair("T1w", "T2w+placebo95")
WEAK_PAIRS = (WW, *DOSES.values(), PLACEBO)
HALVES, SAME_HALF = _pair("T1w+left", "T2w+right"), _pair("T1w+left", "T2w+left")
KL, SHUFFLED = "kl", "shuffled"  # students of WW with the whole weight on KL

OF_LABEL = Looking("label", share=SHARE)
BY_THRESHOLD = {value: Looking("ensemble", threshold=value) for value in THRESHOLDS}
BY_AREA = {value: Looking("ensemble", share=value) for value in SHARES}


def top1(replicate: Replicate, cell: StudentCell) -> Tensor:
    """In points: 100 where the student is right."""
    return 100 * replicate.right(cell)


def fidelity(replicate: Replicate, cell: StudentCell) -> Tensor:
    """In points: 100 where the student names its ensemble's class."""
    return 100 * replicate.agrees(cell)


def students(teachers: Teachers, variant: str | None = None) -> list[StudentCell]:
    """The weak and the strong student of the teachers."""
    return [StudentCell(teachers, letter, variant) for letter in PAPER_LETTERS]


def of_both(values: Values, replicate: Replicate, teachers: Teachers) -> Tensor:
    """Mean over the weak and the strong student. (n,)."""
    return torch.stack([values(replicate, cell) for cell in students(teachers)]).mean(0)


def overlap(looking: Looking, replicate: Replicate, teachers: Teachers) -> Tensor:
    """IoU above chance of the teachers' maps. (n,)."""
    return replicate.above_chance(StudentCell(teachers, WEAK), looking)


def standardised(replicate: Replicate, a: Teachers, b: Teachers) -> Standardised:
    """Fidelity to `a` minus that to `b`, points, where both ensembles are right or both wrong and
    their margins in one quintile of all."""
    ensembles = [replicate.ensemble(StudentCell(teachers, WEAK)) for teachers in (a, b)]
    margins = quintile_of(torch.stack([ensemble.margin for ensemble in ensembles]))
    rights = torch.stack([ensemble.right for ensemble in ensembles]).long()
    strata = QUINTILES * rights + margins
    return standardised_difference(
        of_both(fidelity, replicate, a),
        of_both(fidelity, replicate, b),
        strata[0],
        strata[1],
        2 * QUINTILES,
    )


def per_image_slope(
    right: bool, pairs: Sequence[Teachers], with_covariates: bool, replicate: Replicate
) -> Tensor:
    """Of agreeing with the ensemble, or of being `right`, on the IoU of the teachers' maps of the
    label, over images and the pairs' students (metrics/panel.py). (n,)."""
    cells = [cell for pair in pairs for cell in students(pair)]
    rows = replicate.mapped(cells[0])
    of = replicate.right if right else replicate.agrees
    y = torch.stack([of(cell)[rows] for cell in cells], dim=1)
    x = torch.stack([replicate.overlap(cell, OF_LABEL).per_image for cell in cells], dim=1)
    z = _covariates(replicate, cells)[rows] if with_covariates else None
    return replicate.spread(panel_slope(y, x, z), cells[0])


def _covariates(replicate: Replicate, cells: Sequence[StudentCell]) -> Tensor:
    """(n, C, 6): ensemble right; unanimous; dummies of the margin's quintiles but the first."""
    ensembles = [replicate.ensemble(cell) for cell in cells]
    bins = quintile_of(torch.stack([ensemble.margin for ensemble in ensembles], dim=1))
    two = [
        torch.stack([getattr(ensemble, name) for ensemble in ensembles], dim=1)
        for name in ("right", "unanimous")
    ]
    return torch.cat([torch.stack(two, dim=2), F.one_hot(bins, QUINTILES)[..., 1:]], dim=2).double()


def _of_pairs(
    of: Callable[[Replicate, Teachers], Tensor], a: Teachers, b: Teachers
) -> Contributions:
    """What `of` makes of teachers `a` minus that of `b`."""
    return lambda replicate: of(replicate, a) - of(replicate, b)


def _strong_minus_weak(replicate: Replicate, teachers: Teachers) -> Tensor:
    weak, strong = (top1(replicate, StudentCell(teachers, letter)) for letter in (WEAK, STRONG))
    return strong - weak


def _strong_students(replicate: Replicate) -> Tensor:
    weak, *mixed, strong = (_strong_minus_weak(replicate, pair) for pair in PAIRS)
    return torch.stack([weak, torch.stack(mixed).mean(0), strong]).mean(0)


def _mimicry(replicate: Replicate, letters: Sequence[str] = PAPER_LETTERS) -> Tensor:
    kl, shuffled = (
        torch.stack([top1(replicate, StudentCell(WW, letter, variant)) for letter in letters]).mean(
            0
        )
        for variant in (KL, SHUFFLED)
    )
    return kl - shuffled


def _on_dose(of: Callable[[Replicate, Teachers], Tensor], replicate: Replicate) -> Tensor:
    return slope_on(list(DOSES), [of(replicate, pair) for pair in DOSES.values()])


PRIMARY, SECONDARY, EXPLORATORY = RANKS = ("primary", "secondary", "exploratory")
POINTS, IOU, PER_IOU = "points", "IoU above chance", "share of images per IoU"


@dataclass(frozen=True)
class Figure:
    """A figure of a replicate. endpoint: the number in results/README.md, "" for none; of primary
    figures with one number all must agree. text: the figure in words."""

    name: str
    endpoint: str
    rank: str
    unit: str
    text: str
    of: Contributions


_fidelity, _top1 = partial(of_both, fidelity), partial(of_both, top1)
_label_overlap = partial(overlap, OF_LABEL)


def _strong_views(name: str, rank: str, looking: Looking) -> Figure:
    return Figure(
        f"overlap, {name}", "1", rank, IOU, "two weak minus two strong teachers",
        _of_pairs(partial(overlap, looking), WW, SS),
    )  # fmt: skip


def _slope(name: str, rank: str, pairs: Sequence[Teachers], covariates: bool) -> list[Figure]:
    among = "two weak teachers" if pairs is WEAK_PAIRS else "all pairs"
    given = "" if covariates else ", ensemble not held"
    return [
        Figure(
            f"b of {'being right' if right else 'agreement'}{name}", "5",
            SECONDARY if right and rank == PRIMARY else rank, PER_IOU,
            f"slope on the overlap of the label's maps, image by image, {among}{given}",
            partial(per_image_slope, right, pairs, covariates),
        )
        for right in (False, True)
    ]  # fmt: skip


FIGURES: tuple[Figure, ...] = (
    _strong_views("threshold 0.4", PRIMARY, BY_THRESHOLD[THRESHOLD]),
    _strong_views("equal area", PRIMARY, BY_AREA[SHARE]),
    Figure("N, fidelity", "3", PRIMARY, POINTS, "teachers trained to look alike at .95 minus "
           "placebo", _of_pairs(_fidelity, DOSED, PLACEBO)),
    *_slope("", PRIMARY, PAIRS, True),
    Figure("strong students", "2", SECONDARY, POINTS, "top-1, strong minus weak student, mean of "
           "weak, mixed and strong teachers", _strong_students),
    Figure("strong students, interaction", "2", SECONDARY, POINTS, "top-1, strong minus weak "
           "student, two strong minus two weak teachers", _of_pairs(_strong_minus_weak, SS, WW)),
    Figure("mimicry", "4", SECONDARY, POINTS, "top-1, whole weight on KL minus the same with "
           "shuffled answers", _mimicry),
    Figure("mimicry, weak student", "4", SECONDARY, POINTS, "the same on the weak view",
           partial(_mimicry, letters=WEAK)),
    Figure("mimicry, strong student", "4", SECONDARY, POINTS, "the same on the strong view",
           partial(_mimicry, letters=STRONG)),
    *(_strong_views(f"threshold {value}", EXPLORATORY, looking)
      for value, looking in BY_THRESHOLD.items() if value != THRESHOLD),
    *(_strong_views(f"area {value}", EXPLORATORY, looking)
      for value, looking in BY_AREA.items() if value != SHARE),
    Figure("N, fidelity, standardised", "", EXPLORATORY, POINTS, "N where both ensembles are right "
           "or wrong and equally sure", lambda r: standardised(r, DOSED, PLACEBO).contributions),
    Figure("N, top-1", "", EXPLORATORY, POINTS, "top-1, .95 minus placebo",
           _of_pairs(_top1, DOSED, PLACEBO)),
    Figure("D, overlap", "", EXPLORATORY, IOU, "label's maps, .95 minus placebo",
           _of_pairs(_label_overlap, DOSED, PLACEBO)),
    Figure("dose, fidelity", "", EXPLORATORY, POINTS, "least-squares slope on the dose over 0, .5, "
           ".95", partial(_on_dose, _fidelity)),
    Figure("dose, overlap", "", EXPLORATORY, IOU, "the same of the label's maps",
           partial(_on_dose, _label_overlap)),
    *_slope(", ensemble not held", EXPLORATORY, PAIRS, False),
    *_slope(", two weak teachers", EXPLORATORY, WEAK_PAIRS, True),
    *_slope(", two weak teachers, ensemble not held", EXPLORATORY, WEAK_PAIRS, False),
    Figure("halves, fidelity", "", EXPLORATORY, POINTS, "left and right half minus the same half",
           _of_pairs(_fidelity, HALVES, SAME_HALF)),
    Figure("halves, fidelity, standardised", "", EXPLORATORY, POINTS, "the same where both "
           "ensembles are right or wrong and equally sure",
           lambda r: standardised(r, HALVES, SAME_HALF).contributions),
    Figure("halves, top-1", "", EXPLORATORY, POINTS, "left and right half minus the same half",
           _of_pairs(_top1, HALVES, SAME_HALF)),
)  # fmt: skip
N_FIDELITY, D_OVERLAP = "N, fidelity", "D, overlap"


def measured_by(figure: Figure, replicate: Replicate) -> Tensor:
    """(n,) what each image adds to the figure; MissingError where a run is missing, UserError where
    it is not defined for these answers."""
    try:
        return figure.of(replicate)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{figure.name}, replicate {replicate.seed}: {error}") from None
