"""The scripts as a user types them, on the embedded data set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def bash(script, *flags, **environment):
    """Run a script with this Python; its stdout and stderr together."""
    return subprocess.run(
        ["bash", f"script/{script}", *map(str, flags)],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_teachers_students_and_the_table(tmp_path, tiny_recipe):
    where = {"DATASET": "synthetic_imb10", "RECIPE": str(tiny_recipe), "GPUS": "cpu cpu"}
    flags = ("--output-dir", tmp_path / "runs", "--epochs", 1, "--max-test-images", 100)
    missing = bash("cifar100_imb.sh", *flags, **where, CELLS="T1w_Sw")
    assert missing.returncode == 2
    assert "teacher T1w of T1w_Sw is missing" in missing.stdout
    assert "cell T1w_Sw seed 1 of synthetic_imb10 failed" in missing.stdout

    teachers = bash("cifar100_imb-T.sh", *flags, **where, CELLS="T1s T2s", SEEDS="1 2")
    assert teachers.returncode == 0, teachers.stdout
    flags = (*flags, "--teacher-seed", 1)
    wanted = {"CELLS": "Sw Ss T1s_T2s_Ss", "SEEDS": "1 2"}
    students = bash("cifar100_imb.sh", *flags, **where, **wanted)
    assert students.returncode == 0, students.stdout
    again = bash("cifar100_imb.sh", *flags, **where, **wanted)
    assert again.stdout.count("finished, see") == 6

    report = bash("report.sh", "--output-dir", tmp_path / "runs", DATASET="synthetic_imb10")
    assert report.returncode == 0, report.stdout
    unchanged = bash("report.sh", "--output-dir", tmp_path / "runs", DATASET="synthetic_imb10")
    assert (unchanged.returncode, unchanged.stdout.count("\n")) == (0, 1)
    assert unchanged.stdout.startswith("up to date: ")
    rows = {line.split()[0]: line.split() for line in report.stdout.splitlines()}
    assert rows["T1s"][1] == "2"
    assert rows["T1s_T2s_Ss"][1] == "2"
    assert "±" in rows["Sw"]
    folder = tmp_path / "runs" / "synthetic_imb10" / "report"
    assert {path.name for path in folder.glob("*.pdf")} == {
        f"{name}.pdf"
        for name in ("strong_views", "grid", "learning", "reliability", "attention_strong",
                     "agreement_matrix", "section_6_1", "section_6_2", "section_H")
    }  # fmt: skip
    page = (folder / "claims.md").read_text()
    assert "| 6.1 strong students | strong students beat weak ones |" in page
    beside = (folder / "paper.md").read_text()
    assert "of CIFAR100 stand here" in beside
    assert all(f"]({path.name})" in page + beside for path in folder.glob("*.png"))
    cells = (folder / "cells.md").read_text()
    assert "| many-shot, % | medium-shot, % |" in cells and "| T1s_T2s_Ss | 2 |" in cells


@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "script").glob("*.sh")))
def test_scripts_are_strict_and_say_what_they_do(script):
    lines = (ROOT / "script" / script).read_text().splitlines()
    assert subprocess.run(["bash", "-n", f"script/{script}"], cwd=ROOT, check=False).returncode == 0
    if script != "common.sh":
        assert "set -euo pipefail" in lines
        assert lines[1].startswith("# ")


def test_a_python_that_was_asked_for_is_not_replaced_in_silence(tmp_path):
    """It has not what the requirements name, and .venv's has."""
    for file in ("script/common.sh", "script/check_requirements.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    (tmp_path / "needed.txt").write_text("numpy\n")
    bare, full = tmp_path / "bare", tmp_path / ".venv/bin/python"
    full.parent.mkdir(parents=True)
    for python, flags in ((bare, "-S -E"), (full, "")):  # -S: without site-packages
        python.write_text(f'#!/bin/sh\nexec {sys.executable} {flags} "$@"\n')
        python.chmod(0o755)
    command = ["bash", "-c", 'source script/common.sh; use_python needed.txt; echo "$PYTHON"']

    def used(python):
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, "PYTHON": str(python)}, check=True)  # fmt: skip

    assert (used(full).stdout, used(full).stderr) == (f"{full}\n", "")
    assert used(bare).stdout == f"{full}\n"
    assert used(bare).stderr == f"{bare} has not all of needed.txt: {full} is used\n"


def test_help_needs_nothing_installed_and_names_variables_and_flags():
    bare = [sys.executable, "-S", "-E"]  # no site-packages: only Python's own library
    for program, flag in (("train_student.py", "--temperature"), ("train_teacher.py", "--beside")):
        run = subprocess.run(
            [*bare, program, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0 and flag in run.stdout, run.stderr
    shown = bash("cifar100.sh", "--help").stdout
    assert "GPUS     devices" in shown and "--ce-weight" in shown
    assert "--target" in bash("IoU_TS.sh", "--help").stdout


def test_the_environment_names_the_data_set_of_a_measure(tmp_path):
    run = subprocess.run(
        [sys.executable, "Affinity/calculate_affinity.py", "--output-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "DATASET": "ImageNet", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert str(tmp_path / "ImageNet") in run.stderr


def test_relative_folders_are_the_callers(tmp_path, tiny_recipe):
    (tmp_path / "my.yaml").write_bytes(tiny_recipe.read_bytes())
    run = subprocess.run(
        ["bash", str(ROOT / "script" / "cifar100_imb-T.sh"), "--output-dir", "here"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHON": sys.executable,
            "DATASET": "synthetic_imb10",
            "RECIPE": "my.yaml",
            "CELLS": "T1w",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "here" / "synthetic_imb10" / "T1w" / "seed1" / "metrics.json").is_file()
