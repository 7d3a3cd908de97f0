"""The claims on made up grids whose answer is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pytest
import torch
from made_up_grids import GROUPS, IMAGES, made_up
from scipy.stats import spearmanr

from engine.cells import StudentCell, TeacherCell, parse_student
from evaluation.claims import claims, mixture
from evaluation.claims_page import heading
from evaluation.comparisons import Minus, RankCorrelation, Resampled
from evaluation.grid_values import (
    ENSEMBLE,
    FIDELITY,
    GAP,
    GRID_STUDENTS,
    OVERLAP,
    TOP1,
    GridValues,
    students_of,
)
from evaluation.overlaps import EQUAL_AREA, pairs
from evaluation.per_image import Gap, Mean, Ratio
from evaluation.tables import Row
from evaluation.verdicts import ALL, HELD, Decision, jointly, judged


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interval that is a little rough says the same."""
    monkeypatch.setattr("evaluation.verdicts.RESAMPLES", 60)


def rows_of(grid: GridValues) -> dict[str, Row]:
    """By claim, the first figure of each."""
    return {row["claim"]: row for row in reversed(judged(claims(grid), grid))}


def evenly(grid: GridValues) -> Resampled:
    return Resampled(grid, torch.ones(1, grid.images, dtype=torch.float64))


def test_a_grid_that_does_as_the_paper_says_supports_it() -> None:
    rows = rows_of(made_up((1, 2, 3, 4), 0.08))
    for claim in (
        "6.1 overlap",
        "6.1 strong students",
        "6.2 gap",
        "6.1 strong students, weak teachers",
    ):
        assert rows[claim]["verdict"] == "supported", rows[claim]
        assert rows[claim]["low"] <= rows[claim]["estimate"] <= rows[claim]["high"]
        assert rows[claim]["p"] <= rows[claim]["holm"] <= 0.05
    for claim in ("6.1 accuracy, ranks", "6.2 fidelity, ranks", "6.2 accuracy, ranks"):
        assert rows[claim]["verdict"] == "not judged" and rows[claim]["low"] > 0


def test_a_grid_that_does_the_opposite_contradicts_it() -> None:
    rows = rows_of(made_up((1, 2, 3, 4), -0.08))
    for claim in ("6.1 overlap", "6.1 strong students"):
        assert rows[claim]["verdict"] == "contradicted"
    assert rows["6.2 fidelity, ranks"]["low"] > 0  # both rise together


def test_where_nothing_differs_nothing_is_said() -> None:
    rows = rows_of(made_up((1, 2, 3, 4), 0.0))
    unlike = {
        row["claim"] for row in rows.values() if row["verdict"] not in ("cannot tell", "not judged")
    }
    assert not {name for name in unlike if not name.startswith(("6.1 mixed overlap", "G,", "6.2"))}


def test_a_difference_is_that_of_the_means_by_hand() -> None:
    grid = made_up((1, 2), 0.05)
    by_hand = [
        100 * sign * grid.of(TOP1)[cell, seed].values.mean().item() / (len(GROUPS) / 2) / 2
        for cell in GROUPS
        for seed in (1, 2)
        for sign in [1 if cell.letter == "s" else -1]
    ]
    assert rows_of(grid)["6.1 strong students"]["estimate"] == pytest.approx(sum(by_hand))


def test_one_replicate_gives_an_interval_over_images_and_no_verdict() -> None:
    grid = made_up((1,), 0.08)
    rows = judged(claims(grid), grid)
    assert {row["verdict"] for row in rows} == {"no verdict: one replicate", "not judged"}
    assert all(math.isfinite(row["low"]) and row["holm"] is None for row in rows)
    assert heading(ALL, rows) == "Over all cells, given these teachers, one replicate"


def test_of_shared_teachers_the_verdict_says_that_it_is_given_them() -> None:
    grid = made_up((1, 2, 3, 4), 0.08, teacher_seed=1)
    rows = rows_of(grid)
    assert rows["6.1 strong students"]["verdict"] == "supported, given these teachers"
    assert rows["6.1 strong students, no teachers"]["teachers"] == "own"
    every = judged(claims(grid), grid)
    assert heading(HELD, [row for row in every if row["look"] == HELD]).endswith(
        "given these teachers"
    )
    own = judged(claims(made_up((1, 2), 0.08)), made_up((1, 2), 0.08))
    assert "given" not in heading(ALL, own)


def test_a_replicate_that_lacks_a_cell_takes_no_part_in_its_claim() -> None:
    grid = made_up((1, 2, 3), 0.05, GRID_STUDENTS)
    del grid.of(TOP1)[students_of((1, 2, 3), 3)[0], 3]
    rows = rows_of(grid)
    assert rows["G, 3T"]["replicates"] == 2 and rows["G, 1T"]["replicates"] == 3


def test_what_one_replicate_has_besides_takes_no_other_out_of_a_claim() -> None:
    """One has every choice of teachers, the others the groups, and a fourth has just begun."""
    grid, groups = made_up((1, 2, 3), 0.05, GRID_STUDENTS), made_up((1, 2, 3), 0.05)
    for values in grid.students.values():
        for cell, seed in list(values):
            if seed > 1 and cell not in GROUPS:
                del values[cell, seed]
    in_common = {
        measure: {key: own for key, own in values.items() if key[0] in GROUPS}
        for measure, values in grid.students.items()
    }
    of_groups = rows_of(dataclasses.replace(groups, students=in_common, overlaps=grid.overlaps))
    for name in ("6.1 strong students", "6.1 strong students, mixed teachers", "6.2 gap",
                 "6.2 fidelity, ranks"):  # fmt: skip
        assert of_groups[name]["replicates"] == 3
        assert rows_of(grid)[name]["estimate"] == of_groups[name]["estimate"]
    assert rows_of(grid)["6.2 fidelity"]["replicates"] == 1  # which needs every choice
    begun = grid.of(TOP1)[GROUPS[0], 1]
    grid.of(TOP1)[GROUPS[0], 4] = grid.of(TOP1)[GROUPS[1], 4] = begun
    assert rows_of(grid)["6.1 strong students"]["replicates"] == 3


def test_a_complete_table_is_left_of_one_with_gaps() -> None:
    a, b, c, d = GROUPS[:4]

    def left(*there: str, needed: Sequence[StudentCell] = ()) -> str:
        names = dict(zip("abcd", (a, b, c, d), strict=True))
        top1 = {(names[cell], seed): Mean.of_all(torch.ones(2))
                for seed, cells in enumerate(there) for cell in cells}  # fmt: skip
        kept = GridValues(2, {TOP1: top1}, {}, {}).complete((a, b, c, d), needed=needed)
        return "".join(name for name, cell in names.items() if cell in kept)

    assert left("abcd", "abcd") == "abcd"
    assert left("abc", "abd") == "ab"
    assert left("abcd", "ab", "ab") == "ab"
    assert left("abcd", "abcd", "a") == "abcd"
    assert left("abc", "ab", "ab", needed=(c,)) == "abc"
    assert left("abc", "ab", needed=(d,)) == ""
    assert left() == ""


def test_a_claim_needs_all_of_its_figures_and_is_refuted_by_one() -> None:
    above, below = Decision(0.01, 1), Decision(0.02, -1)
    assert jointly([above, Decision(0.04, 1)]) == Decision(0.04, 1)
    assert jointly([above, below]) == Decision(0.04, -1)
    assert jointly([above, Decision(1.0, 0)]) == Decision(1.0, 0)


def test_ways_to_measure_a_figure_have_to_agree() -> None:
    """The overlap falls by the usual threshold, and rises in masks of equal area."""
    grid = made_up((1, 2, 3, 4), 0.08)
    other = made_up((1, 2, 3, 4), -0.08).overlaps[EQUAL_AREA]
    grid = dataclasses.replace(grid, overlaps={**grid.overlaps, EQUAL_AREA: other})
    rows = [row for row in judged(claims(grid), grid) if row["claim"] == "6.1 overlap"]
    assert [row["estimate"] > 0 for row in rows] == [True, False]
    assert {(row["verdict"], row["holm"]) for row in rows} == {("cannot tell", 1.0)}


def test_holms_p_decides_and_not_the_plain_one() -> None:
    """Of 30 claims looked at alike, one at .02 alone would be supported."""
    grid = made_up((1, 2, 3), 0.01)
    rows = [row for row in judged(claims(grid), grid) if row["look"] == HELD]
    between = [row for row in rows if row["p"] <= 0.05 < row["holm"]]
    assert between and all(row["verdict"] == "cannot tell" for row in between)


def test_each_view_stands_by_itself_and_their_difference_has_no_direction() -> None:
    grid = made_up((1, 2, 3, 4), 0.0)
    for cell, seed in list(grid.of(TOP1)):
        if cell.letter == "s" and mixture(cell.teachers) == "mixed":
            grid.of(TOP1)[cell, seed] = Mean.of_all(torch.arange(IMAGES) % 10 > 0)
    rows = rows_of(grid)
    first = "strong minus weak students (top-1, points: mixed minus weak teachers)"
    weak, strong, minus = (
        rows[f"6.1 mixed accuracy, 2T, {name}"]
        for name in ("weak students", "strong students", first)
    )
    assert strong["verdict"] == "supported" and weak["verdict"] == "cannot tell"
    assert minus["estimate"] == pytest.approx(strong["estimate"] - weak["estimate"])
    assert minus["verdict"] == "not 0"


def test_more_teachers_are_judged_over_every_choice_of_them() -> None:
    """Teacher 1 is the worst: cells that are all of it would say that a second one helps."""
    grid = made_up((1, 2, 3, 4), 0.0, GRID_STUDENTS)
    for cell, seed in list(grid.of(TOP1)):
        lucky = 0.2 * sum(own.number > 1 for own in cell.teachers) / max(1, len(cell.teachers))
        grid.of(TOP1)[cell, seed] = Mean.of_all(torch.arange(IMAGES) < (0.5 + lucky) * IMAGES)
    assert rows_of(grid)["G, 2T"]["estimate"] == pytest.approx(0)
    few = made_up((1, 2, 3, 4), 0.0)
    assert not {"G, 1T", "G, 2T", "G, 3T"} & rows_of(few).keys()
    two = [cell for k in range(3) for cell in students_of((1, 2), k)]
    assert {"G, 1T", "G, 2T"} <= rows_of(made_up((1, 2), 0.0, two)).keys()


def test_strong_students_are_judged_by_the_teachers_view() -> None:
    rows = rows_of(made_up((1, 2, 3), 0.05))
    of = {
        name: rows[f"6.1 strong students, {name} teachers"]["estimate"]
        for name in ("weak", "strong")
    }
    interaction = rows["6.1 strong students, strong minus weak teachers"]
    assert interaction["estimate"] == pytest.approx(of["strong"] - of["weak"])
    assert interaction["figure"].startswith("top-1, points")


def test_teachers_views_are_compared_at_the_same_number_of_teachers() -> None:
    """Weak teachers have students of one, two and three, strong ones of one alone."""
    few = [cell for cell in GROUPS if len(cell.teachers) == 1 or mixture(cell.teachers) == "weak"]
    rows = rows_of(made_up((1, 2, 3), 0.05, few))
    grid = made_up((1, 2, 3), 0.05, few)
    for values in grid.students.values():
        for cell, seed in list(values):
            if len(cell.teachers) != 1:
                del values[cell, seed]
    name = "6.1 strong students, strong minus weak teachers"
    assert rows[name]["estimate"] == rows_of(grid)[name]["estimate"]
    assert rows["6.1 strong students, weak teachers"]["estimate"] != pytest.approx(
        rows_of(grid)["6.1 strong students, weak teachers"]["estimate"]
    )


def test_a_slope_is_found_among_cells_that_are_alike() -> None:
    """Fidelity is half of the overlap, and falls by .3 a strong teacher, which would hide it."""
    grid = made_up((1, 2, 3, 4), 0.0, GRID_STUDENTS)
    generator = torch.Generator().manual_seed(1)
    for (cell, seed), _ in list(grid.of(OVERLAP).items()):
        height = torch.rand(1, generator=generator).item()
        strong = sum(own.letter == "s" for own in cell.teachers)
        grid.of(OVERLAP)[cell, seed] = Mean.of_all(torch.full((IMAGES,), height + 0.6 * strong))
        grid.of(FIDELITY)[cell, seed] = Mean.of_all(
            torch.full((IMAGES,), 0.5 * height - 0.3 * strong)
        )
    rows = [row for row in judged(claims(grid), grid) if row["claim"] == "6.2 fidelity"]
    assert [row["estimate"] for row in rows] == pytest.approx([0.5, 0.5], rel=0.01)
    assert [row["way"] for row in rows] == ["", "given the ensemble's top-1"]
    assert {row["verdict"] for row in rows} == {"supported"}
    assert rows_of(grid)["6.2 fidelity, ranks"]["estimate"] < 0


def test_slopes_need_every_choice_of_the_teachers() -> None:
    rows = rows_of(made_up((1, 2), 0.05))
    assert not {"6.2 fidelity", "6.2 accuracy", "6.1 accuracy"} & rows.keys()
    assert {"6.2 fidelity, ranks", "6.2 accuracy, ranks"} <= rows.keys()


def test_fidelity_and_top1_come_from_different_images() -> None:
    """Where both are of the same rights, and cells are alike, the choice of images alone makes them
    go together."""
    generator = torch.Generator().manual_seed(0)
    cells = students_of((1, 2), 2)
    found = []
    for halves in (False, True):
        means = []
        for _ in range(60):
            drawn = {
                (cell, 1): Mean.of_all(torch.rand(60, generator=generator) < 0.5) for cell in cells
            }
            grid = GridValues(60, {TOP1: drawn, FIDELITY: drawn}, {}, {})
            own = RankCorrelation("", FIDELITY, TOP1, [cells], halves=halves)
            means.append(own.values(evenly(grid), [1]).item())
        found.append(sum(means) / 60)
    assert found[0] == 1 and abs(found[1]) < 0.1


def test_ties_are_ties_in_every_resample() -> None:
    """Of cells with as many rights, whichever these are."""
    generator = torch.Generator().manual_seed(0)
    rights = [torch.randperm(49, generator=generator) < 21 + k // 3 for k in range(8)]
    cells = students_of((1, 2), 2)
    top1 = {(cell, 1): Mean.of_all(own) for cell, own in zip(cells, rights, strict=True)}
    gap = {key: Gap(0.1 + 0.2, own) for key, own in top1.items()}
    y = {(cell, 1): Mean.of_all(torch.full((49,), float(k))) for k, cell in enumerate(cells)}
    grid = GridValues(49, {TOP1: top1, GAP: gap, FIDELITY: y}, {}, {})
    for measure, sign in ((TOP1, 1), (GAP, -1)):
        own = RankCorrelation("", FIDELITY, measure, [cells]).values(evenly(grid), [1]).item()
        counts = [int(right.sum()) for right in rights]
        assert own == pytest.approx(sign * spearmanr(counts, range(8)).statistic)


def test_halves_are_of_every_other_image() -> None:
    counts = torch.tensor([[1.0, 2.0, 0.0, 1.0]], dtype=torch.float64)
    own = Mean.of_all(torch.tensor([1.0, 0.0, 1.0, 1.0]))
    assert own.over(counts).item() == pytest.approx(2 / 4)
    assert own.half(0).over(counts).item() == 1 and own.half(1).over(
        counts
    ).item() == pytest.approx(1 / 3)
    assert Gap(0.75, own).half(1).over(counts).item() == pytest.approx(0.75 - 1 / 3)
    half = Ratio(own, Mean.of_all(torch.full((4,), 0.5))).half(1)
    assert half.over(counts).item() == pytest.approx(2 / 3)


def test_students_of_another_view_change_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though only one of the replicates has them."""
    grid = made_up((1, 2), 0.05)
    own = judged(claims(grid), grid)
    others = [
        cell for k in range(3) for cell in students_of((1, 2)[:k], k, "wm") if "m" in cell.letters
    ]
    monkeypatch.setattr("evaluation.grid_values.GRID_STUDENTS", (*GRID_STUDENTS, *others))
    for cell in others:
        weak = parse_student(str(cell).replace("m", "w"))
        for values in grid.students.values():
            if (weak, 1) in values:
                values[cell, 1] = values[weak, 1]
    assert set(others) <= set(grid.cells)
    assert judged(claims(grid), grid) == own


def test_mixture_of_views() -> None:
    pairs_of_two = [cell.teachers for cell in students_of((1, 2), 2)[::2]]
    assert [mixture(own) for own in pairs_of_two] == ["weak", "mixed", "mixed", "strong"]
    assert mixture(()) == "no"


def test_pairs_are_of_different_numbers_and_come_once() -> None:
    assert pairs("ww", (1, 2)) == [(TeacherCell(1, "w"), TeacherCell(2, "w"))]
    assert len(pairs("ws")) == 6 and all(a.number < b.number for a, b in pairs("ws"))


def test_what_is_not_known_of_a_replicate_leaves_out_its_cell_alone() -> None:
    grid = made_up((1, 2), 0.05)
    every = rows_of(grid).keys()
    del grid.of(GAP)[students_of((1,), 1)[0], 2]
    assert rows_of(grid)["6.2 gap"]["replicates"] == 2
    for cell in students_of((1, 2, 3), 3):
        del grid.of(GAP)[cell, 2]
    rows = rows_of(grid)
    assert rows.keys() == every
    assert all(math.isfinite(row["estimate"]) for row in rows.values())
    grid.of(GAP).clear()
    assert set(every - rows_of(grid).keys()) == {
        "6.2 gap", "6.2 gap, weak students", "6.2 gap, strong students",
        "6.2 gap, strong minus weak students",
    }  # fmt: skip


def without(grid: GridValues, *gone: tuple[StudentCell, int]) -> GridValues:
    """The same, of students that were not all trained."""
    students = {
        measure: {key: value for key, value in values.items() if key not in gone}
        for measure, values in grid.students.items()
    }
    return dataclasses.replace(grid, students=students)


def test_a_teacher_that_one_replicate_has_lost_takes_no_claim_from_the_others() -> None:
    """T3s of seed 3: what remains is what seeds 1 and 2 say of all cells."""
    grid = made_up((1, 2, 3), 0.05, GRID_STUDENTS)
    two = rows_of(without(grid, *((cell, 3) for cell in GRID_STUDENTS)))
    for measure in (FIDELITY, ENSEMBLE, OVERLAP):
        for cell in GRID_STUDENTS:
            if TeacherCell(3, "s") in cell.teachers:
                grid.of(measure).pop((cell, 3), None)
    rows = rows_of(grid)
    for name in ("6.2 fidelity", "6.2 accuracy", "6.1 accuracy", "6.2 gap", "6.2 clean gap",
                 "6.2 fidelity, strong students",
                 "6.2 fidelity, strong minus weak students"):  # fmt: skip
        assert rows[name]["replicates"] == 2
        assert rows[name]["estimate"] == two[name]["estimate"]
    assert rows["6.1 strong students"]["replicates"] == 3


def test_the_difference_of_two_views_is_of_the_same_teachers() -> None:
    """Strong students of T3 are there in seed 1 alone."""
    whole = made_up((1, 2, 3), 0.05, GRID_STUDENTS)
    strong_ones = [cell for cell in GRID_STUDENTS if cell.letter == "s"]
    of_third = [cell for cell in strong_ones if any(own.number == 3 for own in cell.teachers)]
    grid = without(whole, *((cell, seed) for cell in of_third for seed in (2, 3)))
    rows = rows_of(grid)
    assert rows["G, 2T, weak students"]["figure"].endswith("every choice of 3 a view")
    minus = rows["G, 2T, strong minus weak students"]
    assert minus["figure"].endswith("every choice of 2 a view") and minus["replicates"] == 3
    right = grid.of(TOP1)

    def mean(count: int, letter: str) -> float:
        cells = [cell for cell in students_of((1, 2), count) if cell.letter == letter]
        values = [right[cell, seed].values.mean().item() for cell in cells for seed in (1, 2, 3)]
        return sum(values) / len(values)

    by_hand = (mean(2, "s") - mean(1, "s")) - (mean(2, "w") - mean(1, "w"))
    assert minus["estimate"] == pytest.approx(100 * by_hand)
    differences = [claim for claim in claims(grid) if ", strong minus weak students" in claim.name]
    assert len(differences) > 8
    for claim in differences:
        for own in claim.comparisons:
            assert isinstance(own, Minus)
            strong, weak = ({cell.teachers for cell in side.students}
                            for side in (own.first, own.second))  # fmt: skip
            assert strong == weak, claim.name


def test_a_resample_without_an_image_that_has_maps_takes_no_part() -> None:
    """Of 400 images one: without it there is no overlap to take the mean of."""
    grid, first = made_up((1, 2), 0.05), (torch.arange(IMAGES) == 0).double()
    overlaps = {
        rule: {key: Mean(own.values * first, first) for key, own in known.items()}
        for rule, known in grid.overlaps.items()
    }
    grid = dataclasses.replace(grid, overlaps=overlaps)
    rows = [row for row in judged(claims(grid), grid) if row["claim"].startswith("6.1 overlap")]
    assert rows
    assert all(math.isfinite(row[name]) for row in rows for name in ("estimate", "low", "high"))
