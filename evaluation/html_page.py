"""A page in one file to open or send. It needs no network, and a script only to sort its tables."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from common.files import read_text, write_text
from evaluation.inline_svg import inline_svg
from evaluation.markdown_html import Drawing, Part, as_html, inline

STYLE, SCRIPT = (Path(__file__).with_name(f"page.{ending}") for ending in ("css", "js"))
SORTING = "Click on a column's heading to sort by it."


def write_page(path: Path, title: str, lead: str, sections: Mapping[str, Sequence[Part]]) -> Path:
    """lead: Markdown below the title; sections: by their headings, those without parts left out.
    Figures are those in the page's folder."""
    filled = {heading: parts for heading, parts in sections.items() if parts}
    draw = partial(_drawn, path.parent)
    body = [_section(heading, parts, draw) for heading, parts in filled.items()]
    write_text(path, _page(title, f"{lead} {SORTING}", list(filled), body))
    return path


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


def _page(title: str, lead: str, sections: Sequence[str], body: Sequence[str]) -> str:
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
            f"<header>\n<h1>{html.escape(title)}</h1>\n<p>{inline(lead)}</p>",
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
