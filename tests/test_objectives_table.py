"""Objectives compared: the table, and rank correlations over them."""

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import DATASET
from test_objectives import FEW

from common.errors import UserError
from engine.config import StudentConfig
from engine.flags import RECIPE_FOLDER, resolve
from engine.scheduling import side_by_side, train_each, train_together
from evaluation import compare_objectives
from evaluation.objectives_table import Followed, correlation_lines, rank_correlations

ROOT = Path(__file__).parent.parent
VARIANTS = ROOT / "script/objectives.yaml"


def followed(cell, seed, *pairs):
    return [Followed((cell, seed), fidelity, top1) for fidelity, top1 in pairs]


class TestCorrelations:
    UP = ((0.1, 0.5), (0.2, 0.6), (0.3, 0.7), (0.4, 0.8))
    DOWN = ((0.1, 0.8), (0.2, 0.7), (0.3, 0.6), (0.4, 0.5))
    MIXED = ((0.1, 0.5), (0.2, 0.7), (0.3, 0.6), (0.4, 0.8))  # 1 - 6 * 2 / (4 * 15)

    def test_within_a_view_and_a_replicate(self):
        pairs = [*followed("T1w_Sw", 1, *self.UP), *followed("T1w_Ss", 1, *self.DOWN)]
        found = rank_correlations(pairs)
        assert found == {"T1w_Sw": [pytest.approx(1)], "T1w_Ss": [pytest.approx(-1)]}
        assert "of T1w_Ss: -1.00 in one replicate;" in correlation_lines(pairs)[1]

    def test_the_interval_is_over_replicates(self):
        """Student's t of one degree of freedom is 12.706, the standard error .1; it ends at 1."""
        pairs = [*followed("T1w_Sw", 1, *self.UP), *followed("T1w_Sw", 2, *self.MIXED)]
        (line,) = correlation_lines(pairs)
        assert "T1w_Sw: +0.90, 95% interval over 2 replicates -0.37 to +1.00;" in line

    def test_three_objectives_are_too_few(self):
        assert rank_correlations(followed("T1w_Sw", 1, *self.UP[:3])) == {}


def test_the_variants_are_the_published_settings():
    """Each loss is there, and each combination, and all learn in one group."""
    names = [line.split(":")[0] for line in VARIANTS.read_text().splitlines() if line[:1].isalpha()]
    cells = [f"T1w_T2w_Sw+{name}" for name in names]
    flags = ["--recipe", str(RECIPE_FOLDER / "synthetic.yaml"), "--variants", str(VARIANTS)]
    configs = resolve(StudentConfig, ["--dataset", "synthetic", *flags, "--cells", *cells])
    (group,) = side_by_side(configs)
    own = {config.cell.split("+")[1]: config for config in group}
    assert {config.combine for config in group} == {"losses", "logits", "confidence", "drawn"}
    assert len({config.loss for config in group}) == 8
    assert (own["kl9"].loss, own["kl9"].kd_weight, own["kl9"].ce_weight) == ("kl", (9,), 0.1)
    assert (own["standardised"].temperature, own["dkd"].temperature) == (2, 4)
    assert own["map"].kd_weight == (0.9, 5)


def test_a_table_from_training_to_correlation(two_teachers, capsys):
    (plain,) = resolve(StudentConfig, two_teachers.flags("T1w_T2w_Sw", *FEW))
    configs = [
        dataclasses.replace(plain, cell=f"T1w_T2w_Sw+{name.replace('_', '-')}", loss=name)
        for name in ("kl", "standardised", "dist", "logit_mse", "hard_label")
    ]
    train_each(side_by_side(configs), train_together)
    capsys.readouterr()
    asked = ["--dataset", DATASET, "--output-dir", str(two_teachers.folder), "--device", "cpu"]
    cells = [config.cell for config in configs]
    compare_objectives.main([*asked, "--cells", *cells])
    printed = capsys.readouterr().out
    assert "over the objectives of T1w_T2w_Sw: " in printed
    rows = json.loads((two_teachers.folder / DATASET / "objectives.json").read_text())
    assert [row["cell"] for row in rows] == sorted(cells)
    for row in rows:
        record = two_teachers.run(row["cell"], 1).read_metrics()["last"]
        assert row["top1"] == pytest.approx(record["test"]["top1"])
        assert row["fidelity_ensemble"] == pytest.approx(record["test"]["fidelity_ensemble"])
        assert row["fidelity_taught"] == record["test"]["fidelity_taught"]
        assert row["gap_points"] == record["gap_points"]
        assert 0 <= row["ece"] <= 1
    with pytest.raises(UserError, match="none of the cells asked for is finished"):
        compare_objectives.main([*asked, "--cells", "T1s_T2s_Ss+kl"])


def test_the_script_names_cells_that_there_are():
    """Its --help needs no training, and its cells are those of the variants."""
    done = subprocess.run(
        ["bash", "script/objectives.sh", "--help"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "One pair of teachers" in done.stdout and "--combine" in done.stdout
