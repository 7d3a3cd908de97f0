"""The report's page and figures of made up grids."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml
from made_up_grids import made_up
from PIL import Image

from engine.cells import parse_cell, parse_student
from engine.records import write_metrics
from engine.run import Runs
from evaluation.claims import claims
from evaluation.claims_figures import Drawn, strength_curves
from evaluation.claims_page import TITLES, markdown
from evaluation.figures import AttentionRow, Figure, attention_figure, rendered
from evaluation.grid_figures import (
    _trend,
    agreement_figure,
    grid_figure,
    learning_figure,
    reliability_lines_figure,
    strength_figure,
    strong_views_figure,
)
from evaluation.grid_values import TOP1, students_of
from evaluation.paper_claims import paper_rows
from evaluation.per_image import Mean
from evaluation.verdicts import ALL, HELD, SHOWN, judged
from metrics.calibration import equal_width_sums, reliability, sample_columns


def test_the_page_holds_every_row_and_its_figures_every_cell() -> None:
    grid = made_up((1, 2), 0.05)
    rows, papers = judged(claims(grid), grid), paper_rows()
    control = {"control": "c", "view": "weak", "figure": "f", "mean": 0.5, "std": None, "n": 1}
    drawn = Drawn("grid", "A point a cell.", grid_figure(grid, rows))
    page = markdown(rows, papers, [control], [drawn], "somewhere")
    assert "![grid](grid.png)\n\nA point a cell." in page
    judged_rows = [row for row in rows if row["look"] != SHOWN]
    assert all(f"| {row['estimate']:.3f} | " in page for row in judged_rows)
    titles = ("Over all cells", "With a view", "Shown, not judged", "By the paper's own tables")
    assert all(f"\n## {title}" in page for title in (*titles, "Controls"))
    lines = [line for line in page.splitlines() if line.startswith("| 6.1 overlap, masks |")]
    assert len(lines) == 1 and lines[0].count(" to ") == 8  # ways to make a mask
    assert page.count("\n| 6.2 gap") == 4 + 4  # ours, and the paper's
    panels = drawn.figure.axes
    assert len(panels) == 4
    assert sum(len(c.get_offsets()) for c in panels[0].collections) == 24
    asked = list(claims(grid))
    for look in (ALL, HELD):  # the family of Holm's correction
        count = sum(claim.look == look and bool(claim.seeds(grid)) for claim in asked)
        assert f"## {TITLES[look]}\n\n{count} claims: " in page
    names = [claim.name for claim in asked]
    assert len(set(names)) == len(names)


def test_a_trend_is_the_least_squares_line_of_its_points() -> None:
    """Through (0, 0), (1, 3), (2, 3): slope 1.5, from .5 to 3.5; two points have no line."""
    axes = Figure().add_subplot()
    _trend(axes, [(0, 0), (1, 3), (2, 3)], "k")
    (line,) = axes.lines
    assert line.get_xydata() == pytest.approx(torch.tensor([[0, 0.5], [2, 3.5]]).numpy())
    _trend(axes, [(0, 0), (1, 3)], "k")
    _trend(axes, [(1, 0), (1, 3), (1, 4)], "k")
    assert len(axes.lines) == 1


def test_a_band_holds_all_runs_and_its_line_is_their_mean() -> None:
    runs = {(0, "w"): [[0.1, 0.2], [0.3, 0.6]], (2, "s"): [[0.5, 0.5, 0.9]]}
    weak, strong = learning_figure(runs).axes
    assert (weak.get_title(), strong.get_title()) == ("weak students", "strong students")
    assert weak.lines[0].get_ydata() == pytest.approx([20, 40])
    band = weak.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == pytest.approx((10, 60))
    assert len(strong.lines[0].get_xdata()) == 3


def test_the_matrix_stands_in_groups() -> None:
    predictions = [torch.tensor(own) for own in ([0, 0], [0, 1], [1, 1])]
    figure = agreement_figure(["T1w", "T2w", "Sw"], ["teachers", "teachers", "alone"], predictions)
    axes = figure.axes[0]
    assert [own.get_text() for own in axes.get_xticklabels()] == ["teachers", "alone"]
    assert axes.get_xticks().tolist() == [0.5, 2] and len(axes.lines) == 2
    assert axes.images[0].get_array()[0, 1:].tolist() == [50, 0]


def test_outlines_stand_together_with_their_overlap() -> None:
    """Masks of 4 and 4 of 16 pixels, 2 in common: IoU 2 / 6."""
    left, right = torch.zeros(4, 4), torch.zeros(4, 4)
    left[:2, :2] = right[:2, 1:3] = 1
    image = Image.new("RGB", (4, 4), "grey")
    row = AttentionRow(image, [left, right], [left.bool(), right.bool()])
    (axes,) = attention_figure([row], ["T1w", "student"]).axes
    assert [text.get_text() for text in axes.texts] == [
        "IoU 0.33", "image", "T1w", "student", "together"
    ]  # fmt: skip
    pictures = [drawn.get_extent()[:2] for drawn in axes.images]
    outlines = [drawn.get_paths()[0].get_extents() for drawn in axes.collections]
    of = [[k for k, (low, high) in enumerate(pictures) if low <= box.x0 < box.x1 <= high]
          for box in outlines]  # fmt: skip
    assert sorted(of) == [[1], [2], [3], [3]] and len(pictures) == 4


def test_the_correlation_above_a_panel_has_the_sign_of_its_points() -> None:
    """That claim's figure is minus the correlation of fidelity and top-1."""
    row = {
        "claim": "6.2 accuracy, ranks",
        "estimate": 0.25,
        "low": -0.125,
        "high": 0.75,
        "replicates": 3,
    }
    titles = [axes.get_title() for axes in grid_figure(made_up((1,), 0.05), [row]).axes]
    assert titles == ["", "", "rho = -0.25 (-0.75 to 0.12), n = 3", ""]
    unknown = row | {"replicates": 1}
    titles = [axes.get_title() for axes in grid_figure(made_up((1,), 0.05), [unknown]).axes]
    assert titles[2] == "rho = -0.25 (one replicate)"


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
    assert [len(axes.containers) for axes in (overlap, fidelity, gap, top1)] == [2, 6, 8, 8]
    del grid.of(TOP1)[parse_student("T1s_T2s_Sw"), 1], grid.of(TOP1)[parse_student("T1s_T2s_Sw"), 2]
    del grid.of(TOP1)[parse_student("T1w_T2w_Ss"), 1], grid.of(TOP1)[parse_student("T1w_T2w_Ss"), 2]
    of_pairs, _ = strong_views_figure(grid).axes[0].containers
    assert len(of_pairs.lines[0].get_xdata()) == 3  # all teachers, whichever students are there
    mixed = [
        cell for cell in students_of((1, 2), 2)
        if cell.letter == "s" and sum(t.letter == "s" for t in cell.teachers) == 1
    ]  # fmt: skip
    by_hand = [grid.of(TOP1)[cell, seed].values.mean() for cell in mixed for seed in (1, 2)]
    label = "2 teachers, strong"
    (line,) = [c.lines[0] for c in top1.containers if c.get_label() == label]
    assert line.get_ydata()[1] == pytest.approx(100 * sum(by_hand).item() / len(by_hand))


def test_a_point_is_of_the_seeds_that_all_its_cells_have() -> None:
    """10, 20 and 30 % of T1w_Sw, 20 and 30 % of T2w_Sw's seeds 2 and 3: 25; none in common: no
    point."""
    first, second = parse_student("T1w_Sw"), parse_student("T2w_Sw")
    whole = made_up((1, 2, 3), 0, [first, second])

    def points(*right: tuple) -> list[list[float]]:
        top1 = {(cell, seed): Mean.of_all(torch.arange(whole.images) < 4 * percent)
                for cell, seed, percent in right}  # fmt: skip
        drawn = strong_views_figure(dataclasses.replace(whole, students={TOP1: top1})).axes[3]
        return [c.lines[0].get_ydata().tolist() for c in drawn.containers]

    of_first = [(first, 1, 10), (first, 2, 20), (first, 3, 30)]
    assert points(*of_first, (second, 2, 20), (second, 3, 30)) == [pytest.approx([25])]
    assert points(*of_first, (second, 4, 20)) == []


def train_nothing(folder: Path, cell: str, seed: int, top1: float, **settings) -> None:
    """A finished run's settings and figures."""
    run = Runs(folder, "made_up").of(parse_cell(cell), seed)
    run.path.mkdir(parents=True)
    run.config.write_text(yaml.safe_dump({"cell": cell, "seed": seed, **settings}))
    test = {"test": {"top1": top1}}
    write_metrics(run.metrics, {"cell": cell, "seed": seed, "selected_on": "test",
                                "last": test, "best": test})  # fmt: skip


def test_a_curve_over_strength_is_of_runs_that_differ_in_nothing_else(tmp_path) -> None:
    for name, more in (("T1s", {}), ("T1s+s0", {"strength": 0.0}), ("T1s+big", {"arch": "vgg8"})):
        train_nothing(tmp_path, name, 1, 0.9, **more)
    for cell, seed, top1, more in (
        ("T1s+s0_Ss+s0", 1, 0.25, {"strength": 0.0}),
        ("T1s+s0_Ss+s0", 2, 0.5, {"strength": 0.0, "teacher_seed": 1, "workers": 7}),
        ("T1s_Ss+s1", 1, 0.75, {"strength": 1.0}),
        ("T1s_Ss+T5", 1, 0.1, {"strength": 1.0, "temperature": 5.0}),
        ("T1s+big_Ss+taught", 1, 0.2, {"strength": 1.0}),
    ):
        train_nothing(tmp_path, cell, seed, top1, **more)
    runs = Runs(tmp_path, "made_up")
    points = {cell: {strength: at["top1"] for strength, at in curve.items()}
              for cell, curve in strength_curves(runs).items()}  # fmt: skip
    assert points == {"T1s_Ss": {0.0: [25, 50], 1.0: [75]}}
    train_nothing(tmp_path, "T1s_Ss+T5-s0", 1, 0.3, strength=0.0, temperature=5.0)
    assert set(strength_curves(runs)) == {"T1s+s0_Ss+s0", "T1s_Ss+T5, teachers at 1.0"}
    train_nothing(tmp_path, "T1s_Ss+s0", 1, 0.6, strength=0.0)  # of a teacher that stays at 1
    curves = {cell: {strength: at["top1"] for strength, at in curve.items()}
              for cell, curve in strength_curves(runs).items()}  # fmt: skip
    assert curves == {
        "T1s+s0_Ss+s0": {0.0: [25, 50], 1.0: [75]},
        "T1s_Ss+s0, teachers at 1.0": {0.0: [60], 1.0: [75]},
        "T1s_Ss+T5, teachers at 1.0": {0.0: [30], 1.0: [10]},
    }


def test_a_curve_over_strength_is_the_mean_over_seeds() -> None:
    at = {"top1": [40.0, 44.0], "gap": [1.0, 3.0], "fidelity": []}
    figure = strength_figure({"Ss": {1.0: at, 0.0: {**at, "top1": [30.0, 30.0]}}})
    (line,) = [own.lines[0] for own in figure.axes[0].containers]
    assert line.get_xydata().tolist() == [[0, 30], [1, 42]]


def test_a_figure_over_strength_may_lack_a_panel() -> None:
    at = {"top1": [40.0], "gap": [], "fidelity": []}
    figure = strength_figure({"Ss": {1.0: at, 0.0: at}})
    assert rendered(figure, "png", 50).startswith(b"\x89PNG")
