"""Students trained together, each against itself trained alone."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import DATASET, Bench
from test_losses import Distance

import train_student
import train_teacher
from common.errors import DivergedError, UserError, run_program
from engine.checkpoint import load
from engine.compute import enough_memory_for
from engine.config import StudentConfig
from engine.flags import read_recipe
from engine.run import RunDirectory
from engine.scheduling import side_by_side, train_each, train_together
from losses.registry import LOSSES

CELLS = ("Sw", "T1w_Sw", "T1w_T2w_Sw")


class KilledError(Exception):
    pass


@pytest.fixture
def bench(taught, tmp_path):
    """The finished teachers, free to be damaged, and no student."""
    for cell in ("T1w", "T2w", "T1s", "T2s"):
        source = taught.run(cell, 1).path.parent
        shutil.copytree(source, tmp_path / f"runs/{DATASET}/{cell}")
    return Bench(tmp_path / "runs", taught.recipe)


def several(bench, *cells, flags=()):
    shared = bench.flags("", *flags)
    at = shared.index("--cell")
    return [*shared[:at], *shared[at + 2 :], "--cells", *cells]


def together(bench, *cells):
    train_student.main(several(bench, *cells))


def result(run):
    """All that a run leaves, times left out."""
    records = [json.loads(line) for line in run.epochs.read_text().splitlines()]
    metrics = json.loads(run.metrics.read_text())
    return {
        "records": [
            {k: v for k, v in record.items() if k not in ("seconds", "crc32")} for record in records
        ],
        "metrics": {k: v for k, v in metrics.items() if k not in ("median_epoch_seconds", "crc32")},
        "weights": {which: load(run.checkpoint(which))[1] for which in ("last", "best")},
    }


def same(a, b):
    """Whether two nests of dicts, lists and tensors hold the same bits."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


def check_as_alone(bench, taught):
    for cell in CELLS:
        assert same(result(bench.run(cell, 1)), result(taught.run(cell, 1))), cell


def killed(monkeypatch, moment, train):
    """Call `train`, killed just before the records of an epoch are written the moment-th time."""
    genuine, calls = RunDirectory.write_epochs, []

    def kill(run, records):
        calls.append(run)
        if len(calls) == moment:
            raise KilledError
        genuine(run, records)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "write_epochs", kill)
        with pytest.raises(KilledError):
            train()


def epochs(bench):
    files = [bench.run(cell, 1).epochs for cell in CELLS]
    return [len(file.read_text().splitlines()) if file.is_file() else 0 for file in files]


def test_together_is_as_alone_and_each_teacher_answers_once(bench, taught, teachers_asked):
    together(bench, *CELLS)
    check_as_alone(bench, taught)
    training, test = 4, 4  # batches of 128 of 486 and of 500 images
    assert teachers_asked == [2] * (3 * training + test)


def test_students_of_other_objectives_are_as_alone_and_teachers_answer_once(
    bench, monkeypatch, teachers_asked
):
    """Of other weights and temperatures, and of a loss that needs maps."""
    monkeypatch.setitem(LOSSES, "maps", Distance)
    monkeypatch.setattr(Distance, "given", [], raising=False)
    plain = StudentConfig(cell="T1w_T2w_Sw", **read_recipe(bench.recipe, StudentConfig))
    shared = {"dataset": DATASET, "epochs": 1, "output_dir": str(bench.folder)}
    configs = [
        dataclasses.replace(plain, **shared, **settings)
        for settings in (
            {},
            {"cell": "T1w_Sw+T5", "temperature": 5.0},
            {"cell": "T1w_T2w_Sw+half", "ce_weight": 0.5},
            {"cell": "T2w_Sw+maps", "loss": "maps"},
        )
    ]
    for config in configs:
        train_each([[config]], train_together)
    runs = [bench.run(config.cell, 1) for config in configs]
    alone = [result(run) for run in runs]
    assert not any(same(alone[0]["weights"], other["weights"]) for other in alone[1:])
    teachers_asked.clear()
    anew = [dataclasses.replace(config, resume="never") for config in configs]
    train_each(side_by_side(anew), train_together)
    assert all(map(same, map(result, runs), alone))
    training, test = 4, 4  # batches; the test's are asked for logits once, then for maps
    assert teachers_asked == [2] * (training + 2 * test)


def test_begun_together_and_ended_alone(bench, taught, monkeypatch):
    killed(monkeypatch, 5, lambda: together(bench, *CELLS))
    assert epochs(bench) == [2, 1, 1]
    for cell in reversed(CELLS):
        bench.student(cell)
    check_as_alone(bench, taught)


def test_begun_alone_and_ended_together_one_ahead_and_one_finished(bench, taught, monkeypatch):
    bench.student("T1w_Sw")
    killed(monkeypatch, 3, lambda: bench.student("Sw"))
    assert epochs(bench) == [2, 3, 0]
    finished = bench.run("T1w_Sw", 1).metrics.stat().st_mtime_ns
    together(bench, *CELLS)
    assert bench.run("T1w_Sw", 1).metrics.stat().st_mtime_ns == finished
    check_as_alone(bench, taught)


def test_groups_follow_each_other_in_one_process(bench, taught, capsys):
    train_student.main(several(bench, "Sw", "T1s_T2s_Ss", flags=("--together", 1)))
    for cell in ("Sw", "T1s_T2s_Ss"):
        assert same(result(bench.run(cell, 1)), result(taught.run(cell, 1)))


def test_teachers_follow_each_other_in_one_process(bench, taught):
    for cell in ("T1w", "T2s"):
        shutil.rmtree(bench.run(cell, 1).path)
    train_teacher.main(several(bench, "T1w", "T2s"))
    for cell in ("T1w", "T2s"):
        assert same(result(bench.run(cell, 1)), result(taught.run(cell, 1)))


def test_seeds_are_apart(bench):
    train_student.main([*several(bench, "Sw", flags=("--epochs", 1)), "--seeds", "1", "2"])
    first, second = (load(bench.run("Sw", seed).checkpoint("last"))[1] for seed in (1, 2))
    assert not same(first, second)


def test_a_student_that_diverges_stops_alone_and_is_named(bench, taught, capsys):
    """Its teacher's logits are no numbers; the next group is trained as well."""
    path = bench.run("T2w", 1).checkpoint("last")
    content = torch.load(path, weights_only=True)
    content["model"]["fc.weight"].fill_(3e38)  # finite, and too large to add up
    torch.save(content, path)
    code = run_program(train_student.main, several(bench, "T1w_T2w_Sw", "T1w_Sw", "Ss", "Sw"))
    error = capsys.readouterr().err
    assert code == DivergedError.exit_code
    assert error.startswith("error: T1w_T2w_Sw seed 1: the loss became nan in epoch 1")
    assert error.count("\n") == error.count("seed 1") == 1
    assert "the loss became nan" in bench.run("T1w_T2w_Sw", 1).log.read_text()
    assert not bench.run("T1w_T2w_Sw", 1).is_finished()
    for cell in ("Sw", "T1w_Sw"):
        assert same(result(bench.run(cell, 1)), result(taught.run(cell, 1)))
    assert bench.run("Ss", 1).is_finished()


@pytest.mark.parametrize(
    ("count", "remedy"), [(15, "--together 7"), (2, "--together 1"), (1, "a smaller --batch-size")]
)
def test_out_of_memory_names_what_helps(count, remedy):
    message = f"{count} trained side by side: use {remedy}"
    with pytest.raises(UserError, match=message), enough_memory_for(count):
        torch.empty(1 << 60)


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory",
        "std::bad_alloc",
    ],
)
@pytest.mark.parametrize("kind", [RuntimeError, torch.AcceleratorError])
def test_memory_runs_out_in_many_words(kind, words):
    with pytest.raises(UserError, match="use --together 1"), enough_memory_for(2):
        raise kind(words) if kind is RuntimeError else accelerator_error(words)


def accelerator_error(words):
    error = torch.AcceleratorError.__new__(torch.AcceleratorError)
    error.args = (words,)
    return error


@pytest.mark.parametrize(
    "words", ["CUDA error: an illegal memory access was encountered", "shape '[3]' is invalid"]
)
def test_other_errors_keep_their_words(words):
    with pytest.raises(RuntimeError, match=words.split()[0]), enough_memory_for(2):
        raise RuntimeError(words)


def test_killed_at_one_file_operation_after_the_other(bench, taught, monkeypatch):
    """The n-th try dies at its n-th file that takes its place, until a try lives to the end:
    in turn before and after it does."""
    replace, tries = Path.replace, 0

    def dying(path, target):
        nonlocal left
        left -= 1
        if left == 0 and tries % 2:
            raise KilledError
        found = replace(path, target)
        if left == 0:
            raise KilledError
        return found

    while tries < 60:
        tries += 1
        left = tries
        try:
            with monkeypatch.context() as patch:
                patch.setattr(Path, "replace", dying)
                together(bench, "Sw", "T1w_Sw")
            break
        except KilledError:
            continue
    assert 5 < tries < 60
    for cell in ("Sw", "T1w_Sw"):
        assert same(result(bench.run(cell, 1)), result(taught.run(cell, 1))), cell


def test_teachers_that_normalise_by_the_batch_teach_otherwise(bench):
    """A variant: its own group, other weights; its teachers' checkpoints stay as they are."""
    teacher = bench.run("T1w", 1).checkpoint("last")
    before = teacher.read_bytes()
    bench.student("T1w_Sw+own")
    bench.student("T1w_Sw+batch", "--teacher-batchnorm", "batch")
    own, batch = (load(bench.run(f"T1w_Sw+{n}", 1).checkpoint("last"))[1] for n in ("own", "batch"))
    name = next(iter(own["model"]))
    assert not torch.equal(own["model"][name], batch["model"][name])
    assert teacher.read_bytes() == before
