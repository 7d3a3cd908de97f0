"""The data programs' first and last moments: quick to start, one line when stopped."""

import gzip
import signal
import subprocess
import sys
import tarfile
import time

import pytest
from test_archive import REPOSITORY

from common.errors import UserError
from script import benchmark
from script.benchmark_loader import parse as parse_loader
from script.timing import BenchmarkParser

PROGRAMS = ("dealWith_cifar_dataset", "make_long_tail_list")


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_slow_is_imported_for_help(program):
    code = f"import dataloader.{program}, sys; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def slow_archive(path):
    """An archive of few bytes whose unpacking takes seconds."""
    zeros = gzip.compress(bytes(2**25), 1)
    with path.open("wb") as file:
        for name in ("train", "test", "meta"):
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = 8 * 2**25
            file.write(gzip.compress(member.tobuf(), 1) + 8 * zeros)


def test_an_interrupt_is_one_line_and_leaves_nothing(tmp_path, ctrl_c):
    """It comes while the archive is unpacked."""
    source, data = tmp_path / "cifar.tar.gz", tmp_path / "data"
    slow_archive(source)
    command = [sys.executable, "dataloader/dealWith_cifar_dataset.py", "--source", source]
    program = subprocess.Popen(
        [*command, "--data-path", data], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    )
    while not (data.is_dir() and list(data.iterdir())):
        assert program.poll() is None
        time.sleep(0.01)
    program.send_signal(signal.SIGINT)
    _, error = program.communicate(timeout=60)
    assert program.returncode == 130
    assert error == "interrupted: run the command again, it goes on\n"
    assert not list(data.iterdir())


@pytest.mark.parametrize(
    "program",
    [
        "train_teacher.py", "train_student.py", "script/launch.py", "script/evaluate.py",
        "script/benchmark.py", "script/benchmark_loader.py", "evaluation/report.py",
        "evaluation/calculate_ece.py", "dataloader/dealWith_cifar_dataset.py",
        "dataloader/make_long_tail_list.py", "Affinity/calculate_affinity.py",
    ],
)  # fmt: skip
def test_a_wrong_flag_is_one_line(program):
    done = subprocess.run(
        [sys.executable, program, "--seeds", "x", "--epochs"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("parse", [BenchmarkParser("").parse_args, benchmark.main, parse_loader])
@pytest.mark.parametrize("text", ["0", "-1"])
def test_no_repeats_are_refused(parse, text):
    with pytest.raises(UserError, match=f"--repeats: .*{text}.* at least 1"):
        parse([f"--repeats={text}"])
