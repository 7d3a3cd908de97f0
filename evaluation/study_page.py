"""The study's replicates judged: endpoints.csv, .json and .md, two figures, and one page of all."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from common.files import write_text
from evaluation import described, judging
from evaluation.figures import saved
from evaluation.html_page import write_page
from evaluation.judging import Judged, check_images, judged_rows, ratio_sentence
from evaluation.markdown_html import parts_of
from evaluation.paper_page import own_numbers, own_rows
from evaluation.study_drawing import cells_figure, endpoints_figure
from evaluation.study_figures import EXPLORATORY, FIGURES, PRIMARY, RANKS, SECONDARY
from evaluation.study_files import ReplicateFile, codes_alike, one_study, read_replicate
from evaluation.tables import Row, format_table, write_table

NAMES = (
    "T1w is teacher number 1, trained on the weak view of the images, T2s number 2 on the strong "
    "one; w and s in ww, ws, sw, ss are the views of two teachers. T1w_T2s_Ss is a student on the "
    "strong view that learnt from both."
)
ENDPOINTS, CELLS, PAPER = "endpoints", "cells", "paper"  # stems of files
CAPTIONS = {
    ENDPOINTS: "The figures that were chosen beforehand, each with the number of its endpoint: "
    "mean and 95% interval (red: primary), below it a dot for each replicate's value, right the "
    "verdict.",
    CELLS: "Left: students of one and two teachers. Right: students of two teachers; 0, 0.5, 0.95, "
    "placebo: teachers trained beside T1w at that dose. Means over replicates, bars: 95% interval "
    "by Student's t.",
}
SHORT = 12  # digits of a commit
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
    PRIMARY: ("Primary endpoints", "Chosen beforehand, and corrected for being three."),
    SECONDARY: ("Secondary figures", "Chosen beforehand, not corrected for their number."),
    EXPLORATORY: ("Exploratory figures", "Not chosen beforehand, and nothing is corrected."),
}


def publish_endpoints(folder: Path) -> None:
    """Judge the replicates of the folder; print the primary and secondary ones."""
    files = _planned(folder)
    if not files:
        raise UserError(f"no replicate in {folder}: python -m evaluation.study --write --seeds 1")
    one_study(files, codes_alike(folder))
    kept = list(files.values())
    check_images(int(kept[0].facts["images"]))
    rows = rows_of(kept)
    figures = {
        ENDPOINTS: endpoints_figure(rows, _values(_by_figure(kept))),
        CELLS: cells_figure([file.cells for file in kept]),
    }
    paths = [saved(figure, folder / f"{stem}.{kind}", dpi=150)
             for stem, figure in figures.items() for kind in ("svg", "png")]  # fmt: skip
    paths += [*write_table(folder / ENDPOINTS, rows), *write_table(folder / PAPER, own_rows())]
    text = page(kept, rows)
    markdown = folder / f"{ENDPOINTS}.md"
    write_text(markdown, text)
    sections = {part.title or "The study": [part] for part in parts_of(text)}
    title = "Why distillation works: the study"
    paths += [markdown, write_page(folder / "index.html", title, NAMES, sections)]
    shown = [row for row in rows if row["rank"] != EXPLORATORY]
    print(format_table(shown, ("figure", "rank", "estimate", "low", "high", "p", "p_holm",
                               "replicates", "verdict")))  # fmt: skip
    print("results:", ", ".join(map(str, paths)))


def _planned(folder: Path) -> dict[Path, ReplicateFile]:
    """The folder's replicates that were planned; others, which may have been added when verdicts
    were known, are named on stderr and left out."""
    files = {path: read_replicate(path) for path in sorted(folder.glob("replicate_*.csv"), key=_by)}
    numbers = set(map(str, PLANNED))
    for path in (path for path, file in files.items() if file.facts["replicate"] not in numbers):
        print(f"left out: {path}: {PLANNED[0]} to {PLANNED[-1]} were planned", file=sys.stderr)
    return {path: file for path, file in files.items() if file.facts["replicate"] in numbers}


def rows_of(kept: Sequence[ReplicateFile]) -> list[Row]:
    """Every figure judged; without verdicts, which nobody may look at before the last replicate,
    of fewer than LEAST."""
    few = {"verdict": f"no verdict: {len(kept)} of {LEAST} replicates"}
    rows = judged_rows(_by_figure(kept))
    return [row | (few if len(kept) < LEAST else {}) for row in rows]


def _by_figure(kept: Sequence[ReplicateFile]) -> Judged:
    return {
        name: [file.measured[name] for file in kept if name in file.measured]
        for name in (figure.name for figure in FIGURES)
    }


def _values(measured: Judged) -> dict[str, list[float]]:
    return {name: [own.value for own in replicates] for name, replicates in measured.items()}


def _by(path: Path) -> tuple[int, str]:
    """2 before 10."""
    return len(path.name), path.name


def page(kept: Sequence[ReplicateFile], rows: Sequence[Row]) -> str:
    """All of it as Markdown."""
    facts = kept[0].facts
    numbers = ", ".join(file.facts["replicate"] for file in kept)
    lines = ["# The study: endpoints", "", RULE, "",
             f"Replicates {numbers}: n = {len(kept)}; {facts['images']} test images. "
             f"Trained at {_commits(kept, 'trained at')}, "
             f"measured at {_commits(kept, 'measured at')}."]  # fmt: skip
    lines += _missing(kept)
    tables = {rank: _table(rank, rows) for rank in RANKS}
    lines += [*tables[PRIMARY], *tables[SECONDARY], "", "## Figures"]
    for stem, caption in CAPTIONS.items():
        lines += ["", f"![{stem}]({stem}.png)", "", caption]
    lines += [*tables[EXPLORATORY], "", ratio_sentence(_by_figure(kept))]
    lines += described.sections([file.cells for file in kept])
    return "\n".join([*lines, "", *own_numbers(), ""])


def _table(rank: str, rows: Sequence[Row]) -> list[str]:
    title, note = HEADINGS[rank]
    of_rank = [row for row in rows if row["rank"] == rank]
    return ["", f"## {title}", "", note, "", *judging.markdown(of_rank)]


def _missing(kept: Sequence[ReplicateFile]) -> list[str]:
    """A paragraph on those that were planned and are not there."""
    there = {file.facts["replicate"] for file in kept}
    missing = [str(number) for number in PLANNED if str(number) not in there]
    if not missing:
        return []
    few = f" **Fewer than {LEAST}: no verdict of the study yet.**" if len(kept) < LEAST else ""
    return ["", f"Planned and not there: {', '.join(missing)}.{few}"]


def _commits(kept: Sequence[ReplicateFile], fact: str) -> str:
    commits = {commit[:SHORT] for file in kept for commit in file.facts[fact].split()}
    return " ".join(sorted(commits))
