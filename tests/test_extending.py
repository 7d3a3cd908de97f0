"""The examples of docs/extending.md, run in a copy of the house."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import TINY

from models import registry

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
FEW = "epochs: 1, max_train_images: 200, max_test_images: 100"
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
        shutil.copytree(ROOT / part, root / part)
    for file in ("train_teacher.py", "train_student.py", "pyproject.toml"):
        shutil.copy(ROOT / file, root)
    (root / "tiny.yaml").write_text(TINY.replace("epochs: 3", FEW))

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
    house("train_teacher.py", "--cells", "T1w", "T1s", "T1m", "T2m", *train)
    of_paper = ("T1w_Sw", "T1w_Ss", "T1s_Ss")
    of_others = ("T1m_Sm", "T1w_Sm", "T1m_T2m_Sm")
    house("train_student.py", "--cells", *of_paper, *of_others, *train)
    printed = house("script/evaluate.py")
    assert all(name in printed for name in (*of_paper, *of_others))
    results = house.root / "runs" / "synthetic_imb10"
    rows = json.loads((results / "affinity.json").read_text())
    assert {row["view"] for row in rows if row["cell"] == "T1w"} == {"weak", "strong", "medium"}
    assert all((results / f"{name}.png").is_file() for name in ("ece", "iou_T_S", "affinity"))
    report = results / "report"
    drawn = {path.stem for path in report.glob("*.png")}
    assert {"strong_views", "grid", "reliability", "learning", "attention_medium"} <= drawn
    assert "rho: of the weak and strong view alone" in (report / "claims.md").read_text()
    cells = (report / "cells.md").read_text()
    assert all(f"| {name} | 1 |" in cells for name in (*of_paper, *of_others))
    assert "| weak view, % | strong view, % | medium view, % |" in cells
    assert "strong students beat weak ones" in (report / "claims.json").read_text()


def test_a_measure_is_a_file_and_a_line(house, taught):
    """In the table of its measurement, the report's and the page of cells."""
    file, lines = example("A measure and its column").split("\n\n# evaluation/measures.py\n")
    imported, column = lines.split("\n\n")
    (house.root / "metrics" / "true_class.py").write_text(file)
    measures = house.root / "evaluation" / "measures.py"
    text = measures.read_text().replace("CALIBRATION = (\n", f"CALIBRATION = (\n{column}")
    measures.write_text(text.replace("from metrics.shots", f"{imported}\nfrom metrics.shots"))
    runs = house.root / "runs" / "synthetic_imb10"
    shutil.copytree(taught.run("Sw", 1).path, runs / "Sw" / "seed1")
    assert "true_class" in house("evaluation/calculate_ece.py", "--cells", "Sw").split("\n")[0]
    house("evaluation/report.py")
    (row,) = json.loads((runs / "results.json").read_text())
    assert 0 < row["true_class"] < 1
    page = (runs / "report" / "cells.md").read_text()
    assert "| probability of the true class |" in page and f"| {row['true_class']:.3f} |" in page


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


def test_another_loss_is_a_file_and_a_line(house):
    (house.root / "losses" / "logits.py").write_text(example("Another loss"))
    registry = house.root / "losses" / "registry.py"
    imported = "from losses.loss import Loss\n"
    text = registry.read_text().replace(
        imported, f"from losses.logits import LogitDistance\n{imported}"
    )
    registry.write_text(
        text.replace('"kl": SoftenedKL,', '"kl": SoftenedKL, "logits": LogitDistance,')
    )
    house("train_teacher.py", "--cell", "T1w", "--recipe", "tiny.yaml")
    flags = ("--recipe", "tiny.yaml", "--loss", "kl+logits", "--kd-weight", "0.4", "2")
    house("train_student.py", "--cell", "T1w_Sw+logits", *flags, "--distance-power", "1")
    run = house.root / "runs" / "synthetic_imb10" / "T1w_Sw+logits" / "seed1"
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert (saved["loss"], saved["distance_power"], saved["kd_weight"]) == (
        "kl+logits",
        1,
        [0.4, 2],
    )
    trained = json.loads((run / "epochs.jsonl").read_text())["train"]
    whole = 0.6 * trained["cross_entropy"] + 0.4 * 9 * trained["kl"] + 2 * trained["logits"]
    assert trained["loss"] == pytest.approx(whole, rel=1e-5)


def test_a_net_is_a_line(monkeypatch):
    name = re.search(r"line in `(\w+)` of `models/registry.py`", GUIDE)[1]
    ours = getattr(registry, name)()
    monkeypatch.setattr(registry, name, lambda: ours | {"mine": ours["resnet8"]})
    assert "mine" in registry.architectures()
    assert registry.build_model("mine", 10, image_size=32)(torch.zeros(1, 3, 32, 32)).shape == (
        1,
        10,
    )


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
