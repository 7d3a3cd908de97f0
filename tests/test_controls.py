"""Agreement and overlap above chance, and the controls on runs whose answer is known."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATASET, Bench
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from engine.cells import parse_student
from engine.run import RunDirectory, Runs
from evaluation.controls import Controls
from evaluation.grid import Grid, open_grid
from evaluation.options import ClaimsOptions
from evaluation.outputs import OutputStore
from evaluation.tables import Row
from metrics.agreement import cohen_kappa, error_consistency
from metrics.overlap import PackedMasks, rank_correlation_per_image


def test_kappa_is_sklearns() -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = torch.randint(0, 7, (2, 200), generator=generator)
    q = torch.where(torch.rand(200, generator=generator) < 0.4, p, q)
    assert cohen_kappa(p, q) == pytest.approx(cohen_kappa_score(p.numpy(), q.numpy()))
    assert cohen_kappa(p, p) == 1


def test_kappa_of_a_constant_is_not_known() -> None:
    assert math.isnan(cohen_kappa(torch.ones(3).long(), torch.ones(3).long()))


@pytest.mark.parametrize(("p", "q"), [(torch.ones(2).long(), torch.ones(3).long()),
                                      (torch.ones(0).long(), torch.ones(0).long())])  # fmt: skip
def test_kappa_refuses_what_has_no_meaning(p: torch.Tensor, q: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"no samples|differ"):
        cohen_kappa(p, q)


def test_error_consistency_by_hand() -> None:
    """Right on 3 and 2 of 4, on the same 3: observed .75, chance .75 x .5 + .25 x .5 = .5."""
    p, q = torch.tensor([1, 1, 1, 0]).bool(), torch.tensor([1, 1, 0, 0]).bool()
    assert error_consistency(p, q) == pytest.approx((0.75 - 0.5) / (1 - 0.5))


def test_two_models_that_err_independently_have_none() -> None:
    p, q = torch.rand(2, 100_000, generator=torch.Generator().manual_seed(0)) < 0.6
    assert error_consistency(p, q) == pytest.approx(0, abs=0.01)


def test_rank_correlation_of_maps_is_scipys_and_knows_no_scale() -> None:
    a, b = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = [spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a, b, strict=True)]
    assert rank_correlation_per_image(a, b).tolist() == pytest.approx(expected)
    assert rank_correlation_per_image(a, 3 * a.exp()).tolist() == pytest.approx([1] * 5)
    assert rank_correlation_per_image(a, torch.ones(5, 2, 2)).tolist() == [0] * 5


def test_area_is_the_share_of_ones() -> None:
    masks = torch.from_numpy(np.random.default_rng(0).random((6, 13, 13)) < 0.3)
    area = PackedMasks.pack(masks).area
    assert area.tolist() == pytest.approx(masks.flatten(1).double().mean(1).tolist())


def test_each_pair_of_a_cells_seeds_is_looked_at_once() -> None:
    """Not once for every view."""
    asked = []

    class Counted(Controls):
        def _alike(self, a: RunDirectory, b: RunDirectory) -> dict[str, float]:
            asked.append((a.seed, b.seed))
            return {"agreement": 0.5}

        def _look_alike(self, a: RunDirectory, b: RunDirectory) -> dict[str, float]:
            return {}

    runs = Runs(Path("runs"), DATASET)
    grid, store = Grid(runs), OutputStore(ClaimsOptions())
    of_seeds = [runs.of(parse_student("T1w_Ss"), seed) for seed in (1, 2)]
    (row,) = Counted(grid, store, of_seeds)._same_cell()
    assert (row["view"], row["mean"], row["n"]) == ("strong", 0.5, 1)
    assert asked == [(1, 2)]


@pytest.fixture
def two_seeds(taught, tmp_path) -> Bench:
    """Two teachers and a student whose second seed has the weights of the first."""
    ignore = shutil.ignore_patterns("outputs")
    for cell in ("T1w", "T2w", "T1w_Sw"):
        folder = taught.run(cell, 1).path.parent
        shutil.copytree(folder, tmp_path / "runs" / DATASET / cell, ignore=ignore)
    bench = Bench(tmp_path / "runs", taught.recipe)
    bench.student("T1w_Sw", "--seeds", 2, "--teacher-seed", 1)
    first, second = (bench.run("T1w_Sw", seed).checkpoint("last") for seed in (1, 2))
    shutil.copyfile(first, second)
    return bench


def rows_of(bench: Bench, cells: tuple[str, ...]) -> dict[tuple[str, str], Row]:
    """Of the weak view, by control and figure."""
    options = ClaimsOptions(dataset=DATASET, output_dir=str(bench.folder), cells=cells, workers=0)
    rows = Controls(*open_grid(options)).rows()
    return {(row["control"], row["figure"]): row for row in rows if row["view"] == "weak"}


def test_the_controls_of_a_copy_are_full_agreement(two_seeds) -> None:
    """And a shifted classifier moves the class-sum map, and no other."""
    found = rows_of(two_seeds, ("T1w_Sw",))
    same = "two students that differ in their seed"
    for figure in ("agreement", "IoU", "IoU above chance", "rank correlation of the maps"):
        assert found[same, figure]["mean"] == pytest.approx(1)
    shifted = "a teacher, and it with a shifted classifier"
    assert found[shifted, "IoU with itself, target predicted"]["mean"] > 0.999
    assert found[shifted, "IoU with itself, target class_sum"]["mean"] < 0.95
    assert ("the same, and others of the view", "agreement") not in found


def test_a_teacher_is_as_often_the_one_that_was_heard_as_a_stranger(two_seeds) -> None:
    """T2w is T1w's weights, and its student T1w's student's: nobody can tell them apart."""
    two_seeds.student("T2w_Sw")
    for cell in ("T{}w", "T{}w_Sw"):
        first, second = (two_seeds.run(cell.format(k), 1).checkpoint("last") for k in (1, 2))
        shutil.copyfile(first, second)
    rows = rows_of(two_seeds, ("T1w_Sw", "T2w_Sw"))
    own, others = (
        rows[name, "agreement"]
        for name in (
            "a student of one teacher, and that teacher",
            "the same, and others of the view",
        )
    )
    assert own["n"] == others["n"] == 2 and own["mean"] == others["mean"]
