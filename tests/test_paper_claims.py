"""The paper's own tables by the claims' figures, against the same worked out by hand."""

from __future__ import annotations

import pytest

from evaluation.paper_claims import paper_rows, printed_grid
from evaluation.per_image import Printed

ROWS = {(row["claim"], row["figure"]): row for row in paper_rows()}
SETS = ("CIFAR100", "CIFAR100_imb100", "ImageNet_LT")


def values(claim: str, figure: str) -> list[float]:
    (row,) = [row for (name, of), row in ROWS.items() if name == claim and figure in of]
    return [round(row[name], 3) for name in SETS]


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("6.1 overlap, weak students", [0.032, 0.049, -0.017]),
        ("6.1 overlap, strong students", [0.020, 0.031, -0.031]),
        ("6.2 accuracy, ranks", [0.833, 0.778, 0.762]),
        ("6.2 accuracy, ranks, strong students", [-0.2, -0.8, -0.4]),
        ("6.2 accuracy, ranks, weak students", [0.8, 0.949, 0.4]),
        ("6.1 accuracy, ranks", [0.810, 0.500, 0.643]),
        ("6.1 accuracy, ranks, strong students", [0.8, -0.4, 0.8]),
    ],
)
def test_figures_of_the_paper_by_hand(claim: str, expected: list[float]) -> None:
    assert values(claim, "") == expected


def test_mixed_minus_pure_teachers_by_hand() -> None:
    """CIFAR-100, strong students: (81.95 + 81.61) / 2 minus 81.29, and minus 81.37."""
    claim = "6.1 mixed accuracy, 2T, strong students"
    assert values(claim, "mixed minus weak")[0] == 0.49
    assert values(claim, "mixed minus strong")[0] == 0.41


def test_what_one_page_does_to_its_rows_another_does_not_see() -> None:
    for row in paper_rows():
        row.clear()
    assert paper_rows() == list(ROWS.values())
    directed = paper_rows(with_undirected=False)
    assert 0 < len(directed) < len(ROWS) and all(row in paper_rows() for row in directed)


def test_of_imagenet_the_paper_prints_no_overlap() -> None:
    row = ROWS["6.1 overlap", "IoU: weak minus strong teachers"]
    assert "ImageNet" not in row and "CIFAR100" in row
    assert all(isinstance(own, Printed) for own in printed_grid("ImageNet").of("top-1").values())
