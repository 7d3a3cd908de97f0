"""Processes die together, with one line and an exit code."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import DATASET, Bench

from common.errors import GO_ON, run_program, signals_wait

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="reads the processes from /proc"
)


@pytest.fixture
def bench(tmp_path, tiny_recipe):
    return Bench(tmp_path / "runs", tiny_recipe)


def start(*command, **variables):
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)
    assert condition()


def children(process):
    """Of all its threads."""
    files = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def test_sigterm_ends_a_trainer_as_ctrl_c_does(bench):
    trainer = start(sys.executable, "train_student.py", *bench.flags("Sw", "--epochs", 500))
    wait_for(bench.run("Sw", 1).checkpoint("last").is_file)
    trainer.send_signal(signal.SIGTERM)
    _, error = trainer.communicate(timeout=60)
    assert trainer.returncode == 143
    assert error.strip().splitlines()[-1].startswith(f"terminated: {GO_ON}")
    assert "Traceback" not in error
    assert "stopped: Terminated" in bench.run("Sw", 1).log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_program_is_one_line(number, capsys):
    assert run_program(lambda argv: os.kill(os.getpid(), number)) == 143
    said = "terminated: the same command (without --resume never) goes on from the last"
    assert capsys.readouterr().err.startswith(said)
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize("second", [signal.SIGCHLD, signal.SIGHUP])
def test_a_signal_that_comes_with_the_end_is_not_told(second, capsys, monkeypatch):
    """A study met it: SIGTERM to a group ends the loader's workers in the same moment."""
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    numbers = {signal.SIGTERM, second}

    def program(argv):
        if second == signal.SIGCHLD:
            signal.signal(second, lambda number, frame: None)  # as torch's loader does
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        for number in numbers:
            signal.raise_signal(number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    before = signal.getsignal(signal.SIGCHLD)
    try:
        assert run_program(program) == 143
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert not unraisable
    assert capsys.readouterr().err.count("\n") == 1


def test_a_program_under_nohup_goes_on(capsys):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_program(lambda argv: os.kill(os.getpid(), signal.SIGHUP)) == 0
        with signals_wait():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 130)]
)
def test_a_signal_waits_for_an_import(number, code, ctrl_c, capsys):
    """A soak test met it: raised in torch's import, it ended in an abort with a C++ report."""
    imported = []

    def program(argv):
        with signals_wait():
            os.kill(os.getpid(), number)
            imported.append(True)
        imported.append(False)

    assert run_program(program) == code
    assert imported == [True]
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("devices", ["", "cpu cpu"])
def test_sigterm_to_a_script_stops_its_trainers(bench, devices):
    flags = bench.flags("Sw", "--epochs", 500)
    del flags[2:4]  # the script's CELLS name the cell
    variables = {"CELLS": "Sw Ss", "GPUS": devices, "DATASET": DATASET, "PYTHON": sys.executable}
    script = start("bash", "script/cifar100.sh", *flags[2:], **variables)
    wait_for(bench.run("Sw", 1).checkpoint("last").is_file)
    trainers = children(script.pid)  # the script's place is the launcher's
    assert trainers
    script.send_signal(signal.SIGTERM)
    script.communicate(timeout=60)
    assert script.returncode == 143
    wait_for(lambda: not any(map(is_alive, trainers)), seconds=30)


def test_a_killed_worker_is_one_line(bench):
    flags = bench.flags("Sw", "--epochs", 500, "--workers", 2)
    trainer = start(sys.executable, "train_student.py", *flags)
    wait_for(bench.run("Sw", 1).checkpoint("last").is_file)
    os.kill(children(trainer.pid)[0], signal.SIGKILL)
    _, error = trainer.communicate(timeout=60)
    assert trainer.returncode == 2, error
    # Of ours; the other worker's multiprocessing may complain that nobody listens any more.
    lines = [line for line in error.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "DataLoader worker" in lines[0]
    assert "train_student.py" not in error
