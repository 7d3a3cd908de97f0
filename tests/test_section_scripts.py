"""The scripts of whole sections as a user types them: a few embedded images, one epoch."""

import json
import subprocess

import pytest
from test_end_to_end import ROOT, bash

FEW = ("--epochs", 1, "--max-train-images", 40, "--max-test-images", 20, "--image-size", 16)
ON_CPU = ("--batch-size", 20, "--device", "cpu", "--amp", "none")


@pytest.fixture
def rows_of(tmp_path):
    """Runs a script below a folder; the report's rows by cell."""

    def run(script, **environment):
        flags = ("--output-dir", tmp_path, *FEW, *ON_CPU)
        done = bash(script, *flags, DATASET="synthetic", GPUS="cpu", **environment)
        assert done.returncode == 0, done.stdout
        rows = json.loads((tmp_path / "synthetic" / "results.json").read_text())
        return {row["cell"]: row for row in rows}

    return run


@pytest.mark.parametrize("script", ["quickstart", "zscore", "strength", "objectives", "ViT"])
@pytest.mark.parametrize("flag", [["--dataset", "birds"], ["--dataset=birds"]])
def test_what_is_measured_is_what_was_trained(tmp_path, script, flag):
    """A Python that writes down what it is asked."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$DATASET" "$@" >>{tmp_path}/asked\n')
    python.chmod(0o755)
    done = bash(f"{script}.sh", *flag, "--output-dir", "there", PYTHON=str(python), DATASET="cats")
    assert done.returncode == 0, done.stdout
    asked = (tmp_path / "asked").read_text().splitlines()
    measured = [line.split() for line in asked if "evaluat" in line]
    assert measured
    for words in measured:
        assert words[0] == "birds"
        assert words[-2:] == ["--output-dir", "there"]


def test_objectives_and_others_of_their_names_have_a_folder_each(tmp_path):
    """T1w_T2w_Sw+kl and +standardised are other students in causes.sh and zscore.sh."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    python.chmod(0o755)
    assert bash("objectives.sh", PYTHON=str(python)).returncode == 0
    asked = [line for line in (tmp_path / "asked").read_text().splitlines() if "--" in line]
    assert len(asked) == 4 and all("--output-dir runs/objectives" in line for line in asked)


T, S, MEASURE = "train_teacher.py", "train_student.py", "evaluate.py"


@pytest.mark.parametrize(
    ("script", "codes", "steps", "code"),
    [
        ("quickstart", [3], [T, S, MEASURE], 3),
        ("quickstart", [0, 3], [T, S, MEASURE], 3),
        ("quickstart", [2], [T], 2),
        ("quickstart", [3, 2], [T, S], 2),
        ("quickstart", [0, 3, 2], [T, S, MEASURE], 2),
        ("ViT", [3], [T, S, MEASURE], 3),
        ("zscore", [0, 3], [T, S, S, MEASURE], 3),
        ("objectives", [0, 3], [T, S, MEASURE, "compare_objectives.py"], 3),
        ("causes", [3], [T, T, S], 3),
        ("causes", [0, 0, 3], [T, T, S], 3),
        ("strength", [3], [T, T, S, MEASURE], 3),
        ("study", [0, 3], [T, T, T, T, S], 3),
        ("study", [0, 0, 3], [T, T, S, T, T, S], 3),
        ("study", [0, 0, 2], [T, T, S], 2),
    ],
)
def test_runs_that_diverge_keep_no_further_step_away(tmp_path, script, codes, steps, code):
    """A Python whose steps end with these codes, and then with 0."""
    (tmp_path / "codes").write_text("".join(f"{each}\n" for each in codes))
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncd {tmp_path}\ncase $1 in\n*launch.py) echo "$2" >>steps ;;\n'
        '*/eval*) echo "${1##*/}" >>steps ;;\n*) exit ;;\nesac\n'
        'code=$(sed -n "$(wc -l <steps)p" codes)\nexit "${code:-0}"\n'
    )
    python.chmod(0o755)
    done = bash(f"{script}.sh", PYTHON=str(python), SEEDS="1 2", STRENGTHS="0 1")
    assert (tmp_path / "steps").read_text().split() == steps, done.stdout
    assert done.returncode == code


def test_a_step_stops_where_it_fails():
    script = "set -euo pipefail; source script/common.sh; f() { false; echo on; }; step f; echo on"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def test_zscore_has_gap_and_fidelity_with_and_without(rows_of, tmp_path):
    rows = rows_of("zscore.sh", CELLS="T1w_T2w_Sw", TEACHERS="T1w T2w")
    for cell in ("T1w_T2w_Sw", "T1w_T2w_Sw+standardised"):
        assert {"gap_points", "fidelity_ensemble"} <= rows[cell].keys()
    assert "section_6_3" in (tmp_path / "synthetic" / "report" / "paper.md").read_text()


def test_vit_measures_the_overlap_of_transformers(rows_of):
    rows = rows_of("ViT.sh", CELLS="Sw T1w_T2w_Sw")
    assert {"Sw", "T1w", "T2s"} <= rows.keys()
    assert 0 <= rows["T1w_T2w_Sw"]["iou_teachers"] <= 1


def test_objectives_stand_side_by_side(rows_of, tmp_path):
    rows = rows_of("objectives.sh", LOSSES="kl dist")
    students = {f"T1w_T2w_{view}+{loss}" for view in ("Sw", "Ss") for loss in ("kl", "dist")}
    assert set(rows) == {"T1w", "T2w", "Sw", "Ss"} | students
    folder = tmp_path / "synthetic" / "report"
    means = {row["cell"]: row for row in json.loads((folder / "objectives.json").read_text())}
    assert set(means) == students
    for cell in students:
        assert 100 * means[cell]["top1"] == pytest.approx(rows[cell]["top1_last"])
        assert means[cell]["iou_T_S"] == pytest.approx(rows[cell]["iou_student"])
    assert "## T1w_T2w_Ss, n = 1" in (folder / "objectives.md").read_text()
