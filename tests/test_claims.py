"""The claims on made up grids whose answer is known."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from scipy.stats import spearmanr

from engine.cells import TeacherCell, parse_student, student_cells
from evaluation.claims import claims, judged, mixture, verdict
from evaluation.claims_figures import Drawn
from evaluation.claims_page import markdown
from evaluation.figures import rendered
from evaluation.grid_figures import (
    grid_figure,
    reliability_lines_figure,
    strength_figure,
    strong_views_figure,
)
from evaluation.grid_values import GRID_STUDENTS, GridValues, PerImage
from metrics.calibration import equal_width_sums, reliability, sample_columns
from metrics.intervals import Estimate, spearman

IMAGES = 400


def made_up(seeds: tuple[int, ...], effect: float) -> GridValues:
    """A strong letter in a cell's name adds `effect` to top-1 and takes it from the rest."""
    generator = torch.Generator().manual_seed(0)
    hardness = torch.rand(IMAGES, generator=generator, dtype=torch.float64)

    def answers(probability: float) -> PerImage:
        noise = torch.rand(IMAGES, generator=generator, dtype=torch.float64) / 4
        return PerImage((hardness + noise < 1.1 * probability).double(), torch.arange(IMAGES))

    top1, train, fidelity = {}, {}, {}
    for cell, seed in itertools.product(GRID_STUDENTS, seeds):
        strong = str(cell).count("s")
        top1[cell, seed] = answers(0.5 + effect * strong + 0.02 * len(cell.teachers))
        train[cell, seed] = 0.9 - effect * strong
        fidelity[cell, seed] = answers(0.7 - effect * strong)
    overlaps = {}
    for letters in [*itertools.product("ws", repeat=3), *itertools.product("ws", repeat=2)]:
        for numbers in itertools.combinations((1, 2, 3), len(letters)):
            teachers = tuple(map(TeacherCell, numbers, letters))
            overlaps[teachers] = answers(0.6 - effect * letters.count("s"))
    return GridValues(IMAGES, top1, train, fidelity, overlaps, overlaps)


def test_a_grid_that_does_as_the_paper_says_supports_it() -> None:
    rows = {row["claim"]: row for row in judged(made_up((1, 2, 3), 0.08))}
    for claim in ("1", "2", "3a", "3b", "3c", "4", "6, 2T low", "6, 3T high"):
        assert rows[claim]["verdict"] == "supported", rows[claim]
        assert rows[claim]["low"] <= rows[claim]["estimate"] <= rows[claim]["high"]


def test_a_grid_that_does_the_opposite_contradicts_it() -> None:
    rows = {row["claim"]: row for row in judged(made_up((1, 2, 3), -0.08))}
    assert {rows[claim]["verdict"] for claim in ("1", "4")} == {"contradicted"}
    assert rows["2"]["verdict"] == "supported"  # both rise together


def test_a_difference_is_that_of_the_means_by_hand() -> None:
    grid = made_up((1, 2), 0.05)
    by_hand = [
        100 * sign * grid.top1[cell, seed].values.mean().item() / (len(GRID_STUDENTS) / 2) / 2
        for cell in GRID_STUDENTS
        for seed in (1, 2)
        for sign in [1 if cell.letter == "s" else -1]
    ]
    row = next(row for row in judged(grid) if row["claim"] == "4")
    assert row["estimate"] == pytest.approx(sum(by_hand))


def test_one_seed_gives_no_verdict() -> None:
    rows = {row["claim"]: row for row in judged(made_up((1,), 0.05))}
    assert rows["4"]["verdict"].startswith("no verdict") and rows["4"]["low"] is None
    assert rows["1"]["seeds"] == 3  # teachers


def test_a_seed_that_lacks_a_cell_takes_no_part_in_its_claim() -> None:
    grid = made_up((1, 2, 3), 0.05)
    del grid.top1[student_cells(3)[0], 3]
    rows = {row["claim"]: row for row in judged(grid)}
    assert rows["5, 3T"]["seeds"] == 2 and rows["5, 1T"]["seeds"] == 3


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.1, 0.2, "supported"), (-0.2, -0.1, "contradicted"), (-0.1, 0.1, "cannot tell")],
)
def test_a_verdict_follows_from_the_interval(low: float, high: float, words: str) -> None:
    assert verdict(Estimate((low + high) / 2, low, high, 3)) == words


def test_rank_correlation_is_scipys() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, 5, (3, 9), generator=generator).double()
    y = torch.randn(3, 9, generator=generator, dtype=torch.float64)
    expected = [spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert spearman(x, y).tolist() == pytest.approx(expected)
    assert spearman(torch.ones(4), y[0, :4]).item() == 0


def test_students_of_another_view_change_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though only one of the seeds has them."""
    grid = made_up((1, 2), 0.05)
    own = judged(grid)
    mixed = [cell for k in range(3) for cell in student_cells(k, letters="wm")]
    others = [cell for cell in mixed if "m" in cell.letters]
    monkeypatch.setattr("evaluation.grid_values.GRID_STUDENTS", (*GRID_STUDENTS, *others))
    for cell in others:
        weak = parse_student(str(cell).replace("m", "w"))
        for values in (grid.top1, grid.train_top1, grid.fidelity):
            if (weak, 1) in values:
                values[cell, 1] = values[weak, 1]
    assert set(others) <= set(grid.cells)
    assert judged(grid) == own


def test_mixture_of_views() -> None:
    assert [mixture(cell.teachers) for cell in student_cells(2)[::2]] == [
        "weak", "mixed", "mixed", "strong"
    ]  # fmt: skip


def test_the_page_holds_every_row_and_its_figures_every_cell() -> None:
    grid = made_up((1, 2), 0.05)
    rows = judged(grid)
    control = {"control": "c", "view": "weak", "figure": "f", "mean": 0.5, "std": None, "n": 1}
    drawn = Drawn("grid", "A point a cell.", grid_figure(grid, rows))
    page = markdown(rows, [control], [drawn], "somewhere")
    assert "![grid](grid.png)\n\nA point a cell." in page
    assert page.count("\n| ") == len(rows) + 3
    panels = drawn.figure.axes
    assert len(panels) == 4
    assert sum(len(c.get_offsets()) for c in panels[0].collections) == 24


def test_the_correlation_above_a_panel_has_the_sign_of_its_points() -> None:
    """Claim 3b is minus the correlation of fidelity and top-1."""
    row = {"claim": "3b", "estimate": 0.25, "low": -0.125, "high": 0.75}
    titles = [axes.get_title() for axes in grid_figure(made_up((1,), 0.05), [row]).axes]
    assert titles == ["", "", "rho = -0.25 (-0.75 to 0.12)", ""]
    unknown = row | {"low": None, "high": None}
    titles = [axes.get_title() for axes in grid_figure(made_up((1,), 0.05), [unknown]).axes]
    assert titles[2] == "rho = -0.25 (one seed)"


def test_reliability_leaves_out_bins_that_hold_next_to_nothing() -> None:
    """990 images at .3 and 10 at .5: both bins; 991 and 9: the first alone."""
    for few, points in ((10, 2), (9, 1)):
        confidence = torch.cat([torch.full((1000 - few,), 0.3), torch.full((few,), 0.5)])
        sums = equal_width_sums(sample_columns(torch.ones(1000).bool(), confidence), 15)
        (axes,) = reliability_lines_figure({"weak": {0: reliability(sums)}}).axes
        line = axes.lines[1]
        assert len(line.get_xdata()) == points and line.get_ydata()[0] == 1
        assert line.get_label() == f"no teachers, ECE {0.7 - 0.0002 * few:.3f}"


def test_the_main_figure_draws_means_by_hand() -> None:
    grid = made_up((1, 2), 0.05)
    overlap, fidelity, gap, top1 = strong_views_figure(grid).axes
    assert [len(axes.containers) for axes in (overlap, fidelity, gap, top1)] == [2, 8, 8, 8]
    del grid.top1[parse_student("T1s_T2s_Sw"), 1], grid.top1[parse_student("T1s_T2s_Sw"), 2]
    del grid.top1[parse_student("T1w_T2w_Ss"), 1], grid.top1[parse_student("T1w_T2w_Ss"), 2]
    of_pairs, _ = strong_views_figure(grid).axes[0].containers
    assert len(of_pairs.lines[0].get_xdata()) == 3  # all teachers, whichever students are there
    mixed = [
        cell for cell in student_cells(2)
        if cell.letter == "s" and sum(t.letter == "s" for t in cell.teachers) == 1
    ]  # fmt: skip
    by_hand = [grid.top1[cell, seed].values.mean() for cell in mixed for seed in (1, 2)]
    label = "2 teachers, strong"
    (line,) = [c.lines[0] for c in top1.containers if c.get_label() == label]
    assert line.get_ydata()[1] == pytest.approx(100 * sum(by_hand).item() / len(by_hand))


def test_a_curve_over_strength_is_the_mean_over_seeds() -> None:
    at = {"top1": [40.0, 44.0], "gap": [1.0, 3.0], "fidelity": []}
    figure = strength_figure({"Ss": {1.0: at, 0.0: {**at, "top1": [30.0, 30.0]}}})
    (line,) = [own.lines[0] for own in figure.axes[0].containers]
    assert line.get_xydata().tolist() == [[0, 30], [1, 42]]


def test_what_is_not_known_of_a_seed_leaves_out_its_cell_alone() -> None:
    grid = made_up((1, 2), 0.05)
    every = {claim.number for claim in claims(grid)}
    for cell in (student_cells(1)[0], *student_cells(3)):
        del grid.train_top1[cell, 2]
    del grid.fidelity[student_cells(2)[0], 1]
    evenly = torch.full((1, IMAGES), 1 / IMAGES, dtype=torch.float64)
    found = {claim.number: claim.statistic(evenly) for claim in claims(grid)}
    assert found.keys() == every
    assert all(bool(value.isfinite().all()) for value in found.values())
    assert len(grid_figure(grid, []).axes) == 4
    grid.train_top1.clear()
    assert every - {claim.number for claim in claims(grid)} == {"3a", "3a, view held"}


def test_a_resample_without_an_image_that_has_maps_takes_no_part() -> None:
    """Of 400 images one: without it there is no overlap to take the mean of."""
    grid = made_up((1, 2), 0.05)
    few = {
        teachers: PerImage(own.values[:1], own.index[:1]) for teachers, own in grid.plain.items()
    }
    grid = dataclasses.replace(grid, plain=few, corrected=few)
    for row in judged(grid):
        assert all(math.isfinite(row[name]) for name in ("estimate", "low", "high"))


def test_a_figure_over_strength_may_lack_a_panel() -> None:
    at = {"top1": [40.0], "gap": [], "fidelity": []}
    figure = strength_figure({"Ss": {1.0: at, 0.0: at}})
    assert rendered(figure, "png", 50).startswith(b"\x89PNG")
