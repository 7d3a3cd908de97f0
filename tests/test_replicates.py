"""A seed is a replicate: its teachers are trained anew, and its students learn from them."""

import json

import pytest
import torch
from conftest import DATASET, Bench

import train_student
import train_teacher
from common.errors import UserError
from engine.checkpoint import load
from evaluation import calculate_agreement, calculate_iou

CELLS = ("T1w", "T2w")
ONE_EPOCH = ("--epochs", 1)


@pytest.fixture(scope="module")
def bench(tmp_path_factory, taught):
    """Two replicates of two teachers and a student, and one of seed 2 of the first teachers."""
    bench = Bench(tmp_path_factory.mktemp("replicates"), taught.recipe)
    several = ["--cells", *CELLS, "--seeds", "1", "2"]
    train_teacher.main(["--dataset", DATASET, *several, *of(bench)])
    bench.student("T1w_T2w_Sw", "--seeds", 1, 2, *ONE_EPOCH)
    bench.student("T1w_T2w_Sw+shared", "--seed", 2, "--teacher-seed", 1, *ONE_EPOCH)
    return bench


def of(bench):
    return ["--recipe", str(bench.recipe), "--output-dir", str(bench.folder), "--epochs", "1"]


def rows(bench, name):
    return json.loads((bench.folder / DATASET / f"{name}.json").read_text())


def teachers_of(bench, cell, seed):
    """Files and hashes that the student's record names."""
    return json.loads(bench.run(cell, seed).environment.read_text())["teachers"]


def test_teachers_of_two_replicates_differ_and_views_of_one_start_alike(bench):
    weights = {
        (cell, seed): load(bench.run(cell, seed).checkpoint("last"))[1]["model"]["conv1.weight"]
        for cell in CELLS
        for seed in (1, 2)
    }
    assert not any(torch.equal(weights[a], weights[b]) for a in weights for b in weights if a != b)


def test_a_student_learns_from_the_teachers_of_its_seed(bench):
    for seed in (1, 2):
        for name, teacher in teachers_of(bench, "T1w_T2w_Sw", seed).items():
            assert teacher["file"] == str(bench.run(name, seed).checkpoint("last"))
    shared = teachers_of(bench, "T1w_T2w_Sw+shared", 2)
    assert shared == teachers_of(bench, "T1w_T2w_Sw", 1)
    assert bench.run("T1w_T2w_Sw+shared", 2).teacher_seed == 1


def test_each_student_is_measured_against_its_own_teachers(bench):
    flags = ["--dataset", DATASET, "--output-dir", str(bench.folder), "--workers", "0"]
    calculate_agreement.main([*flags, "--cells", "T1w_T2w_Sw", "T1w_T2w_Sw+shared"])
    asked = {
        (row["cell"], row["seed"]): set(row["checkpoints"])
        for row in rows(bench, "agreement")
        if row["pair"] == "ensemble-S"
    }
    for (cell, seed), teacher_seed in {
        ("T1w_T2w_Sw", 1): 1,
        ("T1w_T2w_Sw", 2): 2,
        ("T1w_T2w_Sw+shared", 2): 1,
    }.items():
        assert {f"{name}/seed{teacher_seed}/last.pt" for name in CELLS} < asked[cell, seed]
    calculate_iou.main([*flags, "--cells", "T1w_T2w_Sw", "--group", "T_T"])
    overlaps = rows(bench, "iou_T_T")
    assert [row["seed"] for row in overlaps] == [1, 2]
    assert overlaps[0]["iou"] != overlaps[1]["iou"]


def test_a_missing_teacher_is_named_with_its_seed(bench):
    with pytest.raises(UserError, match=r"teacher T1w .*T1w/seed3\).*--cell T1w --seed 3 "):
        train_student.main(bench.flags("T1w_Sw", "--seed", 3, *ONE_EPOCH))
