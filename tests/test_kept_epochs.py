"""Weights of chosen epochs, and validation under the training view after each."""

import csv
import json
import shutil

import pytest
import torch
from conftest import DATASET, Bench

from common.errors import UserError
from engine.checkpoint import load
from engine.config import StudentConfig
from evaluation import calculate_agreement, calculate_ece

FEW = ("--max-train-images", 40, "--max-test-images", 20)


@pytest.fixture(scope="module")
def bench(taught, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    shutil.copytree(taught.run("T1w", 1).path.parent, folder / DATASET / "T1w")
    return Bench(folder, taught.recipe)


@pytest.fixture(scope="module")
def run(bench):
    return bench.student("T1w_Ss", "--keep-epochs", 2, "--validate-views", "yes", *FEW)


def records(run):
    return [json.loads(line) for line in run.epochs.read_text().splitlines()]


def test_the_epochs_weights_are_those_of_a_run_that_ended_there(bench, run):
    header, state = load(run.checkpoint("epoch2"))
    assert header.epoch == 2
    shorter = bench.student("T1w_Ss+2", "--epochs", 2, *FEW)
    expected = load(shorter.checkpoint("last"))[1]["model"]
    assert all(torch.equal(state["model"][name], own) for name, own in expected.items())
    assert not run.checkpoint("epoch1").exists()


def test_neither_changes_a_figure_of_training(bench, run):
    plain = bench.student("T1w_Ss+plain", *FEW)
    for own, other in zip(records(run), records(plain), strict=True):
        assert "validation_view" not in other
        assert all(own[name] == other[name] for name in ("train", "validation", "lr"))


def test_validation_under_the_view_is_what_the_measure_says(bench, run):
    """The last epoch's, by running both checkpoints again."""
    flags = ["--dataset", DATASET, "--output-dir", str(bench.folder), "--cells", "T1w_Ss"]
    calculate_agreement.main([*flags, "--view", "strong", "--device", "cpu"])
    with (bench.folder / DATASET / "agreement.csv").open() as lines:
        row = next(row for row in csv.DictReader(lines) if row["pair"] == "T1w-S")
    recorded = records(run)[-1]["validation_view"]
    assert recorded["fidelity_T1w"] == pytest.approx(float(row["fidelity"]), abs=1e-6)
    assert {"top1", "loss", "fidelity_ensemble"} <= recorded.keys()


def test_a_kept_epoch_is_measured(bench, run):
    flags = ["--dataset", DATASET, "--output-dir", str(bench.folder), "--device", "cpu"]
    calculate_ece.main([*flags, "--cells", "T1w_Ss", "T1w", "--checkpoint", "epoch2"])
    rows = json.loads((bench.folder / DATASET / "ece.json").read_text())
    student = next(row for row in rows if row["cell"] == "T1w_Ss")
    assert student["top1"] == records(run)[1]["validation"]["top1"]
    assert list(student["checkpoints"]) == ["T1w_Ss/seed1/epoch2.pt"]
    teacher = next(row for row in rows if row["cell"] == "T1w")
    assert list(teacher["checkpoints"]) == ["T1w/seed1/last.pt"]


def test_an_epoch_that_is_over_is_named(bench, run, capsys):
    """Of a run that is finished, and of one that goes on."""
    flags = ("--keep-epochs", 1, 2, "--validate-views", "yes", *FEW)
    for _ in range(2):
        bench.student("T1w_Ss", *flags)
        assert "Ss seed 1: epoch 1 of --keep-epochs is over" in capsys.readouterr().err
        run.metrics.unlink(missing_ok=True)
    bench.student("T1w_Ss", "--keep-epochs", 2, "--validate-views", "yes", *FEW)
    assert "--keep-epochs" not in capsys.readouterr().err


def test_an_epoch_after_the_last_is_refused():
    with pytest.raises(UserError, match="--keep-epochs 4 is after the last of 3 epochs"):
        StudentConfig(cell="Sw", epochs=3, keep_epochs=(1, 4))


@pytest.mark.parametrize("name", ["epoch0", "epochs2", "../last", "epoch"])
def test_no_epochs_name(bench, name):
    flags = ["--dataset", DATASET, "--output-dir", str(bench.folder), "--checkpoint", name]
    with pytest.raises(UserError, match="use last, best, or epoch<k>"):
        calculate_ece.main(flags)


def test_a_started_anew_run_clears_kept_weights(bench, run):
    cell = "T1w_Ss+again"
    again = bench.student(cell, "--keep-epochs", 1, "--epochs", 1, *FEW)
    assert again.checkpoint("epoch1").is_file()
    bench.student(cell, "--epochs", 1, "--resume", "never", *FEW)
    assert not again.checkpoint("epoch1").exists()
