"""From trained cells to the study's files and the page of causes, on a few embedded images."""

import csv
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATASET, run_copy

import train_student
import train_teacher
from common.errors import UserError
from engine.cells import expand, parse_student
from engine.run import Runs
from evaluation import calculate_causes, study
from evaluation.causes_page import _reference
from evaluation.grid import Grid, open_grid
from evaluation.options import MeasureOptions
from evaluation.study_runs import STUDENTS, TEACHERS
from metrics.overlap import equal_area_masks, masks_overlap, packed_masks

ROOT = Path(__file__).parent.parent
SEED, IMAGES = 3, 60
SET = "synthetic"
RECIPE = f"""
common: {{arch: resnet8, image_size: 16, batch_size: 16, epochs: 1, lr: 0.1, warmup_epochs: 0,
         workers: 0, device: cpu, amp: none, max_train_images: 64, max_test_images: {IMAGES}}}
"""


class Bench:
    def __init__(self, folder):
        self.recipe, self.folder = folder / "recipe.yaml", folder / "runs"
        self.recipe.write_text(RECIPE)
        self.where = ["--dataset", SET, "--output-dir", str(self.folder)]

    def train(self, program, *flags):
        program.main([*self.where, "--recipe", str(self.recipe), "--seeds", str(SEED), *flags])

    def outputs(self, cell):
        """Answers and maps of a run to the test images."""
        options = MeasureOptions(dataset=SET, output_dir=str(self.folder), cells=("Sw",))
        grid, store, _ = open_grid(options)
        run = grid.runs.of(cell, SEED)
        return store.answers(run), store.maps(run)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A whole replicate: the variants differ in their learning rate, and nets are hardly taught."""
    bench = Bench(tmp_path_factory.mktemp("studied"))
    teachers = dict.fromkeys(teacher for own in TEACHERS for teacher in own)
    for rate, plain in (("0.1", True), ("0.04", False)):
        cells = [str(own) for own in teachers if (own.variant is None) == plain]
        bench.train(train_teacher, "--cells", *cells, "--lr", rate)
    bench.train(train_student, "--cells", *map(str, STUDENTS))
    return bench


@pytest.fixture(scope="module")
def values(studied):
    """What the replicate's CSV says: by figure and cell."""
    folder = studied.folder.parent / "study"
    study.main([*studied.where, "--write", "--seeds", str(SEED), "--study", str(folder)])
    with (folder / f"replicate_{SEED}.csv").open() as file:
        return {(row["figure"], row["cell"]): row["value"] for row in csv.DictReader(file)}


def test_a_replicate_has_11_teachers_and_34_students():
    assert len(set(STUDENTS)) == 34
    assert len({teacher for own in TEACHERS for teacher in own}) == 11
    assert {str(cell) for cell in STUDENTS if cell.variant} == {
        f"T1w_T2w_S{letter}+{variant}" for letter in "ws" for variant in ("kl", "shuffled")
    }


def test_the_script_trains_these_cells(tmp_path):
    """What it would start Python with, once for each of its steps."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase $1 in *launch.py) echo "$2 $SEEDS $CELLS";; esac\n')
    python.chmod(0o755)
    steps = subprocess.run(
        ["bash", ROOT / "script" / "study.sh"], env=os.environ | {"PYTHON": python, "SEEDS": "3 4"},
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    asked = [step.split() for step in steps]
    assert [(step[0], step[1]) for step in asked] == [
        (program, seed) for seed in ("3", "4")
        for program in ("train_teacher.py", "train_teacher.py", "train_student.py")
    ]  # fmt: skip
    first, second, students = (expand(step[2:]) for step in asked[:3])
    assert sorted(map(str, students)) == sorted(map(str, STUDENTS))
    teachers = {str(teacher) for own in TEACHERS for teacher in own}
    assert sorted(map(str, [*first, *second])) == sorted(teachers)


def agreement(bench, name):
    """Of a student and the mean of its teachers' logits, (n,) by numpy."""
    cell = parse_student(name)
    own = bench.outputs(cell)[0].predictions.numpy()
    logits = [bench.outputs(teacher)[0].logits.double().numpy() for teacher in cell.teachers]
    return own == np.mean(logits, axis=0).argmax(axis=1)


def test_its_figures_are_those_of_the_outputs(studied, values):
    by_dose = {
        variant: np.mean([agreement(studied, f"T1w_T2w+{variant}_S{own}") for own in "ws"])
        for variant in ("r95", "placebo95")
    }
    expected = 100 * (by_dose["r95"] - by_dose["placebo95"])
    assert float(values["N, fidelity", ""]) == pytest.approx(expected)
    right = {
        name: studied.outputs(parse_student(name))[0].correct.double().mean().item()
        for name in ("T1s_T2s_Ss", "T1s_T2s_Sw", "T1w_T2w_Ss", "T1w_T2w_Sw")
    }
    strong, weak = ((right[f"{own}_Ss"] - right[f"{own}_Sw"]) for own in ("T1s_T2s", "T1w_T2w"))
    assert float(values["strong students, interaction", ""]) == pytest.approx(100 * (strong - weak))
    assert float(values["top-1, %", "T1s_T2s_Ss"]) == pytest.approx(100 * right["T1s_T2s_Ss"])
    assert values["images", ""] == str(IMAGES) and values["replicate", ""] == str(SEED)


def test_its_slope_is_least_squares_with_a_dummy_for_each_image_and_cell(studied, values):
    names = [f"T1{a}_T2{b}_S{own}" for a in "ws" for b in "ws" for own in "ws"]
    x = []
    for name in names:
        maps = [studied.outputs(teacher)[1] for teacher in parse_student(name).teachers]
        chosen = [own.of_class[torch.arange(IMAGES), own.labels].float() for own in maps]
        masks = [packed_masks(own, 16, rule=equal_area_masks) for own in chosen]
        x.append(masks_overlap(masks).per_image.numpy())
    y = np.concatenate([agreement(studied, name) for name in names]).astype(float)
    image, cell = np.tile(np.eye(IMAGES), (8, 1)), np.repeat(np.eye(8), IMAGES, axis=0)
    columns = np.hstack([np.concatenate(x)[:, None], image, cell])
    expected = np.linalg.lstsq(columns, y, rcond=None)[0][0]
    found = float(values["b of agreement, ensemble not held", ""])
    assert found == pytest.approx(expected, abs=1e-9) and found != 0


def test_the_replicate_is_judged_alone_without_a_verdict(studied, values, capsys):
    folder = studied.folder.parent / "study"
    study.main(["--study", str(folder)])
    assert capsys.readouterr().out.count("no verdict: 1 of 8 replicates") == 10
    page = (folder / "endpoints.md").read_text()
    assert page.count("| T1w_T2w+placebo95 |") == 1
    assert "overlap by 0 in the image's own coordinates" in page


def test_a_replicate_that_lacks_a_run_is_not_kept(studied, tmp_path):
    with pytest.raises(UserError, match="none of the cells"):
        study.main([*studied.where, "--write", "--seeds", "5", "--study", str(tmp_path)])
    run = studied.folder / SET / "T1w_T2w_Sw+kl" / f"seed{SEED}"
    finished = run / "metrics.json"
    finished.rename(run / "aside")
    try:
        with pytest.raises(UserError, match=r"T1w_T2w_Sw\+kl seed 3 is not finished"):
            study.main([*studied.where, "--write", "--seeds", "3", "--study", str(tmp_path)])
    finally:
        (run / "aside").rename(finished)
    assert not [*tmp_path.iterdir()]


def test_causes_are_judged_for_what_is_finished(studied, values, capsys):
    """A second seed has the dose and its placebo alone, by the teachers of the first."""
    cells = [f"T1w_T2w+{variant}_S{own}" for variant in ("r95", "placebo95") for own in "ws"]
    flags = [*studied.where, "--recipe", str(studied.recipe), "--seeds", "4"]
    train_student.main([*flags, "--teacher-seed", str(SEED), "--cells", *cells])
    capsys.readouterr()
    calculate_causes.main([*studied.where, "--latex"])
    assert "N, fidelity & " in (studied.folder / SET / "report" / "causes.tex").read_text()
    page = (studied.folder / SET / "report" / "causes.md").read_text()
    assert "**Given these teachers**" in page
    rows = [line[2:].split(" | ") for line in page.splitlines() if "| points |" in line]
    counts = {row[0]: row[7] for row in rows}
    assert counts["N, fidelity"] == "2" and counts["mimicry"] == "1"
    assert "overlap, equal area" not in counts
    with pytest.raises(UserError, match="cells of their own"):
        calculate_causes.main([*studied.where, "--cells", "Sw"])
    with pytest.raises(UserError, match="one test image"):
        calculate_causes.main([*studied.where, "--max-images", "1"])
    calculate_causes.main([*studied.where, "--max-images", "2"])


def test_a_first_teacher_that_is_gone_does_not_keep_the_others_from_being_judged(taught, tmp_path):
    run = run_copy(taught, tmp_path)
    shutil.rmtree(run("T1w").path)
    students = [run("T1w_T2w_Sw"), run("T1s_T2s_Ss")]
    grid = Grid(Runs(tmp_path / "runs", DATASET))
    assert str(_reference(grid, students).cell) == "T1s"
    with pytest.raises(UserError, match="no first teacher"):
        _reference(grid, students[:1])


def test_the_report_asks_where_there_may_be_an_answer():
    plain = [cell for cell in STUDENTS if cell == cell.plain]
    assert calculate_causes.can_be_asked(plain)
    assert not calculate_causes.can_be_asked(plain[:12])
    assert calculate_causes.can_be_asked([parse_student("T1w_T2w_Sw+kl")])
