"""The grid's results so far, a row a cell, mean and spread over its seeds:

python -m evaluation.report --dataset CIFAR100
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import UserError, run_program, shown
from common.files import write_text
from common.settings import NO_YES, Settings, option
from engine.cells import Cell, grid_order, joined, parse_cell
from engine.flags import parse
from engine.run import RunDirectory, Runs
from evaluation.calculate_agreement import AS_TRAINED, REPORTED
from evaluation.cells_page import cells_page
from evaluation.grid import name_of_overlap, named, of_each
from evaluation.latex import write_latex
from evaluation.measures import (
    AFFINITY,
    AGREEMENT,
    CALIBRATION,
    DISAGREEMENT,
    ENTROPIES,
    INFORMATION,
    OVERLAP,
    OWN_VIEW,
    RUN_ACCURACY,
    RUN_AGREEMENT,
)
from evaluation.options import (
    MEASURE_AGAIN,
    AgreementOptions,
    CalibrationOptions,
    MeasureOptions,
    OverlapOptions,
    check_place,
)
from evaluation.tables import (
    CheckpointHashes,
    Column,
    Row,
    format_table,
    over_seeds,
    read_rows,
    updated,
    with_spread,
    write_table,
)
from metrics.shots import SHOT_GROUPS

RUN = (*RUN_ACCURACY, *RUN_AGREEMENT)
MEASURED = ("ece", "iou_teachers", "iou_student", "affinity")  # on the screen beside the runs' own
MEASUREMENTS: dict[str, MeasureOptions] = {
    **{f"agreement_{name}": AgreementOptions(**asked) for name, asked in REPORTED.items()},
    "ece": CalibrationOptions(),
    "iou_T_T": OverlapOptions(group="T_T", name="iou_T_T"),
    "iou_T_S": OverlapOptions(group="T_S", name="iou_T_S"),
    "affinity": MeasureOptions(name="affinity"),
}
BY = {  # what names a row, if not the cell alone
    "agreement": ("cell", "pair"),
    "iou_T_S": ("cell", "pair"),
    "affinity": ("cell", "view"),
}


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Settings):
    """What the report can be asked."""

    dataset: str = option("CIFAR100", "data set of the runs (or DATASET)")
    output_dir: str = option("runs", "folder that holds the runs")
    latex: str = option("no", "the table in LaTeX too", choices=NO_YES)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_place(self.dataset, self.output_dir)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table of a data set's finished runs and write it beside them."""
    dataset = os.environ.get("DATASET") or ReportOptions.dataset
    publish(parse(ReportOptions, argv, "The grid's results so far.", dataset=dataset))


def publish(options: ReportOptions, judged: Collection[str] | None = None) -> None:
    """The same, for a caller that has the options, and knows which of the pages of claims and
    causes were made now; without, those that are there are shown."""
    runs = Runs(Path(options.output_dir), options.dataset)
    begun = runs.all()
    for run in begun:
        if not run.is_finished():
            print(f"in progress, left out: {run.path}", file=sys.stderr)
    done = [run for run in begun if run.is_finished()]
    if not done:
        raise UserError(f"no run in {runs.folder} is finished yet")
    finished = of_each(done, figures_of, named)
    rows = with_measures(grid_rows(finished), Tables(runs.folder), overlaps_of(done))
    selected_on = " and ".join(sorted({metrics["selected_on"] for metrics in finished}))
    page = runs.folder / "report" / "cells.md"
    write_text(page, cells_page(rows, _top1_by_seed(finished), options.dataset, selected_on))
    paths = [*write_table(runs.folder / "results", rows), page]
    paths += _beside_the_paper(rows, page.parent, options.dataset)
    if options.latex == "yes":
        columns = [Column(name) for name in _columns(rows)[2:]]
        paths.append(write_latex(runs.folder / "results", rows, ("cell", "seeds"), columns))
    print(format_table([_printed(row) for row in rows], _columns(rows)))
    print(legend(selected_on, _columns(rows)))
    paths.append(_one_page(runs, done, judged))
    print("results:", ", ".join(map(str, paths)))


def _beside_the_paper(rows: Sequence[Row], folder: Path, dataset: str) -> list[Path]:
    """Write the paper's page and its figures; none, with a word on stderr, where matplotlib cannot
    be used: the table is there all the same."""
    try:
        from evaluation.paper_page import publish_paper  # matplotlib may be broken

        return publish_paper(rows, folder, dataset)
    except UserError as error:
        print(f"left out: the page of the paper's tables: {error}", file=sys.stderr)
        return []


def _one_page(runs: Runs, finished: Sequence[RunDirectory], judged: Collection[str] | None) -> Path:
    """Write the table of how the runs were made, and the report as one page."""
    from evaluation import making
    from evaluation.report_page import JUDGED, write_report  # matplotlib only when there is work

    folder, rows = runs.folder / "report", making.making_rows(finished)
    write_table(folder / "making", rows)
    shown = JUDGED if judged is None else judged
    return write_report(folder, runs.dataset, making.markdown(rows), shown)


def figures_of(run: RunDirectory) -> dict[str, Any]:
    """A finished run's figures; UserError where they are damaged or another cell's."""
    metrics = run.read_metrics()
    if metrics["cell"] != str(run.cell):
        raise UserError(f"{run.metrics} is of {shown(metrics['cell'])}")
    return metrics


def overlaps_of(finished: Sequence[RunDirectory]) -> dict[str, set[tuple[str, int]]]:
    """By cell, the names and seeds of the rows of overlap that its runs' teachers have."""
    found: dict[str, set[tuple[str, int]]] = {}
    for run in finished:
        with suppress(UserError):  # told where its settings are needed
            if len(run.cell.teachers) > 1:
                found.setdefault(str(run.cell), set()).add(name_of_overlap(run))
    return found


def grid_rows(finished: Sequence[dict[str, Any]]) -> list[Row]:
    """A row for each cell from its runs' metrics.json, teachers first, then 0T to 3T students.

    Top-1 and fidelity in percent, gap in percentage points, at the last epoch unless named best.
    """
    ordered = sorted(finished, key=lambda metrics: grid_order(parse_cell(metrics["cell"])))
    return over_seeds([_figures(metrics) for metrics in ordered])


class Tables:
    """What has been measured of a data set's runs, asked for in no special way. Rows that no
    longer hold are named on stderr and left out."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._hashes = folder, CheckpointHashes()
        self._read: dict[str, list[Row]] = {}

    def rows(self, options: MeasureOptions) -> list[Row]:
        """The rows of a measurement, of the 1T and 2T script's file and of the 3T script's."""
        name = options.name
        return updated(*(
            [row for row in table
             if row.get("asked", options.asked) == options.asked and self._holds(name, row)]
            for table in (self._table(name), self._table(f"{name}_3T", like=name))
        ))  # fmt: skip

    def _table(self, stem: str, like: str | None = None) -> list[Row]:
        """The rows of a file, read once; `like` is the measurement that it is of."""
        if stem not in self._read:
            path = self.folder / f"{stem}.json"
            try:
                self._read[stem] = read_rows(path, BY.get(like or stem, ("cell",)))
            except OSError as error:
                print(f"left out: {path}: {error.strerror}", file=sys.stderr)
                self._read[stem] = []
        return self._read[stem]

    def _holds(self, name: str, row: Row) -> bool:
        reason = self._hashes.changed(row, self.folder)
        if reason is not None:
            what = f"{name} of {row['cell']} seed {row['seed']}"
            print(f"stale, left out: {what}: {reason}; measure it again", file=sys.stderr)
        return reason is None


def with_measures(
    rows: Sequence[Row], tables: Tables, overlaps: Mapping[str, Collection[tuple[str, int]]]
) -> list[Row]:
    """The rows with what has been measured of each cell so far: ECE; agreement with its teachers;
    CKA and IoU among them and with it; the affinity of its own view. Where other than all seeds of
    a cell were measured, or fewer replicates taught them, `<name>_n` says how many. overlaps: those
    of `overlaps_of`."""
    measured = {name: tables.rows(options) for name, options in MEASUREMENTS.items()}
    joined = [
        row | _measures_of(parse_cell(row["cell"]), measured, overlaps.get(row["cell"], ()))
        for row in rows
    ]
    return [
        {k: v for k, v in row.items() if not (k.endswith("_n") and v == row["seeds"])}
        for row in joined
    ]


def legend(selected_on: str, columns: Sequence[str]) -> str:
    """What the columns mean, and on which images the best epoch was chosen."""
    shots = any(column.endswith(SHOT_GROUPS) for column in columns)
    few = "many, medium, few: classes of over 100, 20 to 100, under 20 training images;\n"
    return (
        "top1, fidelity: % of the test images at the last epoch; top1_best: at the epoch that is "
        f"best on the {selected_on} images;\n{few if shots else ''}"
        "gap: training minus validation top-1, points;\n"
        "fidelity: top-1 agreement with the teachers' mean logits; iou: of attention, among the "
        "teachers and of all of them with the\nstudent; affinity: of the cell's own view"
    )


def _figures(metrics: dict[str, Any]) -> Row:
    last, best = metrics["last"], metrics["best"]
    test = last["test"]
    return {
        "cell": metrics["cell"],
        "seed": metrics["seed"],
        "top1_last": 100 * test["top1"],
        "top1_best": 100 * best["test"]["top1"],
        **{f"top1_{name}": _percent(test, f"top1_{name}") for name in SHOT_GROUPS},
        "gap_points": last.get("gap_points"),
        "fidelity_ensemble": _percent(test, "fidelity_ensemble"),
        **{name: _percent(test, name) for name in ("fidelity_taught",) if name in test},
        **{f"fidelity_{name}": _percent(test, f"fidelity_ensemble_{name}") for name in SHOT_GROUPS},
        **{name: value for name, value in test.items() if name.endswith("_nats")},
    }


def _top1_by_seed(finished: Sequence[dict[str, Any]]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for metrics in finished:
        found.setdefault(metrics["cell"], {})[metrics["seed"]] = metrics["last"]["test"]["top1"]
    return found


def _percent(figures: dict[str, float], name: str) -> float | None:
    """A fraction in percent; None where it was not measured."""
    return 100 * figures[name] if name in figures else None


def _measures_of(
    cell: Cell, tables: dict[str, list[Row]], overlaps: Collection[tuple[str, int]]
) -> Row:
    name, teachers = str(cell), joined(cell.teachers)
    among = [row | {"cell": name} for row in tables["iou_T_T"]
             if (row["cell"], row["seed"]) in overlaps]  # fmt: skip
    own_view = [row for row in tables["affinity"] if row["view"] == cell.view]
    ensemble = _of_pair(tables["agreement_test"], "ensemble")
    return {
        **_means(ensemble, name, (*AGREEMENT, *DISAGREEMENT, *INFORMATION, *ENTROPIES)),
        **_together(_fidelity(tables, cell, question) for question in REPORTED),
        **_under_own_view(tables, cell),
        **_alignments(tables["agreement_test"], cell),
        **_means(tables["ece"], name, CALIBRATION),
        **_means(among, name, OVERLAP["T_T"]),
        **_means(_of_pair(tables["iou_T_S"], teachers), name, OVERLAP["T_S"]),
        **_means(own_view, name, AFFINITY),
    }


def _fidelity(tables: dict[str, list[Row]], cell: Cell, question: str) -> Row:
    """A student's to each of its teachers and to their ensemble, in percent, asked one way."""
    rows = tables[f"agreement_{question}"]
    names = {"ensemble": "ensemble", **{str(t): f"T{t.number}" for t in cell.teachers}}
    return _together(
        _mean(_of_pair(rows, model), str(cell), "fidelity", f"fidelity_{short}_{question}", 100)
        for model, short in names.items()
    )


def _under_own_view(tables: dict[str, list[Row]], cell: Cell) -> Row:
    """Fidelity and mutual information of a student and its ensemble as it was trained."""
    if cell.view not in AS_TRAINED:
        return {}
    questions = {"training": AS_TRAINED[cell.view], "test": cell.view}
    return _together(
        _mean(
            _of_pair(tables[f"agreement_{questions[images]}"], "ensemble"),
            str(cell), measure, column.reported, column.factor,
        )
        for (measure, images), column in OWN_VIEW.items()
    )  # fmt: skip


def _alignments(rows: Sequence[Row], cell: Cell) -> Row:
    """CKA of each two of a student and its teachers."""
    names = {**{str(t): f"T{t.number}" for t in cell.teachers}, "S": "S"}
    return _together(
        _mean(_of_pair(rows, p, q), str(cell), "linear_cka", f"linear_cka_{names[p]}_{names[q]}")
        for p, q in itertools.combinations(names, 2)
    )


def _of_pair(rows: Sequence[Row], model: str, other: str = "S") -> list[Row]:
    """Those of a model with another, the student if none is named."""
    return [row for row in rows if row["pair"] == f"{model}-{other}"]


def _together(parts: Iterable[Row]) -> Row:
    return {name: value for part in parts for name, value in part.items()}


def _means(rows: Sequence[Row], cell: str, columns: Sequence[Column]) -> Row:
    """Those of the columns that the report has, of a cell's rows over seeds."""
    shown = [column for column in columns if column.reported]
    return _together(
        _mean(rows, cell, column.key, column.reported, column.factor) for column in shown
    )


def _mean(rows: Sequence[Row], cell: str, column: str, name: str, unit: float = 1) -> Row:
    """Column `column` of a cell's rows over seeds, times `unit`, as `name`."""
    of_cell = [row for row in rows if row["cell"] == cell and row.get(column) is not None]
    found = [{"cell": cell, name: unit * row[column]} for row in of_cell]
    if not found:
        return {}
    (gathered,) = over_seeds(found)
    return {
        name: gathered[name],
        f"{name}_std": gathered[f"{name}_std"],
        f"{name}_n": gathered["seeds"],
    }


def _columns(rows: Sequence[Row]) -> list[str]:
    names = ("cell", "seeds", *(column.reported for column in RUN), *MEASURED)
    return [name for name in names if any(row.get(name) is not None for row in rows)]


def _printed(row: Row) -> Row:
    measured = (*RUN, *CALIBRATION, *AFFINITY, *OVERLAP["T_T"], *OVERLAP["T_S"])
    shown = {column.reported: column.decimals for column in measured if column.reported}
    return row | {name: with_spread(row, name, n) for name, n in shown.items()}


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted=MEASURE_AGAIN))
