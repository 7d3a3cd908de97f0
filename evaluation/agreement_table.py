"""The agreement of every pair of a student's models: its rows, its table and its figure."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence

import torch

from engine.run import RunDirectory
from evaluation.answers import NO_CLASSIFIER, Answers, Features, by_rows
from evaluation.figures import fidelity_figure
from evaluation.grid import Grid, named, of_each, open_grid
from evaluation.measures import AGREEMENT, ENTROPIES, INFORMATION, REPRESENTATIONS
from evaluation.options import AgreementOptions
from evaluation.outputs import OutputStore
from evaluation.results import publish
from evaluation.tables import Row
from metrics.agreement import (
    cohen_kappa,
    disagreement,
    ensemble_logits,
    error_consistency,
)
from metrics.bootstrap import means_with_intervals
from metrics.information import (
    batch_averaged_mutual_information,
    mutual_information,
    mutual_information_chance_floor,
    mutual_information_interval,
)
from metrics.representations import linear_cka
from metrics.shots import members

STUDENT = "S"
ENSEMBLE = "ensemble"

Model = tuple[Answers, ...]  # one model's answers, or those of an ensemble's members


def publish_agreement(options: AgreementOptions) -> None:
    """Print and write a row for each pair of each student cell."""
    grid, store, runs = open_grid(options)
    of_runs = of_each(
        grid.with_teachers(runs), lambda run: list(Pairs(grid, store, run, options).rows()), named
    )
    rows = list(itertools.chain.from_iterable(of_runs))
    plain = (options.split, options.view) == ("test", "test")
    suffix = "" if plain else f"_{options.split}_{options.view}"
    publish(
        options.folder / options.name,
        rows,
        (*AGREEMENT, *INFORMATION, *REPRESENTATIONS),
        {suffix: fidelity_figure([r for r in rows if r["pair"] == f"{ENSEMBLE}-{STUDENT}"])},
        f"{options.images}; a pair p-q: teachers by name, their mean logits (ensemble; of two: "
        f"T1w_T2w), the student ({STUDENT});\nmutual information of the predicted labels by "
        "Grassberger's estimator, its chance floor by the plug-in one",
        store.summary(),
        by=("cell", "pair"),
        latex=options.latex == "yes",
    )  # fmt: skip


class Pairs:
    """The models of a student's cell, all asked about the images and the view of the student."""

    def __init__(
        self, grid: Grid, store: OutputStore, run: RunDirectory, options: AgreementOptions
    ) -> None:
        self.store, self.run = store, run
        self.teachers = grid.teachers(run)

        def answers_of(model: RunDirectory) -> Answers:
            return store.answers(model, split=options.split, view=options.view, like=run)

        answers = {str(teacher.cell): answers_of(teacher) for teacher in self.teachers}
        self.models: dict[str, Model] = {name: (kept,) for name, kept in answers.items()}
        if all(answer.logits is not None for answer in answers.values()) or len(answers) == 1:
            self.models[ENSEMBLE] = tuple(answers.values())
        self.models[STUDENT] = (answers_of(run),)
        plain = (options.split, options.view) == ("test", "test")  # whose features are kept
        self.features = self._features() if plain else {}

    def rows(self) -> Iterator[Row]:
        """Teachers with the student, the ensemble with it, then teachers among them; of three and
        more also the ensemble of each two with the others and with the student."""
        teachers = [str(teacher.cell) for teacher in self.teachers]
        with_ensemble = ENSEMBLE in self.models
        pairs = compared(teachers, STUDENT, with_ensemble=with_ensemble)
        if len(teachers) > 2 and with_ensemble:
            pairs += self._twos(teachers)
        for p, q in pairs:
            yield {
                "cell": str(self.run.cell),
                "seed": self.run.seed,
                "pair": f"{p}-{q}",
                **pair_measures(self.models[p], self.models[q], self._shots()),
                **alignment(self.features, p, q, f"{named(self.run)}: "),
                **self.store.stamp(*self.teachers, self.run),
            }

    def _twos(self, teachers: Sequence[str]) -> list[tuple[str, str]]:
        """Pairs of an ensemble of two teachers, which becomes one of the models, and another."""
        pairs = []
        for two in itertools.combinations(teachers, 2):
            name = "_".join(two)
            self.models[name] = tuple(self.models[teacher][0] for teacher in two)
            others = [teacher for teacher in teachers if teacher not in two]
            pairs += [(name, other) for other in (*others, STUDENT)]
        return pairs

    def _features(self) -> dict[str, Features]:
        """Of the teachers and the student under their names; a net's whose features are not known
        is named on stderr."""
        runs = {**{str(teacher.cell): teacher for teacher in self.teachers}, STUDENT: self.run}
        found = {name: self.store.features(run, like=self.run) for name, run in runs.items()}
        known = {name: features for name, features in found.items() if features is not None}
        if unknown := [str(runs[name].cell) for name in found if name not in known]:
            print(
                f"no CKA: {named(self.run)}: {NO_CLASSIFIER} {' and '.join(unknown)}",
                file=sys.stderr,
            )
        return known

    def _shots(self) -> dict[str, torch.Tensor]:
        groups = self.store.sources.shot_groups(self.run)
        return {} if groups is None else members(groups, self.models[STUDENT][0].labels)


def compared(
    teachers: Sequence[str], student: str | None, *, with_ensemble: bool
) -> list[tuple[str, str]]:
    """The pairs of models: teachers with the student, if there is one, the ensemble with it, then
    teachers among them and the ensemble with each."""
    names = [*teachers, ENSEMBLE] if with_ensemble else list(teachers)
    pairs = [(name, student) for name in names] if student is not None else []
    if len(teachers) > 1:
        pairs += itertools.combinations(teachers, 2)
        pairs += [(ENSEMBLE, name) for name in teachers if with_ensemble]
    return pairs


def alignment(features: Mapping[str, Features], p: str, q: str, place: str = "") -> Row:
    """Linear CKA of two models on the images that both have features of, if both have any; where
    these tell nothing it is left out, and the pair named on stderr, `place` before it."""
    if p not in features or q not in features:
        return {}
    of_p, of_q = features[p], features[q]
    common_p, common_q = torch.isin(of_p.index, of_q.index), torch.isin(of_q.index, of_p.index)
    try:
        return {"linear_cka": linear_cka(of_p.values[common_p], of_q.values[common_q])}
    except ValueError as error:
        print(f"no CKA: {place}{p} and {q}: {error}", file=sys.stderr)
        return {}


def pair_measures(
    p: Model,
    q: Model,
    shots: Mapping[str, torch.Tensor] | None = None,
    *,
    labelled: bool = True,
) -> Row:
    """Every measure of two models, with 95% intervals of those that are means; what needs logits
    only where they are kept, what needs labels only where they are known. shots: which images are
    of many-, medium- and few-shot classes, (N,) bool each."""
    values = _joined([_values(p, q, rows) for rows in by_rows(len(p[0].labels))])
    predictions = values.pop("predictions_p"), values.pop("predictions_q")
    row = means_with_intervals(values)
    if "kl_q_to_p_nats" in row:
        row["reference_kl_q_to_p_times_10"] = 10 * row["kl_q_to_p_nats"]
    row |= _information(*predictions) | {"cohen_kappa": _or_none(cohen_kappa(*predictions))}
    if labelled:
        row |= _of_right(*predictions, p[0].labels)
    fidelity = values["fidelity"].double()
    return row | {
        f"fidelity_{name}": fidelity[chosen].mean().item() for name, chosen in (shots or {}).items()
    }


def _values(p: Model, q: Model, rows: slice) -> dict[str, torch.Tensor]:
    """The measures of each image in `rows`, and what both models predict."""
    if any(answers.logits is None for answers in (*p, *q)):
        return {
            "predictions_p": p[0].predictions[rows],
            "predictions_q": q[0].predictions[rows],
            "fidelity": p[0].predictions[rows] == q[0].predictions[rows],
            "entropy_p_nats": p[0].entropy_nats[rows],
            "entropy_q_nats": q[0].entropy_nats[rows],
        }
    columns = (*AGREEMENT, *INFORMATION, *ENTROPIES)
    logits_p, logits_q = (_logits(model, rows) for model in (p, q))
    return {
        "predictions_p": logits_p.argmax(1),
        "predictions_q": logits_q.argmax(1),
        **{
            column.key: column.per_image(logits_p, logits_q)
            for column in columns
            if column.per_image
        },
    }


def _information(p: torch.Tensor, q: torch.Tensor) -> Row:
    low, high = mutual_information_interval(p, q, correction="grassberger")
    return {
        "mutual_information_nats": mutual_information(p, q, correction="grassberger"),
        "mutual_information_nats_low": low,
        "mutual_information_nats_high": high,
        "mutual_information_plug_in_nats": mutual_information(p, q),
        "mutual_information_miller_madow_nats": mutual_information(p, q, correction="miller_madow"),
        "chance_floor_nats": mutual_information_chance_floor(p, q),
        "reference_mutual_information_by_batch_nats": batch_averaged_mutual_information(p, q),
    }


def _of_right(p: torch.Tensor, q: torch.Tensor, labels: torch.Tensor) -> Row:
    """Whether both err on the same images, agreement where the first model is right or wrong (None
    where it never is), and where they do not agree."""
    right, agree = p == labels, (p == q).double()
    apart = disagreement(p, q, labels)
    split = {"right": agree[right], "wrong": agree[~right]}
    return {
        "error_consistency": _or_none(error_consistency(right, q == labels)),
        **{
            f"fidelity_p_{name}": values.mean().item() if len(values) else None
            for name, values in split.items()
        },
        **apart,
        "top1_q_minus_p_points": 100 * (apart["only_q_right"] - apart["only_p_right"]),
    }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _logits(model: Model, rows: slice) -> torch.Tensor:
    known = [member.logits[rows] for member in model if member.logits is not None]
    return ensemble_logits(torch.stack(known))


def _joined(parts: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
