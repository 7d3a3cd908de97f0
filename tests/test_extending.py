"""The examples of docs/extending.md, run in a copy of the house."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY

ROOT = Path(__file__).parent.parent
PARTS = (
    "Affinity",
    "common",
    "dataloader",
    "engine",
    "evaluation",
    "losses",
    "metrics",
    "models",
    "script",
)
GUIDE = (ROOT / "docs" / "extending.md").read_text()


def examples(heading):
    """The blocks of code below a heading of the guide."""
    section = GUIDE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```(?:python)?\n(.*?)```", section, re.DOTALL)


def example(heading):
    """The first of them."""
    return examples(heading)[0]


@pytest.fixture
def house(tmp_path):
    """A copy of the code, and a way to run its programs."""
    root = tmp_path / "house"
    for part in PARTS:
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("train_teacher.py", "train_student.py", "pyproject.toml"):
        shutil.copy(ROOT / file, root)
    (root / "tiny.yaml").write_text(TINY.replace("epochs: 3", "epochs: 1"))

    def run(program, *flags, dataset="synthetic_imb10"):
        done = subprocess.run(
            [sys.executable, program, "--dataset", dataset, *flags],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.root = root
    return run


def test_a_third_view_works_everywhere(house):
    views = house.root / "dataloader" / "views.py"
    before, after = views.read_text().split('    ViewDefinition("base"')
    views.write_text(f'{before}{example("Another view")}    ViewDefinition("base"{after}')
    train = ("--recipe", "tiny.yaml")
    house("train_teacher.py", "--cell", "T1m", *train)
    house("train_student.py", "--cell", "T1m_Sm", *train)
    house("evaluation/calculate_ece.py", "--cells", "T", "1T", "--view", "medium")
    house("evaluation/calculate_iou.py", "--cells", "T1m_Sm", "--group", "T_S")
    house("Affinity/calculate_affinity.py", "--cells", "T1m")
    results = house.root / "runs" / "synthetic_imb10"
    rows = json.loads((results / "affinity.json").read_text())
    assert [row["view"] for row in rows] == ["weak", "strong", "medium"]
    assert all((results / f"{name}.png").is_file() for name in ("ece", "iou_T_S", "affinity"))
    assert "T1m_Sm" in house("evaluation/report.py")


def test_a_data_set_is_a_file_and_a_line(house):
    file, line = examples("Another data set")
    (house.root / "dataloader" / "colours.py").write_text(file)
    registry = house.root / "dataloader" / "datasets.py"
    before, after = registry.read_text().split("DATASETS = {\n")
    imported = "from dataloader.colours import COLOURS\n"
    registry.write_text(f"{before}{imported}DATASETS = {{\n{line}{after}")
    train = ("--recipe", "tiny.yaml")
    house("train_teacher.py", "--cell", "T1w", *train, dataset="colours_imb10")
    house("train_student.py", "--cell", "T1w_Sw", *train, dataset="colours_imb10")
    assert "T1w_Sw" in house(
        "evaluation/calculate_ece.py", "--cells", "1T", "--split", "train", dataset="colours_imb10"
    )
    (row,) = json.loads((house.root / "runs" / "colours_imb10" / "ece.json").read_text())
    assert row["cell"] == "T1w_Sw"


def test_a_notebook_elsewhere_uses_the_checkout(tmp_path):
    code = example("From a notebook, or another project").replace(
        "/path/to/the/checkout", f"{ROOT}"
    )
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=inherited, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    agreement, ece = map(float, done.stdout.split())
    assert 0 < agreement < 1
    assert 0 < ece < 1
