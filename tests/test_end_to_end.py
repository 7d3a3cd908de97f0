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
    flags = ("--output-dir", tmp_path / "runs", "--epochs", 1)
    missing = bash("cifar100_imb.sh", *flags, **where, CELLS="T1w_Sw")
    assert missing.returncode == 2
    assert "teacher T1w of T1w_Sw is missing" in missing.stdout
    assert "cell T1w_Sw seed 1 of synthetic_imb10 failed" in missing.stdout

    teachers = bash("cifar100_imb-T.sh", *flags, **where, CELLS="T1w T2s")
    assert teachers.returncode == 0, teachers.stdout
    students = bash("cifar100_imb.sh", *flags, **where, CELLS="Sw T1w_T2s_Ss", SEEDS="1 2")
    assert students.returncode == 0, students.stdout
    again = bash("cifar100_imb.sh", *flags, **where, CELLS="Sw T1w_T2s_Ss", SEEDS="1 2")
    assert again.stdout.count("finished, see") == 4

    report = bash("report.sh", "--output-dir", tmp_path / "runs", DATASET="synthetic_imb10")
    assert report.returncode == 0, report.stdout
    rows = {line.split()[0]: line.split() for line in report.stdout.splitlines()}
    assert rows["T1w"][1] == "1"
    assert rows["T1w_T2s_Ss"][1] == "2"
    assert "±" in rows["Sw"]
    assert not (ROOT / "runs" / "synthetic_imb10" / "results.csv.partial").exists()


@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "script").glob("*.sh")))
def test_scripts_are_strict_and_say_what_they_do(script):
    lines = (ROOT / "script" / script).read_text().splitlines()
    assert subprocess.run(["bash", "-n", f"script/{script}"], cwd=ROOT, check=False).returncode == 0
    if script != "common.sh":
        assert "set -euo pipefail" in lines
        assert lines[1].startswith("# ")
