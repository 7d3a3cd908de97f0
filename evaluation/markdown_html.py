"""The Markdown of the reports' own pages as HTML: headings, paragraphs, tables, figures, bold, code
and links to files beside them. It is no general reader of Markdown."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

FIGURE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
LINK = re.compile(r"\[([^\]]+)\]\(([\w./#-]+)\)")
# "0.1 to 0.3", "4.0 ± 0.1 (0.2, n = 2)", "< .001"
NUMBER = re.compile(r"(?:< )?[-+]?\.?\d(?:to|n = |[^a-zA-Z])*")
MISSING = "-"

Drawing = Callable[[str], str]  # a figure's file, as a page names it -> HTML


@dataclass(frozen=True)
class Part:
    """What stands below a heading of a page: blocks of lines; below "" what comes before."""

    title: str
    blocks: Sequence[Sequence[str]]


def parts_of(markdown: str) -> list[Part]:
    """The page's, in order; its own title ("# ...") is left out."""
    parts: list[tuple[str, list[list[str]]]] = [("", [])]
    for block in _blocks(markdown):
        if block[0].startswith("## "):
            parts.append((block[0][3:], []))
        elif not block[0].startswith("# "):
            parts[-1][1].append(block)
    return [Part(title, blocks) for title, blocks in parts if title or blocks]


def as_html(blocks: Sequence[Sequence[str]], about: str, draw: Drawing) -> str:
    """HTML of the blocks of a part; about: what the tables are of, for who does not see them."""
    return "\n".join(_of_block(block, about, draw) for block in _with_captions(blocks))


def inline(text: str) -> str:
    """A line of Markdown as HTML."""
    escaped = html.escape(text, quote=False)
    linked = LINK.sub(r'<a href="\2">\1</a>', escaped)
    bold = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", linked)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", bold)


def _blocks(markdown: str) -> Iterator[list[str]]:
    """The lines between empty ones."""
    for is_text, lines in itertools.groupby(markdown.splitlines(), bool):
        if is_text:
            yield list(lines)


def _with_captions(blocks: Sequence[Sequence[str]]) -> Iterator[Sequence[str]]:
    """A figure and the paragraph below it as one block."""
    rest = iter(blocks)
    for block in rest:
        yield [*block, *next(rest, [])] if FIGURE.match(block[0]) else block


def _of_block(block: Sequence[str], about: str, draw: Drawing) -> str:
    if found := FIGURE.match(block[0]):
        caption = inline(" ".join(block[1:]))
        return (
            f'<figure>\n<div class="drawing">{draw(found[2])}</div>\n'
            f"<figcaption>{caption}</figcaption>\n</figure>"
        )
    if block[0].startswith("|"):
        return _table([_cells(line) for line in block], about)
    return f"<p>{inline(' '.join(block))}</p>"


def _cells(line: str) -> list[str]:
    return line.removeprefix("| ").removesuffix(" |").split(" | ")


def _table(lines: Sequence[Sequence[str]], about: str) -> str:
    """In a box of its own, which scrolls where it is too wide."""
    heads, rows = lines[0], lines[2:]
    head = "".join(f'<th scope="col">{inline(heading)}</th>' for heading in heads)
    body = "\n".join(f"<tr>{_row(heads, row)}</tr>" for row in rows)
    label = html.escape(about)
    return (
        f'<div class="table" role="region" tabindex="0" aria-label="{label}"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _row(heads: Sequence[str], row: Sequence[str]) -> str:
    first, *rest = row
    cells = [f'<th scope="row">{inline(first)}</th>']
    for head, text in zip(heads[1:], rest, strict=False):
        cells.append(f'<td class="{_class(head, text)}">{inline(text)}</td>')
    return "".join(cells)


def _class(head: str, text: str) -> str:
    """Of a cell, by which it is aligned, sorted and marked."""
    if head == "verdict":
        return f"verdict {text.partition(' ')[0].rstrip(':')}"
    bare = text.replace("*", "")
    return "number" if bare == MISSING or NUMBER.fullmatch(bare) else "words"
