"""A figure's SVG as a part of a page, in the page's colours and under names of its own there."""

from __future__ import annotations

import re

from evaluation.figures import COLOURS

# What the page's style says of them depends on the light. Black is the colour of the page's text.
OF_THE_PAGE = {
    "#000000": "currentColor",
    "#ffffff": "var(--paper)",
    **{colour.lower(): f"var(--figure-{k}, {colour})" for k, colour in enumerate(COLOURS)},
}
WHOLE = re.compile(r"<svg[^>]*viewBox=(\"[^\"]*\")[^>]*>(.*</svg>)", re.DOTALL)
NOT_OF_A_PAGE = re.compile(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", re.DOTALL)
POINT = re.compile(r'<g id="point\d+-([^"]+)">')  # what evaluation/grid_figures.py calls them
FONT = re.compile(r"font: ([\d.]+px) [^;\"]+")
ID = re.compile(r' id="([^"]+)"')
COLOUR = re.compile("|".join(OF_THE_PAGE))


def inline_svg(svg: str, name: str, label: str) -> str | None:
    """The element of a file that matplotlib wrote, None where it is not whole. name: begins each of
    its ids; label: says what it shows. A point that stands for a cell says its name under the
    mouse."""
    found = WHOLE.search(svg)
    if found is None:
        return None
    drawing = NOT_OF_A_PAGE.sub("", found[2]).replace("xlink:href", "href")
    drawing = POINT.sub(r'<g class="point"><title>\1</title>', drawing)
    drawing = FONT.sub(r"font-size: \1", COLOUR.sub(lambda match: OF_THE_PAGE[match[0]], drawing))
    root = f'<svg viewBox={found[1]} role="img" aria-label="{label}">'
    return root + _with_own_ids(drawing.strip(), name)


def _with_own_ids(drawing: str, name: str) -> str:
    """Those that nothing refers to are left out."""
    used = set(re.findall(r"#([\w.-]+)[\")]", drawing))
    kept = ID.sub(lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", drawing)
    return re.sub(r"(href=\"|url\()#", rf"\g<1>#{name}-", kept)
