"""What is written of results/ is what its CSV files say."""

import csv
import itertools
import json
import re
import statistics
from pathlib import Path

import pytest

from evaluation.objectives_page import page
from evaluation.options import ObjectiveOptions
from evaluation.paper_page import own_rows
from evaluation.paper_tables import datasets
from evaluation.study_files import codes_alike, one_study, read_replicate
from evaluation.study_page import page as page_of_study
from evaluation.study_page import rows_of

ROOT = Path(__file__).parent.parent
EARLIER = ROOT / "results/earlier"
SETS = ("photographs", "long_tail", "embedded")
CLAIMS = {  # a row of the page's table: what the CSV calls it
    "1 strong views lower the teachers' IoU, above chance": ["1"],
    "2 lower IoU, lower fidelity": ["2"],
    "2, the student's view held": ["2, view held"],
    "3a lower fidelity, smaller gap": ["3a"],
    "3a, view held": ["3a, view held"],
    "3b lower fidelity, higher accuracy": ["3b"],
    "3b, view held": ["3b, view held"],
    "3c lower IoU, higher accuracy": ["3c"],
    "4 strong students beat weak ones, points": ["4"],
    "5 one teacher rather than none, points": ["5, 1T"],
    "5 two rather than one": ["5, 2T"],
    "5 three rather than two": ["5, 3T"],
    "6 mixed minus weak teachers, 2T; 3T": ["6, 2T low", "6, 3T low"],
    "6 strong minus mixed teachers, 2T; 3T": ["6, 2T high", "6, 3T high"],
}
SHORT = {"**S**": "supported", "**C**": "contradicted", "?": "cannot tell"}
CONTROLS = {
    "agreement of two students that differ in their seed":
        ("two students that differ in their seed", "agreement"),
    "agreement of a student with its one teacher":
        ("a student of one teacher, and that teacher", "agreement"),
    "... with teachers of the view that it never heard":
        ("the same, and others of the view", "agreement"),
    "agreement of two teachers": ("two teachers of one view", "agreement"),
    "IoU above chance, two teachers": ("two teachers of one view", "IoU above chance"),
    "the same with the class-sum map":
        ("two teachers of one view", "IoU above chance, target class_sum"),
    "a class-sum map with itself, after one vector is added to all classifier rows (should be 1)":
        ("a teacher, and it with a shifted classifier", "IoU with itself, target class_sum"),
    "the predicted class's map likewise":
        ("a teacher, and it with a shifted classifier", "IoU with itself, target predicted"),
}  # fmt: skip
# What the README's table says in the words of the first page, by the study's figures.
FIRST_PAGE = {
    "strong views lower the overlap of the teachers' attention":
        ["overlap, threshold 0.4", "overlap, equal area"],
    "teachers that look alike are followed more": ["N, fidelity"],
    "where its teachers look elsewhere, a student follows them less": ["b of agreement"],
    "students on the strong view are better": ["strong students"],
    "a student gains by what its teachers say of this very image": ["mimicry"],
}  # fmt: skip


def table(page, heading):
    """The rows, by their first cell, of the table whose first line begins so."""
    lines = iter(page.read_text().splitlines())
    next(line for line in lines if line.startswith(f"| {heading}"))
    next(lines)
    rows = {}
    for line in lines:
        if not line.startswith("|"):
            return rows
        first, *others = [cell.strip() for cell in line.strip("|").split("|")]
        rows[first] = others
    return rows


def csv_rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def says(text, value):
    """Whether the number that is written is the value, rounded to as many places."""
    places = len(text.partition(".")[2])
    return abs(float(text) - float(value)) <= 0.5 * 10.0**-places + 1e-9


def test_the_page_of_objectives_is_made_of_its_tables():
    folder = ROOT / "results/objectives"
    means, ranks = (json.loads((folder / f"{name}.json").read_text())
                    for name in ("objectives", "objectives_ranks"))  # fmt: skip
    asked = ObjectiveOptions(dataset="photographs")
    assert page(asked, means, ranks) == (folder / "objectives.md").read_text()
    for row, written in zip(means, csv_rows(folder / "objectives.csv"), strict=True):
        assert {name: "" if value is None else str(value) for name, value in row.items()} == {
            name: written[name] for name in row
        }
    quoted = table(ROOT / "results/README.md", "cell |")
    assert quoted.keys() == {row["cell"] for row in ranks}
    for row in ranks:
        numbers = re.findall(r"-?\d?\.\d+", quoted[row["cell"]][0])
        for text, end in zip(numbers, ("", "_low", "_high"), strict=True):
            assert says(text, row[f"rank_correlation{end}"])


def kept_replicates():
    """Those of one study, by their numbers."""
    folder = ROOT / "results/study"
    files = {path: read_replicate(path) for path in folder.glob("replicate_*.csv")}
    one_study(files, codes_alike(folder))
    return sorted(files.values(), key=lambda file: int(file.facts["replicate"]))


COUNTS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def test_the_replicates_that_are_kept_are_of_one_study_and_the_pages_name_them():
    numbers = [file.facts["replicate"] for file in kept_replicates()]
    page, first_page = ((ROOT / name).read_text() for name in ("results/README.md", "README.md"))
    linked = set(re.findall(r"\((study/replicate_\w+\.csv)\)", page))
    assert linked == {f"study/replicate_{number}.csv" for number in numbers}
    count = COUNTS[len(numbers)]
    assert f"{count} replicates of ten are finished" in page
    assert f"{count} replicates with teachers of their own" in " ".join(first_page.split())


def test_the_papers_own_numbers():
    """The file is what its tables say, and the page what the file says."""
    rows, known = csv_rows(ROOT / "results/study/paper.csv"), own_rows()
    assert [{name: float(row[name]) for name in datasets() if row[name]} for row in rows] == [
        {name: row[name] for name in datasets() if name in row} for row in known
    ]
    by_figure = {(row["claim"], row["figure"]): row for row in rows}
    lines = (ROOT / "results/README.md").read_text().splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("| section | figure"))
    written = list(itertools.takewhile(lambda line: line.startswith("|"), lines[first + 2 :]))
    assert len(written) > 20
    for line in written:
        claim, figure, *numbers = (cell.strip() for cell in line.strip("|").split("|"))
        for text, name in zip(numbers, datasets(), strict=True):
            value = by_figure[claim, figure][name]
            assert says(text, value) if value else text == "-", line


@pytest.mark.parametrize("number, name", list(enumerate(SETS)))
def test_the_earlier_verdicts(number, name):
    claims = {row["claim"]: row for row in csv_rows(EARLIER / name / "claims.csv")}
    written = table(EARLIER / "README.md", "claim |")
    assert written.keys() == CLAIMS.keys()
    for line, cells in written.items():
        known = [claims[claim] for claim in CLAIMS[line] if claim in claims]
        parts = [] if cells[number] in ("-", "not judged then") else cells[number].split(";")
        assert len(parts) == len(known), line
        for part, row in zip(parts, known, strict=True):
            sign, *numbers = re.findall(r"\*\*.\*\*|\?|-?[\d.]+", part)
            assert SHORT[sign] == row["verdict"], line
            for text, column in zip(numbers, ("estimate", "low", "high"), strict=False):
                assert says(text, row[column]), (line, text, row[column])


@pytest.mark.parametrize("number, name", list(enumerate(SETS)))
def test_the_earlier_controls(number, name):
    rows = csv_rows(EARLIER / name / "controls.csv")
    means = {(row["control"], row["figure"], row["view"]): row["mean"] for row in rows}
    written = table(EARLIER / "README.md", "| photographs, weak")
    assert written.keys() == CONTROLS.keys()
    for line, cells in written.items():
        for text, view in zip(cells[2 * number :], ("weak", "strong"), strict=False):
            assert says(text, means[*CONTROLS[line], view]), (line, view)


def test_the_studys_page_is_made_of_its_replicates():
    """And is what endpoints.csv says."""
    folder = ROOT / "results/study"
    kept = kept_replicates()
    rows = rows_of(kept)
    assert page_of_study(kept, rows) == (folder / "endpoints.md").read_text()
    for row, written in zip(rows, csv_rows(folder / "endpoints.csv"), strict=True):
        assert (row["figure"], row["verdict"]) == (written["figure"], written["verdict"])
        for name in ("estimate", "low", "high", "p"):
            assert row[name] == pytest.approx(float(written[name]), rel=1e-6)


def studys_rows():
    return {row["figure"]: row for row in csv_rows(ROOT / "results/study/endpoints.csv")}


def check_interval(text, row):
    """Whether `1.23 (1.00 to 1.50)` is the row's estimate and interval."""
    numbers = re.fullmatch(r"(-?[\d.]+) \((-?[\d.]+) to (-?[\d.]+)\)", text.strip()).groups()
    for number, column in zip(numbers, ("estimate", "low", "high"), strict=True):
        assert says(number, row[column]), (row["figure"], text, row[column])


def test_the_studys_verdicts_in_results():
    known = studys_rows()
    written = {}
    for heading in ("primary", "secondary", "exploratory"):
        for line, cells in table(ROOT / "results/README.md", heading).items():
            row, (_, interval, *ps, verdict) = known[line], cells
            assert (row["rank"], row["verdict"]) == (heading, verdict.strip("*")), line
            check_interval(interval, row)
            columns = ("p", "p_holm") if heading == "primary" else ("p",)
            for text, column in zip(ps, columns, strict=True):
                check_chance(text, row[column])
            written[line] = heading
    chosen = {name: row["rank"] for name, row in known.items() if row["rank"] != "exploratory"}
    assert chosen.items() <= written.items()


def check_chance(text, p):
    """Whether the p that is written is this one."""
    assert float(p) < 0.0001 if text == "< .0001" else says(text, p), (text, p)


def test_the_first_page_gives_the_studys_verdicts():
    known, written = studys_rows(), table(ROOT / "README.md", "the paper says")
    assert written.keys() == FIRST_PAGE.keys()
    for line, figures in FIRST_PAGE.items():
        _, intervals, verdict = written[line]
        for text, figure in zip(intervals.split(";"), figures, strict=True):
            check_interval(text, known[figure])
            assert known[figure]["verdict"] == verdict.strip("*"), line
    (heading,) = (line for line in (ROOT / "README.md").read_text().splitlines()
                  if line.startswith("| the paper says"))  # fmt: skip
    assert re.findall(r"n = (\d+)", heading) == [known["mimicry"]["replicates"]]


def test_the_doses_are_means_over_the_replicates():
    by_cell = {}
    for file in kept_replicates():
        for row in file.cells:
            by_cell.setdefault((row["figure"], row["cell"]), []).append(float(row["value"]))
    written = table(ROOT / "results/README.md", "doses")
    assert len(written) == 5
    for pair, cells in written.items():
        asked = [("IoU above chance, label, equal area", pair)]
        asked += [("fidelity, %", f"{pair}_{student}") for student in ("Sw", "Ss")]
        for text, key in zip(cells, asked, strict=True):
            assert says(text, statistics.fmean(by_cell[key])), (pair, key, text)
