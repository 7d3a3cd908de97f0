"""runs/<set>/report/index.html: the report in one file to open or send. It needs no network, and a
script only to sort its tables."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from common.files import read_text, write_text
from evaluation.claims_page import CONTROLS_TITLE, FIGURES_TITLE, PAPERS_TITLE, TITLES
from evaluation.inline_svg import inline_svg
from evaluation.markdown_html import Drawing, Part, as_html, inline, parts_of
from evaluation.verdicts import SHOWN

STYLE, SCRIPT = (Path(__file__).with_name(f"page.{ending}") for ending in ("css", "js"))
NAMES = (
    "T1w is teacher number 1, trained on the weak view of the images, T2s number 2 on the strong "
    "one. T1w_T2s_Ss is a student that was trained on the strong view and learnt from both; Sw and "
    "Ss had no teacher. A replicate (seed) is all of them trained anew. Every number is in a CSV "
    "file of the report's folder. Click on a column's heading to sort by it."
)


NO_VERDICTS = (
    "No claim was judged: that takes weak and strong students of the same teachers, and a verdict "
    "several replicates."
)


def write_page(folder: Path, dataset: str, making: str) -> Path:
    """From the Markdown pages and figures in the report's folder, those that are there, and the
    Markdown of how it was made."""
    sections = {title: parts for title, parts in _sections(folder, making).items() if parts}
    draw = partial(_drawn, folder)
    body = [_section(title, parts, draw) for title, parts in sections.items()]
    title = f"Why distillation works: {dataset}"
    path = folder / "index.html"
    write_text(path, _page(title, list(sections), body))
    return path


def _sections(folder: Path, making: str) -> dict[str, list[Part]]:
    """The page's parts by section, in the order in which they are read."""
    claims, cells, paper, causes = (
        _parts(folder / f"{name}.md") for name in ("claims", "cells", "paper", "causes")
    )
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


def _section(title: str, parts: Sequence[Part], draw: Drawing) -> str:
    """With a heading for each of its parts but one that has the section's own."""
    lines = [f'<section id="{_slug(title)}">', f"<h2>{html.escape(title)}</h2>"]
    for part in parts:
        if part.title not in ("", title):
            lines.append(f"<h3>{inline(part.title)}</h3>")
        lines.append(as_html(part.blocks, part.title or title, draw))
    return "\n".join([*lines, "</section>"])


def _drawn(folder: Path, file: str) -> str:
    """A figure as its SVG, else as the picture of that name, in the page itself."""
    picture = folder / Path(file).name
    drawing, label = picture.with_suffix(".svg"), html.escape(picture.stem.replace("_", " "))
    if drawing.is_file() and (drawn := inline_svg(read_text(drawing), picture.stem, label)):
        return drawn
    if picture.is_file():
        content = base64.b64encode(picture.read_bytes()).decode()
        return f'<img alt="{label}" src="data:image/png;base64,{content}">'
    return f"<p>{html.escape(picture.name)} is not there.</p>"


def _slug(title: str) -> str:
    return re.sub(r"[^a-z]+", "-", title.lower())


def _page(title: str, sections: Sequence[str], body: Sequence[str]) -> str:
    """The whole file. Nothing from elsewhere is loaded or run, whatever the figures' files say."""
    style, script = read_text(STYLE), read_text(SCRIPT)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'"
    )
    links = "\n".join(
        f'<a href="#{_slug(section)}">{html.escape(section)}</a>' for section in sections
    )
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{html.escape(title)}</title>",
            f"<style>\n{style}</style>",
            "</head>",
            "<body>",
            f"<header>\n<h1>{html.escape(title)}</h1>\n<p>{NAMES}</p>",
            f'<nav aria-label="Sections">\n{links}\n</nav>\n</header>',
            "<main>",
            *body,
            "</main>",
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )
