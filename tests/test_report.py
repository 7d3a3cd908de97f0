import json

import pytest

from common.errors import UserError
from common.files import sha256
from engine.cells import parse_cell
from engine.run import Runs
from evaluation.cells_page import cells_page
from evaluation.options import OverlapOptions
from evaluation.report import Tables, grid_rows, main, overlaps_of, with_measures
from evaluation.tables import format_table, write_table


def metrics(cell, seed, top1, *, fidelity=None):
    test = {"top1": top1} | ({} if fidelity is None else {"fidelity_ensemble": fidelity})
    last = {"gap_points": 2.0, "test": test}
    return {
        "cell": cell,
        "seed": seed,
        "selected_on": "test",
        "last": last,
        "best": {"test": {"top1": top1 + 0.01}},
    }


def test_mean_and_spread_over_seeds():
    rows = grid_rows(
        [metrics("T1w_Sw", 1, 0.5, fidelity=0.8), metrics("T1w_Sw", 2, 0.7, fidelity=0.9)]
    )
    assert rows[0]["seeds"] == 2
    assert rows[0]["top1_last"] == pytest.approx(60)
    assert rows[0]["top1_last_std"] == pytest.approx(200**0.5)
    assert rows[0]["top1_best"] == pytest.approx(61)
    assert rows[0]["fidelity_ensemble"] == pytest.approx(85)


def test_the_overlap_among_teachers_is_of_those_that_taught_the_cell(tmp_path):
    """Of two replicates: .4 and .6. One student has both, one the second, one twice the first."""
    runs = Runs(tmp_path, "somewhere")
    taught = {"T1w_T2w_Sw": (1, 2), "T1w_T2w_Ss": (2,), "T1w_T2w_Ss+shared": (1, 1)}
    begun = []
    for cell, teacher_seeds in taught.items():
        for seed, teacher_seed in enumerate(teacher_seeds, 1):
            begun.append(runs.of(parse_cell(cell), seed))
            begun[-1].path.mkdir(parents=True)
            begun[-1].config.write_text(f"teacher_seed: {teacher_seed}\n")
    (runs.folder / "last.pt").write_bytes(b"weights")
    stamp = {"checkpoints": {"last.pt": sha256(runs.folder / "last.pt")}}
    asked = {"asked": OverlapOptions(group="T_T").asked, **stamp}
    overlaps = [{"cell": "T1w_T2w", "seed": seed, "iou": iou, **asked}
                for seed, iou in ((1, 0.4), (2, 0.6))]  # fmt: skip
    write_table(runs.folder / "iou_T_T", overlaps)
    cells = [{"cell": cell, "seeds": len(seeds)} for cell, seeds in taught.items()]
    rows = with_measures(cells, Tables(runs.folder), overlaps_of(begun))
    assert [row["iou_teachers"] for row in rows] == pytest.approx([0.5, 0.6, 0.4])
    assert [row.get("iou_teachers_n") for row in rows] == [None, None, 1]


def test_rows_follow_the_grid():
    names = ["T1w_T2w_Sw", "Sw", "T1w_Sw", "T3s", "T1w"]
    rows = grid_rows([metrics(name, 1, 0.5) for name in names])
    assert [row["cell"] for row in rows] == ["T1w", "T3s", "Sw", "T1w_Sw", "T1w_T2w_Sw"]
    assert rows[0]["fidelity_ensemble"] is None


def test_prints_finished_cells_and_names_those_in_progress(tmp_path, capsys):
    for cell, done in (("Sw", True), ("T1w_Sw", False)):
        run = Runs(tmp_path, "synthetic").of(parse_cell(cell), 1)
        run.path.mkdir(parents=True)
        run.config.write_text(f"cell: {cell}\n")
        if done:
            run.metrics.write_text(json.dumps(metrics(cell, 1, 0.512)))
    main(["--dataset", "synthetic", "--output-dir", str(tmp_path)])
    out, err = capsys.readouterr()
    assert "Sw" in out
    assert "51.2" in out
    assert "in progress, left out" in err
    assert "T1w_Sw" in err
    assert (tmp_path / "synthetic" / "results.csv").read_text().startswith("cell,seeds,top1_last")


def test_no_runs_at_all(tmp_path):
    with pytest.raises(UserError, match=r"no runs in .*CIFAR100: train"):
        main(["--output-dir", str(tmp_path)])


def test_columns_are_aligned():
    text = format_table([{"cell": "Sw", "x": 1.0}, {"cell": "T1w_Sw", "x": None}])
    assert text.splitlines() == ["cell        x", "Sw      1.000", "T1w_Sw      -"]


def test_the_page_of_cells_by_hand():
    """Two seeds: t(1) = 12.706, so the mean of 40 and 42 is 41 ± 12.7."""
    rows = [
        {"cell": "Sw", "seeds": 2, "top1_last": 41.0, "top1_last_std": 2**0.5},
        {"cell": "T1w_Sw", "seeds": 2, "top1_last": 51.0, "top1_last_std": 2**0.5},
        {"cell": "T1s_Sw", "seeds": 1, "top1_last": 60.0, "top1_last_std": None},
    ]
    top1 = {"Sw": {1: 0.40, 2: 0.42}, "T1w_Sw": {1: 0.50, 2: 0.521}, "T1s_Sw": {1: 0.6}}
    lines = cells_page(rows, top1, "somewhere", "held-out").splitlines()
    assert "the best one is chosen on the held-out images" in lines[2]
    assert "| Sw | 2 | 41.0 ± 12.7 (1.4) |" in lines
    assert "| T1w_Sw | 2 | **51.0 ± 12.7 (1.4)** |" in lines  # paired: 10.05 ± .64
    assert "| T1s_Sw | 1 | 60.0 |" in lines


def test_an_interval_is_over_the_seeds_that_were_measured():
    """Of three seeds two were: t(1) = 12.706, not t(2) = 4.303 over sqrt(3)."""
    row = {"cell": "Sw", "seeds": 3, "ece": 0.2, "ece_std": 0.01 * 2**0.5, "ece_n": 2}
    assert "| Sw | 3 | 0.200 ± 0.127 (0.014, n = 2) |" in cells_page([row], {}, "somewhere")


def test_a_seed_without_a_figure_is_none_of_its_interval():
    """Gaps of 10 and 12 of three seeds: 11 ± 12.7, not ± 3.5."""
    of_seeds = [metrics("T1w", seed, 0.5) for seed in (1, 2, 3)]
    del of_seeds[0]["last"]["gap_points"]
    for of_seed, gap in zip(of_seeds[1:], (10.0, 12.0), strict=True):
        of_seed["last"]["gap_points"] = gap
    (row,) = grid_rows(of_seeds)
    assert row["gap_points_n"] == 2 and "top1_last_n" not in row
    assert "| 11.0 ± 12.7 (1.4, n = 2) |" in cells_page([row], {}, "somewhere")


def test_one_seed_of_iou_has_its_interval_over_images():
    row = {"cell": "T1w_T2w_Sw", "seeds": 1, "iou_teachers": 0.43}
    row |= {"iou_teachers_low": 0.41, "iou_teachers_high": 0.45}
    page = cells_page([row], {}, "somewhere")
    assert "| T1w_T2w_Sw | 1 | 0.430 [0.410 to 0.450] |" in page
