"""What there is of runs, told, compared and deleted."""

import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import DATASET, run_copy

from common.errors import UserError, run_program
from engine.cells import parse_cell
from engine.lock import RunLock
from engine.records import read_epochs, write_epochs, write_metrics
from engine.run import Runs
from evaluation.status import main

ROOT = Path(__file__).parent.parent


@pytest.fixture
def copy(taught, tmp_path):
    """Finds a run in a copy that may be changed."""
    return run_copy(taught, tmp_path)


@pytest.fixture
def told(tmp_path, capsys):
    """Runs the program on the copy; its lines as words."""

    def run(*words):
        main(["--dataset", DATASET, "--output-dir", str(tmp_path / "runs"), *words])
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    return run


def states(lines):
    return {(words[0], words[1]): words[2] for words in lines[1:-1]}


def test_runs_are_done_in_work_stopped_or_missing(copy, told):
    lines = told()
    assert lines[0] == ["cell", "seed", "state", "epochs", "eta", "top1", "size", "age"]
    assert set(states(lines).values()) == {"done"}
    assert lines[1][:4] == ["T1s", "1", "done", "3/3"]
    assert lines[-1][:2] == ["8", "runs,"]
    copy("Sw").metrics.unlink()
    copy("T1w_Sw").metrics.unlink()
    shutil.rmtree(copy("T2w").path)
    lock = RunLock.of(copy("T1w_Sw").path)
    shown = states(told())
    lock.release()
    assert shown["Sw", "1"] == "stopped"
    assert shown["T1w_Sw", "1"] == "in"
    assert shown["T2w", "1"] == "missing"  # a student has learnt from it


ETAS = ((2, 300, "20 min"), (2, 5000, "0 s"), (1, 800, "20 min"), (0, 0, "-"))


def test_a_run_in_work_ends_at_the_pace_of_its_epochs(copy, told):
    run = copy("Sw")
    run.metrics.unlink()
    records = [
        record | {"seconds": 1000.0 * record["epoch"]} for record in read_epochs(run.epochs, 2)
    ]
    lock = RunLock.of(run.path)
    for kept, begun, eta in ETAS:
        write_epochs(run.epochs, records[:kept])  # of 3 epochs
        os.utime(run.epochs, (0, time.time() - begun))
        (words,) = [words for words in told() if words[:4] == ["Sw", "1", "in", "work"]]
        assert words[4] == f"{kept}/3"
        assert " ".join(words[5:]).startswith(f"{eta} - ")
    run.epochs.write_text("damaged\n")
    assert told("--cells", "Sw")[1][4:6] == ["1/3", "-"]
    lock.release()


def test_cells_that_are_asked_for_may_be_missing(copy, told):
    shown = states(told("--cells", "Sw", "Ss", "T1w_Sw+T5"))
    assert shown == {("Sw", "1"): "done", ("Ss", "-"): "missing", ("T1w_Sw+T5", "-"): "missing"}


def test_two_cells_are_compared(taught, copy, told, capsys):
    taught.student("T1w_Sw+T5", "--temperature", "5", "--output-dir", copy("Sw").path.parents[2])
    capsys.readouterr()
    lines = [" ".join(words) for words in told("--compare", "T1w_Sw", "T1w_Sw+T5")]
    assert lines[0] == "temperature: 3.0 in T1w_Sw, 5.0 in T1w_Sw+T5"
    top1 = 100 * copy("T1w_Sw").read_metrics()["last"]["test"]["top1"]
    assert lines[1] == f"T1w_Sw: top-1 {top1:.1f} %, 1 seed"
    assert len(lines) == 3
    with pytest.raises(UserError, match="no run of Ss is finished"):
        told("--compare", "Sw", "Ss")


def test_a_cell_is_deleted_once_its_name_is_typed(copy, told, monkeypatch):
    run = copy("T1w")
    for answer in ("", "y\n", "T1\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        with pytest.raises(UserError, match="T1w stays"):
            told("--delete", "T1w")
    assert run.is_finished()
    monkeypatch.setattr(sys, "stdin", io.StringIO("T1w\n"))
    lines = [" ".join(words) for words in told("--delete", "T1w")]
    assert any("T1w_Sw/seed1 has learnt from it" in line for line in lines)
    assert not run.path.exists()
    assert copy("T2w").is_finished()
    assert states(told())["T1w", "1"] == "missing"


def test_without_the_question(copy, told):
    told("--delete", "Sw", "--yes")
    assert not copy("Sw").path.exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--delete Ss", "no run of Ss"),
        ("--delete T1w_Sw+a_b", "'_' joins models"),
        ("--compare Sw", "--compare takes two cells"),
        ("--output-dir gone", "no runs in"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(copy, tmp_path, words, reason, capsys):
    place = ["--dataset", DATASET, "--output-dir", str(tmp_path / "runs")]
    assert run_program(main, [*place, *words.split()]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert reason in error


def test_a_damaged_record_is_named_and_stops_nothing(tmp_path, told, capsys):
    for cell in ("Sw", "Ss"):
        run = Runs(tmp_path / "runs", DATASET).of(parse_cell(cell), 1)
        run.path.mkdir(parents=True)
        run.config.write_text(f"cell: {cell}\n")
        run.metrics.write_text('{"last": 1}')
    test = {"test": {"top1": 0.5}}
    write_metrics(run.metrics, {"cell": "Ss", "seed": 1, "selected_on": "test", "last": test,
                                "best": test})  # fmt: skip
    main(["--dataset", DATASET, "--output-dir", str(tmp_path / "runs")])
    out, err = capsys.readouterr()
    assert [line.split()[:3] for line in out.splitlines()[1:3]] == [
        ["Ss", "1", "done"], ["Sw", "1", "done"]
    ]  # fmt: skip
    assert " 50.0 " in out and err.count("\n") == 1 and "without its top-1: Sw seed 1: " in err
    compared = [" ".join(words) for words in told("--compare", "Ss", "Sw")]
    assert compared == ["Ss: top-1 50.0 %, 1 seed", "Sw: top-1 is not known"]
    told("--delete", "Sw", "--yes")
    assert [path.parent.name for path in tmp_path.glob("runs/*/*/seed1")] == ["Ss"]


def test_a_run_in_work_stays(copy, told):
    lock = RunLock.of(copy("Sw").path)
    with pytest.raises(UserError, match="is in work"):
        told("--delete", "Sw", "--yes")
    lock.release()
    assert copy("Sw").is_finished()
    again = copy("Sw").path.with_name("seed2")
    shutil.copytree(copy("Sw").path, again)
    config = (again / "config.yaml").read_text()
    (again / "config.yaml").write_text(config.replace("\nseed: 1\n", "\nseed: 2\n"))
    lock = RunLock.of(again)
    with pytest.raises(UserError, match="is in work"):
        told("--delete", "Sw", "--yes")
    lock.release()
    assert copy("Sw").is_finished()  # though it was not in work


def test_it_answers_without_torch(copy, tmp_path):
    code = (
        "import sys; from evaluation.status import main;"
        f"main(['--dataset', {DATASET!r}, '--output-dir', {str(tmp_path / 'runs')!r}]);"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "False", run.stderr
