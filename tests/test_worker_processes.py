"""A loader's workers: what is said when one fails, and that nothing hangs."""

import errno
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch.utils.data import get_worker_info
from torch.utils.data._utils import signal_handling

from common.errors import UserError, run_program
from dataloader.loader import ViewLoader
from dataloader.views import cifar_view
from dataloader.worker_processes import LOADERS, READ_AT_ONCE, living_workers
from engine.config import StudentConfig
from engine.data import PARTNERS, load_data

pytestmark = pytest.mark.usefixtures("no_waiting")


class Failing:
    """Images of which the one at index 5 does what it is told to, in a worker."""

    def __init__(self, images, fail):
        self.images, self.labels, self.fail = images, images.labels, fail

    def __len__(self):
        return len(self.images)

    def image(self, index):
        if self.fail and index == 5 and get_worker_info():
            self.fail()
        return self.images.image(index)


def raising(error):
    def fail():
        raise error

    return fail


def no_large_files():
    """What shared memory without room is to the one who asks for it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


def end_with(number):
    return lambda: os.kill(os.getpid(), number)


def program(images, folder, fail, files):
    """In a process group of its own, forked from one that has torch loaded."""
    os.setsid()
    with (folder / "errors").open("w") as file:
        os.dup2(file.fileno(), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal_handling._SIGCHLD_handler_set = False  # of the process that this one was forked from
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, files)

    def load(argv):
        view = cifar_view("weak", 32)
        loader = ViewLoader(Failing(images, fail), view, seed=0, batch_size=4, workers=2)
        with living_workers():
            for epoch in range(10_000 if fail is None else 2):
                for _ in loader.epoch(epoch):
                    (folder / "begun").touch()

    sys.exit(run_program(load))


@pytest.fixture
def ended(few_images, tmp_path):
    """Runs the program; its exit code and the lines of its standard error."""

    def end(fail, *, signalled=None, files=None):
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=program, args=(few_images, tmp_path, fail, files))
        process.start()
        until = time.monotonic() + 30
        while signalled and not (tmp_path / "begun").exists() and time.monotonic() < until:
            time.sleep(0.01)
        if signalled:
            signalled(process.pid)
        process.join(60)
        hangs = process.is_alive()
        process.kill()
        assert not hangs
        return process.exitcode, (tmp_path / "errors").read_text().splitlines()

    return end


@pytest.mark.parametrize(
    ("fail", "reason", "advice"),
    [
        (end_with(signal.SIGKILL), "killed by signal: Killed", "if memory ran out"),
        (end_with(signal.SIGTERM), "killed by signal: Terminated", "somebody ended it"),
        (end_with(signal.SIGBUS), "killed by signal: Bus error", "give /dev/shm more room"),
        (end_with(signal.SIGSEGV), "killed by signal: Segm", "--workers 0 shows where"),
        (lambda: os._exit(3), "exit code 3", "--workers 0 shows where"),
        (no_large_files, "unable to resize file", "give /dev/shm more room"),
        (raising(MemoryError()), "MemoryError", "use fewer --workers"),
        (raising(OSError(errno.EMFILE, "Too many open files")), "Too many open", "ulimit -n"),
        (raising(OSError(errno.EIO, "Input/output error", "x.jpg")), "'x.jpg'", "the same command"),
    ],
    ids=["killed", "ended", "bus", "segmentation", "exit", "shm", "memory", "files", "io"],
)
def test_why_a_worker_failed_is_one_line(ended, fail, reason, advice):
    code, lines = ended(fail)
    (line,) = lines
    assert code == 2
    assert line.startswith("error: a loader's worker: ")
    assert reason in line
    assert advice in line
    assert "Original Traceback" not in line


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EAGAIN, "raise the limit of processes"),
        (errno.ENOSPC, "give /dev/shm more room"),
        (errno.ENOMEM, "if memory ran out"),
    ],
)
def test_workers_that_cannot_start_are_one_line(few_images, monkeypatch, capsys, number, advice):
    def fork():
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fork", fork)
    loader = ViewLoader(few_images, cifar_view("weak", 32), seed=0, batch_size=40, workers=1)
    assert run_program(lambda argv: list(loader.epoch(0))) == 2
    error = capsys.readouterr().err
    assert advice in error
    assert error.count("\n") == 1


def test_a_bug_in_a_worker_keeps_its_traceback(few_images):
    images = Failing(few_images, raising(RuntimeError("DataLoader worker of mine")))
    loader = ViewLoader(images, cifar_view("weak", 32), seed=0, batch_size=40, workers=1)
    with pytest.raises(RuntimeError, match=r"(?s)Original Traceback.*in fail"), living_workers():
        list(loader.epoch(0))


def test_a_users_error_in_a_worker_is_said_as_it_is(few_images):
    class Refusing(type(cifar_view("weak", 32))):
        def picture(self, image, random):
            raise UserError("such an image has no view")

    refusing = Refusing(**vars(cifar_view("weak", 32)))
    loader = ViewLoader(few_images, refusing, seed=0, batch_size=40, workers=1)
    with pytest.raises(UserError, match=r"^such an image has no view$"):
        list(loader.epoch(0))


def test_with_few_open_files_nothing_begins(ended):
    code, (line,) = ended(raising(OSError("never asked")), files=(64, 64))
    assert code == 2
    assert "open files, and 64 are allowed" in line
    assert "ulimit -n" in line
    assert "fewer --workers" in line


def test_a_group_has_no_more_loaders_than_files_are_allowed_for():
    config = StudentConfig(
        dataset="synthetic",
        cell="T1s_Sw",
        image_size=32,
        validate_views="yes",
        holdout_fraction=0.1,
        workers=0,
    )
    data = load_data(config, others=["strong", PARTNERS])
    training = [data.train, *data.others.values()]
    assert len(training) == READ_AT_ONCE
    assert len({*training, data.validation, data.augmented, data.test}) == LOADERS


def test_a_low_limit_is_raised_where_that_is_allowed(ended):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert ended(lambda: None, files=(40, hard)) == (0, [])


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGTERM, 143, "terminated: "),
        (signal.SIGHUP, 143, "terminated: "),
        (signal.SIGINT, 130, "interrupted: "),
    ],
)
def test_a_signal_to_all_of_a_job_is_one_line(ended, number, code, said):
    told, (line,) = ended(None, signalled=lambda group: os.killpg(group, number))
    assert told == code
    assert line.startswith(said)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads the processes from /proc")
def test_workers_that_are_told_to_end_first_wait_for_the_main_process(ended):
    """As where a scheduler signals one process after the other."""

    def each(main):
        workers = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for process in (*map(int, workers), main):
            with suppress(ProcessLookupError):  # an epoch ended, and its workers with it
                os.kill(process, signal.SIGTERM)
            time.sleep(0.1)

    code, lines = ended(None, signalled=each)
    assert code == 143, lines
    assert [line[:12] for line in lines] == ["terminated: "]


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()]
)
def test_a_worker_that_dies_while_it_hands_out_a_batch_is_one_line(error):
    with (
        pytest.raises(UserError, match=r"^a loader's worker: .*; the same command"),
        living_workers(),
    ):
        raise error


@pytest.mark.parametrize(
    "end", ["(pid 5) is killed by signal: Terminated. ", "(pid(s) 5) exited unexpectedly"]
)
def test_a_signal_that_comes_just_after_a_workers_end_is_what_ended_both(end):
    """PyTorch does not always know how a worker ended."""

    def load(argv):
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGTERM]).start()
        with living_workers():
            raise RuntimeError(f"DataLoader worker {end}")

    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        assert run_program(load) == 143
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_ignored_hangup_stays_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_program(lambda argv: signal.raise_signal(signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_batches_from_workers_are_in_shared_memory(few_images):
    loader = ViewLoader(few_images, cifar_view("weak", 32), seed=0, batch_size=40, workers=1)
    (batch,) = loader.epoch(0)
    assert all(isinstance(part, torch.Tensor) and part.is_shared() for part in batch)
