"""Tables keep their rows, each says where it comes from, and one that no longer holds is named."""

import csv
import json
import shutil

import pytest
from conftest import DATASET, run_copy

from common.files import sha256
from evaluation import calculate_ece, calculate_iou, report


@pytest.fixture
def runs(taught, tmp_path):
    return run_copy(taught, tmp_path)


@pytest.fixture
def flags(tmp_path, runs):
    return ["--dataset", DATASET, "--output-dir", str(tmp_path / "runs"), "--device", "cpu"]


@pytest.fixture
def rows(tmp_path):
    return lambda name: json.loads((tmp_path / "runs" / DATASET / f"{name}.json").read_text())


def reported(flags, rows, capsys):
    capsys.readouterr()
    report.main(flags[:4])
    return {row["cell"]: row for row in rows("results")}, capsys.readouterr().err


def test_measuring_one_cell_keeps_the_others(flags, rows, capsys):
    calculate_ece.main([*flags, "--cells", "T1w", "T2w"])
    before = rows("ece")
    calculate_ece.main([*flags, "--cells", "T2w"])
    assert rows("ece") == before
    results, _ = reported(flags, rows, capsys)
    assert {"T1w", "T2w"} == {cell for cell, row in results.items() if row.get("ece") is not None}


def test_a_seed_that_was_not_measured_is_not_counted(flags, rows, capsys, runs):
    shutil.copytree(runs("Sw").path, runs("Sw").path.with_name("seed2"))
    config = runs("Sw").path.with_name("seed2") / "config.yaml"
    config.write_text(config.read_text().replace("seed: 1", "seed: 2"))
    calculate_ece.main([*flags, "--cells", "Sw", "--seeds", "1"])
    results, _ = reported(flags, rows, capsys)
    assert (results["Sw"]["seeds"], results["Sw"]["ece_n"]) == (2, 1)
    calculate_ece.main([*flags, "--cells", "Sw"])
    results, _ = reported(flags, rows, capsys)
    assert "ece_n" not in results["Sw"]


def test_each_way_to_ask_has_rows_of_its_own_and_the_report_takes_the_plain_one(
    flags, rows, capsys
):
    calculate_ece.main([*flags, "--cells", "T1w"])
    (plain,) = rows("ece")
    for more in (["--bins", "5"], ["--view", "strong"], ["--checkpoint", "best"]):
        calculate_ece.main([*flags, "--cells", "T1w", *more])
    assert len(rows("ece")) == 4
    results, error = reported(flags, rows, capsys)
    assert results["T1w"]["ece"] == plain["ece"]
    assert "stale" not in error


def test_a_row_says_where_it_comes_from(flags, rows, runs, tmp_path):
    calculate_iou.main([*flags, "--cells", "T1w_T2w_Sw", "--group", "T_S"])
    row, *_ = rows("iou_T_S")
    assert row["checkpoints"] == {
        f"{cell}/seed1/last.pt": sha256(runs(cell).checkpoint("last"))
        for cell in ("T1w", "T2w", "T1w_T2w_Sw")
    }
    assert "group=T_S target=ensemble threshold=0.4" in row["asked"]
    assert row["commit"]
    with (tmp_path / "runs" / DATASET / "iou_T_S.csv").open() as file:
        flat, *_ = csv.DictReader(file)
    assert json.loads(flat["checkpoints"]) == row["checkpoints"]


def test_a_row_whose_checkpoint_changed_or_is_gone_is_named_and_left_out(flags, rows, runs, capsys):
    calculate_ece.main([*flags, "--cells", "T1w", "T2w", "T1s"])
    shutil.copy(runs("T2s").checkpoint("last"), runs("T1w").checkpoint("last"))
    shutil.rmtree(runs("T2w").path)
    results, error = reported(flags, rows, capsys)
    assert results["T1w"].get("ece") is None
    assert results["T1s"]["ece"] > 0
    assert f"stale, left out: ece of T1w seed 1: {runs('T1w').checkpoint('last')} changed" in error
    assert f"ece of T2w seed 1: {runs('T2w').checkpoint('last')} is gone" in error
    calculate_ece.main([*flags, "--cells", "T1w"])
    results, error = reported(flags, rows, capsys)
    assert results["T1w"]["ece"] > 0
    assert "T1w" not in error


def test_an_old_row_of_three_teachers_script_hides_no_new_one(flags, rows, runs, capsys):
    calculate_ece.main([*flags, "--cells", "T1w", "--name", "ece_3T"])
    shutil.copy(runs("T2s").checkpoint("last"), runs("T1w").checkpoint("last"))
    calculate_ece.main([*flags, "--cells", "T1w"])
    results, error = reported(flags, rows, capsys)
    (row,) = rows("ece")
    assert results["T1w"]["ece"] == row["ece"]
    assert "stale, left out: ece of T1w seed 1" in error


def test_a_row_that_does_not_say_is_left_out(flags, rows, tmp_path, capsys):
    path = tmp_path / "runs" / DATASET / "ece.json"
    path.write_text(json.dumps([{"cell": "T1w", "seed": 1, "ece": 0.5}]))
    results, error = reported(flags, rows, capsys)
    assert results["T1w"].get("ece") is None
    assert "stale, left out: ece of T1w seed 1: it does not say which checkpoints" in error


@pytest.mark.parametrize("damage", ["", "{", "[1, 2]", '{"a": 1}'])
def test_a_damaged_table_is_made_anew(flags, rows, tmp_path, damage):
    (tmp_path / "runs" / DATASET / "ece.json").write_text(damage)
    calculate_ece.main([*flags, "--cells", "T1w"])
    assert [row["cell"] for row in rows("ece")] == ["T1w"]
