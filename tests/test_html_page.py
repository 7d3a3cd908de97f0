"""The report as one page: read by a parser, and by a browser where there is one."""

from __future__ import annotations

import base64
import csv
import hashlib
import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import DATASET, run_copy
from made_up_grids import made_up

from evaluation import making, report
from evaluation.claims import claims
from evaluation.claims_figures import Drawn
from evaluation.claims_page import DPI, markdown
from evaluation.figures import COLOURS, saved
from evaluation.grid_figures import grid_figure, strong_views_figure
from evaluation.inline_svg import inline_svg
from evaluation.markdown_html import as_html, parts_of
from evaluation.paper_claims import paper_rows
from evaluation.report_page import write_report
from evaluation.tables import write_table
from evaluation.verdicts import SHOWN, judged

VOID = {"meta", "img", "br", "link", "input"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CELLS = "# The cells\n\nMean.\n\n## Accuracy\n\n| cell | n |\n|---|---|\n| Sw | 10 |\n| Ss | 9 |\n"
CELLS += "| T1w_Sw | - |\n"
MADE = "A note.\n\n| commit | hours |\n|---|---|\n| abc | 0.50 |\n"


class Read(HTMLParser):
    """Elements as (tag, attributes), tables as rows of texts; fails where a tag is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.headings: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        elif re.fullmatch(r"h\d", tag):
            self.headings.append((tag, ""))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if {"th", "td"} & set(self._open):
            self.tables[-1][-1][-1] += data
        if self._open and re.fullmatch(r"h\d", self._open[-1]):
            self.headings[-1] = (self._open[-1], self.headings[-1][1] + data)

    def values(self, *names):
        """Of these attributes, wherever they are."""
        return [own[name] for _, own in self.elements for name in names if name in own]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The report of a made up grid of two replicates."""
    folder = tmp_path_factory.mktemp("made") / "report"
    grid = made_up((1, 2), 0.05)
    rows, papers = judged(claims(grid), grid), paper_rows()
    figures = {"strong_views": strong_views_figure(grid), "grid": grid_figure(grid, rows)}
    drawn = [Drawn(name, f"About <{name}> & more.", own) for name, own in figures.items()]
    for own in drawn:
        saved(own.figure, folder / f"{own.name}.svg", DPI[".svg"])
    saved(figures["grid"], folder / "picture.png", 20)
    control = {"control": "c", "view": "weak", "figure": "f", "mean": 0.5, "std": None, "n": 1}
    write_table(folder / "claims", rows)
    page = markdown(rows, papers, [control], drawn, "somewhere")
    (folder / "claims.md").write_text(page)
    (folder / "cells.md").write_text(CELLS)
    (folder / "causes.md").write_text("# Causes\n\n![picture](picture.png)\n\nA picture.\n")
    write_report(folder, "some<where", MADE)
    return folder


@pytest.fixture(scope="module")
def page(folder) -> str:
    return (folder / "index.html").read_text()


def test_numbers_of_the_verdicts_are_those_of_the_csv(folder, page):
    tables = [table for table in Read(page).tables if table[0][-1] == "verdict"]
    shown = [dict(zip(head, row, strict=True)) for head, *rows in tables for row in rows]
    with (folder / "claims.csv").open(newline="") as lines:
        kept = [row for row in csv.DictReader(lines) if row["look"] != SHOWN]
    assert len(shown) == len(kept) > 30
    for own, row in zip(shown, kept, strict=True):
        figure = ", ".join(filter(None, [row["figure"], row["way"]]))
        assert (own["claim"], own["figure"]) == (row["claim"], figure)
        assert float(own["estimate"]) == round(float(row["estimate"]), 3)
        ends = [float(end) for end in own["95% interval"].split(" to ")]
        assert ends == [round(float(row[end]), 3) for end in ("low", "high")]
        for name, column in (("p", "p"), ("p, Holm", "holm")):
            if row[column] and float(row[column]) >= 0.001:
                assert float(own[name]) == round(float(row[column]), 3)
            else:
                assert own[name] == ("< .001" if row[column] else "-")
        assert (own["replicates"], own["verdict"]) == (row["replicates"], row["verdict"])


def test_it_loads_nothing_and_its_ids_are_its_own(page):
    read = Read(page)
    ids = read.values("id")
    assert len(ids) == len(set(ids)) > 10
    places = read.values("src", "href", "xlink:href", "srcset", "data", "action")
    assert places and all(own.startswith(("#", "data:image/png;base64,")) for own in places)
    assert {own[1:] for own in places if own.startswith("#")} <= set(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)
    assert "http:" not in page and "https:" not in page and "@import" not in page
    assert len(re.findall(r"url\((?!#)", page)) == 0
    assert len(page) < 3e6


def test_sections_stand_in_order(page):
    headings = Read(page).headings
    assert headings[0] == ("h1", "Why distillation works: some<where")
    sections = [text for tag, text in headings if tag == "h2"]
    assert sections == ["Verdicts", "Figures", "Cells", "The paper's tables", "Causes", "Controls",
                        "Shown, not judged", "How it was made"]  # fmt: skip
    levels = [int(tag[1]) for tag, _ in headings]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert next(text for tag, text in headings if tag == "h3") == "Over all cells"


def test_every_cell_of_the_grid_is_named_at_its_point(page):
    names = re.findall(r'<g class="point"><title>([^<]+)</title>', page)
    assert set(names) == {str(cell) for cell in made_up((1,), 0).cells if cell.teachers}


def test_paragraphs_tables_and_words_by_hand():
    (part,) = parts_of("# Title\n\n## Of `a` & b\n\none\n**two**\n\n| c | verdict |\n|---|---|\n"
                       "| **0.5 ± 0.1 (0.2, n = 2)** | cannot tell |\n")  # fmt: skip
    assert part.title == "Of `a` & b"
    assert as_html(part.blocks, 'so "called"', str).split("\n") == [
        "<p>one <b>two</b></p>",
        '<div class="table" role="region" tabindex="0" aria-label="so &quot;called&quot;"><table>',
        '<thead><tr><th scope="col">c</th><th scope="col">verdict</th></tr></thead>',
        "<tbody>",
        '<tr><th scope="row"><b>0.5 ± 0.1 (0.2, n = 2)</b></th>'
        '<td class="verdict cannot">cannot tell</td></tr>',
        "</tbody></table></div>",
    ]


@pytest.mark.parametrize("text", ["0.1", "-0.1 to 0.3", "< .001", "41.0 ± 12.7 (1.4, n = 2)", "-",
                                  "**0.4**", "0.43 [0.41 to 0.45]", "100"])  # fmt: skip
def test_numbers_are_known(text):
    assert 'class="number"' in as_html([["| a | b |", "|---|---|", f"| x | {text} |"]], "", str)


@pytest.mark.parametrize("text", ["6.1 overlap", "IoU", "unknown", "T1w"])
def test_words_are_no_numbers(text):
    assert 'class="words"' in as_html([["| a | b |", "|---|---|", f"| x | {text} |"]], "", str)


def test_a_drawing_by_hand():
    svg = (
        '<?xml version="1.0"?><!DOCTYPE svg><svg xmlns:xlink="http://w3" width="1pt" '
        'viewBox="0 0 1 1" version="1.1"><metadata>x</metadata><defs><style type="text/css">*{}'
        '</style><path id="m1" style="stroke: #000000"/></defs><g id="text_1"><text style="font: '
        "8px 'DejaVu Sans', sans-serif; fill: #ffffff\">a</text></g>"
        f'<g id="point2-T1w+T5_Sw"><use xlink:href="#m1" style="fill: {COLOURS[1].lower()}"/></g>'
        '<g clip-path="url(#m1)"/></svg>'
    )
    assert inline_svg(svg, "grid", "the grid") == (
        '<svg viewBox="0 0 1 1" role="img" aria-label="the grid"><defs><path id="grid-m1" '
        'style="stroke: currentColor"/></defs><g><text style="font-size: 8px; fill: '
        'var(--paper)">a</text></g><g class="point"><title>T1w+T5_Sw</title>'
        f'<use href="#grid-m1" style="fill: var(--figure-1, {COLOURS[1]})"/></g>'
        '<g clip-path="url(#grid-m1)"/></svg>'
    )


def test_pages_of_an_earlier_report_are_not_shown_as_todays(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "report")
    for pages, shown in (
        ((), []),
        (("claims",), ["Figures", "Controls"]),
        (("causes",), ["Causes"]),
    ):
        page = write_report(tmp_path / "report", "set", MADE, pages).read_text()
        found = [text for tag, text in Read(page).headings if tag == "h2"]
        assert set(found) & {"Figures", "Controls", "Causes"} == set(shown)
        assert ("No claim was judged" in page) == ("claims" not in pages)


def test_a_figure_that_is_gone_is_named(tmp_path):
    (tmp_path / "causes.md").write_text("# Causes\n\n![a](../a.png)\n\nCaption.\n")
    (tmp_path / "a.svg").write_text('<svg viewBox="0 0 1 1"><g>')  # cut short
    page = write_report(tmp_path, "set", MADE).read_text()
    assert "<p>a.png is not there.</p>" in page
    assert [text for tag, text in Read(page).headings if tag == "h2"] == [
        "Verdicts",
        "Causes",
        "How it was made",
    ]


def test_the_page_of_real_runs_says_how_they_were_made(taught, tmp_path):
    """Without claims; two runs that share an epoch's seconds learnt side by side."""
    find = run_copy(taught, tmp_path)
    report.main(["--dataset", DATASET, "--output-dir", str(tmp_path / "runs")])
    folder = tmp_path / "runs" / DATASET / "report"
    read = Read((folder / "index.html").read_text())
    titles = [text for tag, text in read.headings if tag == "h2"]
    assert titles == ["Verdicts", "Cells", "The paper's tables", "How it was made"]
    assert "<p>No claim was judged: " in (folder / "index.html").read_text()
    (row,) = json.loads((folder / "making.json").read_text())
    names = ("T1w", "T2w", "T1s", "T2s", "Sw", "T1w_Sw", "T1w_T2w_Sw", "T1s_T2s_Ss")
    runs = [find(name) for name in names]
    records = [record for run in runs for record in run.read_epochs(until=3)]
    distinct = {(record["epoch"], record["seconds"]) for record in records}  # two may be as long
    hours = sum(seconds for _, seconds in distinct) / 3600
    assert len(records) == 24 and row["hours"] == pytest.approx(hours)
    assert row["runs"] == 8 and row["device"] == "cpu" and row["commit"] != "unknown"
    assert read.tables[-1][1] == [str(row[name]) for name in making.HOW] + [
        "8",
        f"{row['hours']:.2f}",
    ]
    twice = [runs[0], *runs]
    assert sum(own["hours"] for own in making.making_rows(twice)) == pytest.approx(row["hours"])
    session = json.loads(runs[0].environment.read_text())
    runs[0].environment.write_text(json.dumps(session | {"sessions": [1]}))
    found = making.making_rows(runs)
    assert [(own["runs"], own["commit"]) for own in found] == [(1, "unknown"), (7, row["commit"])]


PROBE = """
const told = [], errors = [];
window.addEventListener("error", event => errors.push(event.message));
document.addEventListener("securitypolicyviolation", event => errors.push(event.violatedDirective));
window.addEventListener("load", () => {
  const table = document.querySelector("#cells table");
  const order = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent).join(" ");
  told.push(order());
  for (const column of [1, 1, 0]) {
    table.tHead.rows[0].cells[column].querySelector("button").click();
    told.push(order(), table.tHead.rows[0].cells[column].ariaSort);
  }
  const point = document.querySelector(".point");
  point.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
  told.push(point.closest("figure").querySelector("output").textContent);
  told.push(document.documentElement.scrollWidth <= window.innerWidth);
  const answer = document.createElement("pre");
  answer.id = "answer";
  answer.textContent = JSON.stringify([told, errors]);
  document.body.append(answer);
});
"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = [path for path in map(shutil.which, BROWSERS) if path]
    if not found:
        pytest.skip("no browser of the Chromium family is installed")
    return found[0]


def probed(browser: str, page: str, folder: Path, *flags: str) -> list:
    """What PROBE says in the page, which its policy is made to allow."""
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    allowed = page.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    copy = folder / "probed.html"
    copy.write_text(allowed.replace("<head>", f"<head><script>{PROBE}</script>", 1))
    ran = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", *flags,
         f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=2000", copy.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    answer = re.search(r'<pre id="answer">(.*?)</pre>', ran.stdout, re.DOTALL)
    assert answer, ran.stderr
    return json.loads(answer[1].replace("&lt;", "<").replace("&amp;", "&"))


@pytest.mark.parametrize("size", ["1200,800", "500,900"])
def test_it_sorts_and_names_points_in_a_browser(browser, page, tmp_path, size):
    """By numbers (9 before 10) with what is missing last, both ways, then by names."""
    told, errors = probed(browser, page, tmp_path, f"--window-size={size}")
    assert errors == []
    assert told[:7] == [
        "Sw Ss T1w_Sw", "Ss Sw T1w_Sw", "ascending", "Sw Ss T1w_Sw", "descending",
        "Ss Sw T1w_Sw", "ascending",
    ]  # fmt: skip
    assert told[7].startswith("T1") and told[8] is True


def test_foreign_scripts_do_not_run(browser, page, tmp_path):
    """Such as one in a figure's file that somebody sent."""
    evil = page.replace("</svg>", "<script>document.title = 'run'</script></svg>", 1)
    told, errors = probed(browser, evil, tmp_path)
    assert told and errors == ["script-src-elem"]
