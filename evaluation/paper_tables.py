"""The numbers that the paper prints, beside which the user's own are laid.

`paper_tables.csv` has a line for each number of tables 1, C.2 to C.4, G.5 and H.6 of Guo et al.
(arXiv 2405.00739v1, 30 April 2024): its table, data set, cell (in G.5 also a method of others),
measure, what the teachers saw (`whole` images, or the two `halves` of each) and value. Affinity,
accuracy, ECE, gap, IoU and fidelity are fractions.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("paper_tables.csv")
MEASURES = ("affinity", "top1", "ece", "gap", "iou", "fidelity")
WHOLE, HALVES = ("whole", "halves")  # images that the teachers see
COMPARISON = "G.5"  # the table of methods: its numbers of cells repeat or add to table 1


@dataclass(frozen=True)
class Published:
    """A number of the paper."""

    table: str
    dataset: str
    cell: str
    measure: str
    images: str
    value: float


@cache
def published() -> tuple[Published, ...]:
    """All of them, in the order of the file."""
    return tuple(_read())


def column(dataset: str, measure: str, images: str = WHOLE) -> dict[str, float]:
    """The measure of each of the eight cells of two teachers, in the order of the paper's tables;
    empty where the paper does not give it (gap, IoU and fidelity of ImageNet; another data set)."""
    asked = (dataset, measure, images)
    return {
        number.cell: number.value
        for number in published()
        if (number.dataset, number.measure, number.images) == asked and number.table != COMPARISON
    }


def datasets() -> tuple[str, ...]:
    """The four data sets of the paper, by this project's names."""
    return tuple(dict.fromkeys(number.dataset for number in published()))


def _read() -> Iterator[Published]:
    with FILE.open(encoding="utf-8", newline="") as lines:
        _header, *rows = csv.reader(lines)
    for table, dataset, cell, measure, images, value in rows:
        yield Published(table, dataset, cell, measure, images, float(value))
