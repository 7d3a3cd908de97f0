"""A run's folder: replaced whole or not at all, and never taken for another run's."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from conftest import DATASET, Bench, run_copy

import train_student
from common.errors import UserError, run_program
from common.files import staged, write_text
from engine.cells import parse_cell
from engine.config import TeacherConfig, changed_settings
from engine.lock import RunLock
from engine.run import Runs
from engine.training_run import TrainingRun
from evaluation import calculate_ece, report
from models.registry import build_model


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
        "import os, sys\nfrom pathlib import Path\nfrom common.files import staged\n"
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


def test_what_a_machine_of_a_longer_name_writes_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-999999999")
    with staged(tmp_path / "table.csv") as theirs:
        theirs.write_text("x")
        monkeypatch.setattr("socket.gethostname", lambda: "gpu")
        write_text(tmp_path / "table.csv", "whole")
        assert theirs.exists()


def test_a_replaced_run_that_is_left_over_is_cleared_away(bench):
    """A process of a container had this one's number, and was killed."""
    run = bench.run("Sw", 1)
    for path in (run.path, run.path.with_name(f".seed1-replaced-{os.getpid()}")):
        path.mkdir(parents=True)
        (path / "config.yaml").write_text("cell: Sw\n")
    run.delete()
    assert list(run.path.parent.iterdir()) == []


def test_nothing_but_copies_is_no_run(tmp_path):
    folder = tmp_path / "runs" / DATASET / "Sw" / "seed1"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"cell": "Ss", "seed": 1}))
    with pytest.raises(UserError, match="no runs in"):
        Runs(tmp_path / "runs", DATASET).all()


FEW = ("--max-train-images", 64, "--max-test-images", 32)


def before_the_lock(monkeypatch, act):
    """Have `act` happen after a run was looked at, before it is locked."""
    genuine = RunLock.of

    def of(folder):
        monkeypatch.setattr(RunLock, "of", genuine)
        act()
        return genuine(folder)

    monkeypatch.setattr(RunLock, "of", of)


def test_a_run_that_was_trained_otherwise_meanwhile_is_left_alone(bench, monkeypatch, capsys):
    run, kept = bench.run("Sw", 1), {}

    def other():
        bench.student("Sw", *FEW, "--epochs", 1, "--lr", 0.05)
        kept.update({path: path.read_bytes() for path in run.path.glob("*.*")})

    before_the_lock(monkeypatch, other)
    assert run_program(train_student.main, bench.flags("Sw", *FEW, "--epochs", 1)) == 2
    assert "holds a run with other settings (--lr was 0.05, now 0.1)" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_run_that_was_finished_meanwhile_is_finished(bench, monkeypatch):
    flags, records = (*FEW, "--epochs", 1), []

    def same():
        records.append(bench.student("Sw", *flags).epochs.read_bytes())

    before_the_lock(monkeypatch, same)
    run = bench.student("Sw", *flags)
    assert run.is_finished()
    assert run.epochs.read_bytes() == records[0]


def test_a_run_that_was_taken_away_meanwhile_is_not_begun_without_its_weights(
    bench, tmp_path, monkeypatch, capsys
):
    file = tmp_path / "weights.pt"
    torch.save(build_model("resnet8", 10).state_dict(), file)
    flags = (*FEW, "--epochs", 1, "--pretrained", file)
    run = bench.student("Sw", *flags)
    run.metrics.unlink()
    before_the_lock(monkeypatch, run.delete)
    assert run_program(train_student.main, bench.flags("Sw", *flags)) == 2
    assert "was taken away or begun anew meanwhile" in capsys.readouterr().err
    assert not run.has_begun()


def after_an_epoch(monkeypatch, act):
    """Have `act` happen to a run's folder just before its second epoch is written."""
    genuine = TrainingRun.add

    def add(run, *args):
        if len(run.history) == 1:
            act(run.directory.path)
        genuine(run, *args)

    monkeypatch.setattr(TrainingRun, "add", add)


def move(path):
    path.rename(path.with_name("elsewhere"))


def empty(path):
    for file in path.glob("*.*"):
        file.unlink()


def replace_by_file(path):
    move(path)
    path.write_text("of another program")


def replace_by_folder(path):
    move(path)
    path.mkdir()
    (path / "config.yaml").write_text("of another program")


@pytest.mark.parametrize(
    "act",
    [move, shutil.rmtree, empty, replace_by_file, replace_by_folder, lambda p: move(p.parent)],
)
def test_a_folder_that_is_taken_away_stops_its_run(bench, monkeypatch, capsys, act):
    run = bench.run("Sw", 1)
    with monkeypatch.context() as patch:
        after_an_epoch(patch, act)
        assert run_program(train_student.main, bench.flags("Sw", *FEW)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(run.path) in error
    for path in (run.epochs, run.checkpoint("last"), run.metrics):
        assert not path.exists()


def test_a_folder_that_is_put_back_goes_on(bench, monkeypatch, capsys):
    run = bench.run("Sw", 1)
    with monkeypatch.context() as patch:
        after_an_epoch(patch, move)
        assert run_program(train_student.main, bench.flags("Sw", *FEW)) == 2
    run.path.with_name("elsewhere").rename(run.path)
    bench.student("Sw", *FEW)
    assert [record["epoch"] for record in run.read_epochs(3)] == [1, 2, 3]


@pytest.mark.parametrize("flags", [[], ["--resume", "never"]])
def test_files_of_another_program_are_not_deleted(bench, capsys, flags):
    run = bench.run("Sw", 1)
    run.path.mkdir(parents=True)
    (run.path / "thesis.tex").write_text("mine")
    assert run_program(train_student.main, bench.flags("Sw", *flags)) == 2
    assert f"{run.path} holds thesis.tex, which is no run's" in capsys.readouterr().err
    assert (run.path / "thesis.tex").read_text() == "mine"


def test_a_file_in_a_runs_place_stays(bench, capsys):
    run = bench.run("Sw", 1)
    run.path.parent.mkdir(parents=True)
    run.path.write_text("mine")
    assert run_program(train_student.main, bench.flags("Sw")) == 2
    assert f"{run.path} is no folder" in capsys.readouterr().err
    assert run.path.read_text() == "mine"


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "best.pt", "epochs.jsonl"])
def test_a_missing_file_is_said_as_a_damaged_one(runs, bench, capsys, name):
    run = runs("Sw")
    run.metrics.unlink()
    (run.path / name).unlink()
    assert run_program(train_student.main, bench.flags("Sw")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(run.path / name) in error
    assert "put it back from a copy, or start anew with --resume never" in error
    if name == "config.yaml":
        bench.student("Sw", *FEW, "--resume", "never")
        assert run.is_finished()


def test_epochs_without_last_pt_are_not_thrown_away(runs, bench, capsys):
    run = runs("Sw")
    run.metrics.unlink()
    run.checkpoint("last").unlink()
    assert run_program(train_student.main, bench.flags("Sw")) == 2
    assert f"{run.checkpoint('last')} is missing: put it back" in capsys.readouterr().err
    assert len(run.read_epochs(3)) == 3


def test_missing_metrics_are_said_with_what_writes_them(runs):
    run = runs("Sw")
    run.metrics.unlink()
    with pytest.raises(UserError, match=r"metrics.json is missing: train the cell again"):
        run.read_metrics()


def test_a_missing_checkpoint_of_a_teacher_is_said_with_what_to_do(runs, bench, capsys):
    runs("T1w").checkpoint("last").unlink()
    assert run_program(train_student.main, bench.flags("T1w_Ss")) == 2
    assert "no weights at" in (error := capsys.readouterr().err)
    assert "from a copy" in error


def test_a_teacher_of_an_earlier_version_is_told_where_to_go(taught, tmp_path):
    """There its number was its seed, and named its folder."""
    before = tmp_path / f"runs/{DATASET}/T2w/seed2"
    shutil.copytree(taught.run("T2w", 1).path, before)
    config = before / "config.yaml"
    config.write_text(config.read_text().replace("seed: 1\n", ""))
    moved = before.with_name("seed1")
    with pytest.raises(UserError, match=re.escape(f"mv {before} {moved}")):
        Runs(tmp_path / "runs", DATASET).of(parse_cell("T2w"), 1)
    before.rename(moved)
    run = Runs(tmp_path / "runs", DATASET).of(parse_cell("T2w"), 1)
    assert run.why_not() is None
    assert changed_settings(run.saved_settings(), TeacherConfig(**run.saved_settings())) == []
