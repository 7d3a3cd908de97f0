"""runs/<set>/report/index.html: the report's Markdown pages and figures in one file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from common.files import read_text
from evaluation.claims_page import CONTROLS_TITLE, FIGURES_TITLE, PAPERS_TITLE, TITLES
from evaluation.html_page import write_page
from evaluation.markdown_html import Part, parts_of
from evaluation.verdicts import SHOWN

NAMES = (
    "T1w is teacher number 1, trained on the weak view of the images, T2s number 2 on the strong "
    "one. T1w_T2s_Ss is a student that was trained on the strong view and learnt from both; Sw and "
    "Ss had no teacher. A replicate (seed) is all of them trained anew. Every number is in a CSV "
    "file of the report's folder."
)
NO_VERDICTS = (
    "No claim was judged: bash script/report.sh does it. It takes weak and strong students of the "
    "same teachers, and a verdict several replicates."
)


JUDGED = ("claims", "causes")  # pages that other programs make


def write_report(folder: Path, dataset: str, making: str, judged: Collection[str] = JUDGED) -> Path:
    """From those pages and figures that are in the report's folder, and the Markdown of how it was
    made. judged: of JUDGED those that are not of an earlier report."""
    title = f"Why distillation works: {dataset}"
    return write_page(folder / "index.html", title, NAMES, _sections(folder, making, judged))


def _sections(folder: Path, making: str, judged: Collection[str]) -> dict[str, list[Part]]:
    """The page's parts by section, in the order in which they are read."""
    cells, paper = (_parts(folder / f"{name}.md") for name in ("cells", "paper"))
    claims, causes = (_parts(folder / f"{name}.md") if name in judged else [] for name in JUDGED)
    elsewhere = (FIGURES_TITLE, CONTROLS_TITLE, PAPERS_TITLE, TITLES[SHOWN])
    return {
        "Verdicts": [claim for claim in claims if not claim.title.startswith(elsewhere)]
        or parts_of(NO_VERDICTS),
        "Figures": _of(claims, FIGURES_TITLE),
        "Cells": cells,
        "The paper's tables": [*paper, *_of(claims, PAPERS_TITLE)],
        "Causes": causes,
        "Controls": _of(claims, CONTROLS_TITLE),
        TITLES[SHOWN]: _of(claims, TITLES[SHOWN]),
        "How it was made": parts_of(making),
    }


def _parts(path: Path) -> list[Part]:
    return parts_of(read_text(path)) if path.is_file() else []


def _of(parts: Sequence[Part], title: str) -> list[Part]:
    """The part whose title begins so."""
    return [part for part in parts if part.title.startswith(title)]
