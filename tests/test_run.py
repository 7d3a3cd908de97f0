"""A run's folder: replaced whole or not at all, and never taken for another run's."""

import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import DATASET, Bench, run_copy

import train_student
from dataloader.errors import UserError, run_program
from dataloader.files import staged, write_text
from engine.cells import parse_cell
from engine.run import Runs
from evaluation import calculate_ece, report


@pytest.fixture
def bench(tmp_path, tiny_recipe):
    return Bench(tmp_path / "runs", tiny_recipe)


@pytest.fixture
def runs(taught, tmp_path):
    return run_copy(taught, tmp_path)


@pytest.fixture
def where(tmp_path):
    return ["--dataset", DATASET, "--output-dir", str(tmp_path / "runs")]


def test_a_linked_folder_is_replaced_where_it_leads_to(bench, tmp_path):
    run = bench.student("Sw", "--epochs", 1)
    run.path.rename(tmp_path / "elsewhere")
    run.path.symlink_to(tmp_path / "elsewhere")
    (run.path / "note.txt").write_text("of the old run")
    bench.student("Sw", "--epochs", 2, "--resume", "never")
    assert run.path.is_symlink()
    assert len(run.epochs.read_text().splitlines()) == 2
    assert not (run.path / "note.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        "elsewhere", "runs"
    ]  # fmt: skip


def test_what_cannot_be_moved_away_is_not_written_over(bench, monkeypatch, capsys):
    run = bench.student("Sw", "--epochs", 1)
    before = {path: path.read_bytes() for path in run.path.glob("*.*")}

    def refuse(self, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.PosixPath.rename", refuse)
    flags = bench.flags("Sw", "--epochs", 2, "--resume", "never")
    assert run_program(train_student.main, flags) == 2
    assert f"cannot replace {run.path}: Permission denied" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_a_copied_run_is_no_seed(runs, where, capsys):
    run = runs("T1w_Sw")
    shutil.copytree(run.path, run.path.with_name("seed1_backup"))
    shutil.copytree(run.path, run.path.with_name("seed2"))
    shutil.copytree(run.path.parent, run.path.parent.with_name("T1w_Sw_old"))
    shutil.copytree(run.path.parent, run.path.parent.with_name("T2w_Sw"))
    calculate_ece.main([*where, "--cells", "T1w_Sw", "--device", "cpu"])
    report.main(where)
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines() if line.startswith("T1w_Sw ")]
    assert all(line[1] == "1" for line in lines)
    assert not [line for line in out.splitlines() if line.startswith("T2w_Sw")]
    assert f"left out: {run.path.with_name('seed1_backup')}: a run's folder is called" in err
    assert f"{run.path.with_name('seed2')}: its config.yaml is of T1w_Sw seed 1" in err
    assert f"left out: {run.path.parent.with_name('T1w_Sw_old')}: unknown student cell" in err
    assert f"{run.path.parent.with_name('T2w_Sw')}/seed1: its config.yaml is of T1w_Sw" in err


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "3"])
def test_without_whole_metrics_a_run_is_not_finished(runs, content, capsys, where):
    run = runs("T1w_Sw")
    run.metrics.write_text(content)
    assert not run.is_finished()
    calculate_ece.main([*where, "--cells", "T1w_Sw", "T1w", "--device", "cpu"])
    assert f"in progress, left out: {run.path}" in capsys.readouterr().err


def test_a_damaged_record_of_settings_is_named_and_left_out(runs, where, capsys):
    run = runs("T1w_Sw")
    run.config.write_text("- 1\n")
    assert run not in Runs(run.path.parents[2], DATASET).all()
    assert f"left out: {run.path}" in capsys.readouterr().err


def test_leftovers_of_dead_processes_are_cleared_and_those_of_living_ones_stay(tmp_path):
    target = tmp_path / "last.pt"
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom dataloader.files import staged\n"
        "with staged(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half')\n    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with staged(target) as other:  # of this process, which lives
        other.write_text("x")
        write_text(target, "whole")
        assert other.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_teachers_number_is_its_seed(runs):
    runs_of = Runs(runs("T1w").path.parents[2], DATASET)
    shutil.copytree(runs("T1w").path, runs("T1w").path.with_name("seed2"))
    assert [run.seed for run in runs_of.of_cell(parse_cell("T1w"))] == [1]


def test_nothing_but_copies_is_no_run(tmp_path):
    folder = tmp_path / "runs" / DATASET / "Sw" / "seed1"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"cell": "Ss", "seed": 1}))
    with pytest.raises(UserError, match="no runs in"):
        Runs(tmp_path / "runs", DATASET).all()
