"""A run is trained by one process at a time."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import Bench

import train_student
from common.errors import UserError, run_program
from engine.lock import RunLock

ROOT = Path(__file__).parent.parent


def test_a_second_process_is_told_who_holds_the_run_and_leaves_it_as_it_is(
    tmp_path, tiny_recipe, capsys
):
    bench = Bench(tmp_path / "runs", tiny_recipe)
    command = [sys.executable, "train_student.py", *bench.flags("Sw", "--epochs", 500)]
    first = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    run = bench.run("Sw", 1)
    try:
        until = time.monotonic() + 120
        while not run.checkpoint("last").is_file() and time.monotonic() < until:
            time.sleep(0.1)
        flags = bench.flags("Sw", "--epochs", 1, "--resume", "never", "--lr", 0.001)
        assert run_program(train_student.main, flags) == 2
        error = capsys.readouterr().err
        assert f"{run.path} is in work by process {first.pid} of" in error
        assert "epochs: 500" in run.config.read_text()
        assert "stopped" not in run.log.read_text()
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    bench.student("Sw", "--epochs", 1, "--resume", "never")  # the lock died with its holder
    assert run.is_finished()


def test_a_lock_is_given_back(tmp_path):
    folder = tmp_path / "seed1"
    held = RunLock.of(folder)
    with pytest.raises(UserError, match=f"in work by process {os.getpid()}"):
        RunLock.of(folder)
    held.release()
    RunLock.of(folder).release()


def test_a_lock_says_which_run_who_holds_it_and_what_to_do(tmp_path):
    held = RunLock.of(tmp_path / "seed1")
    with pytest.raises(UserError) as error:
        RunLock.of(tmp_path / "seed1")
    said = str(error.value)
    holder = f"{tmp_path / 'seed1'} is in work by process {os.getpid()} of {socket.gethostname()}"
    assert said.startswith(holder)
    assert "let it end, or stop it there" in said
    held.release()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"\n\n", b"x" * 5000])
def test_whatever_a_held_lock_holds_is_one_line(tmp_path, content):
    held = RunLock.of(tmp_path / "seed1")
    (tmp_path / ".seed1.lock").write_bytes(content)
    with pytest.raises(UserError, match="seed1 is in work by") as error:
        RunLock.of(tmp_path / "seed1")
    assert len(str(error.value)) < 600
    held.release()


def test_a_look_at_a_lock_keeps_nobody_out(tmp_path):
    """As `in_work` holds it, for a moment."""
    RunLock.of(tmp_path / "seed1").release()
    looking = (tmp_path / ".seed1.lock").open()
    fcntl.flock(looking, fcntl.LOCK_SH | fcntl.LOCK_NB)
    end = threading.Timer(0.02, looking.close)
    end.start()
    RunLock.of(tmp_path / "seed1").release()
    end.join()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(UserError, match=r"cannot lock .*\.seed1\.lock \(No locks available\)"):
        RunLock.of(tmp_path / "seed1")
