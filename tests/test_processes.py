"""Runs of two and three processes against the same run of one."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from conftest import DATASET, TINY, learner_of
from torch import nn

from common.errors import GO_ON, DivergedError, UserError, run_program
from dataloader.images import ImageSet
from dataloader.loader import ViewLoader
from dataloader.synthetic import load_synthetic
from dataloader.views import CIFAR_STATISTICS, cifar_view
from engine import processes, training_run
from engine.checkpoint import load
from engine.compute import Compute
from engine.config import StudentConfig
from engine.data import RunData
from engine.learner import synchronised
from engine.loop import answers_of, evaluate, train, train_epoch
from engine.processes import MOST_MISSED, Heartbeats, joined
from engine.progress import Progress
from engine.run import Runs
from engine.teachers import Teachers
from engine.training_run import TrainingRun
from models.frozen_teachers import FrozenTeachers

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
EPOCHS = 3


# What the processes do. They are forked from a server that has torch loaded.


def together(size, work, folder, **variables):
    """Run work(ranks, folder) in `size` processes, under environment `variables`, by run_program:
    their exit codes, and the lines on their standard error."""
    context, port = forkserver(), free_port()
    started = [
        context.Process(target=process, args=(rank, size, port, work, folder), kwargs=variables)
        for rank in range(size)
    ]
    for each in started:
        each.start()
    for each in started:
        each.join(60)
    codes = [each.exitcode for each in started]
    for each in started:
        each.kill()
    lines = [line for k in range(size) for line in (folder / f"stderr{k}").read_text().splitlines()]
    return codes, lines


def forkserver():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "torchvision", "scipy.special"])
    return context


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def waiting(rank, port, folder, seconds, address="127.0.0.1"):
    """One process of two, the other of which does not come, with less patience than usual."""
    processes.MEETING_SECONDS, processes.PATIENCE_SECONDS = seconds, 0
    process(rank, 2, port, an_epoch, folder, address)


def process(rank, size, port, work, folder, address="127.0.0.1", **variables):
    torch.set_num_threads(1)
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")
    os.environ.update(zip(names, map(str, (rank, rank, size, port)), strict=True))
    os.environ.update(variables, MASTER_ADDR=address)

    def program(argv):
        with joined() as ranks:
            work(ranks, folder)

    with (folder / f"stderr{rank}").open("w") as errors, redirect_stderr(errors):
        code = run_program(program)
    sys.exit(code)


def plain_net(seed):
    """A net without BatchNorm, whose images do not see each other."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 10),
        )


class SomeBad(ImageSet):
    """Images of which the 6th to the 10th cannot be read."""

    def image(self, index):
        if 5 <= index < 10:
            raise UserError(f"cannot read {index}")
        return super().image(index)


def loader(ranks, *, training=True, bad=False):
    """40 images, the last batch of 1: of two processes one gets nothing of it."""
    images = load_synthetic("train", per_class=4)
    if bad:
        images = SomeBad(images.images, images.labels, images.class_names)
    return ViewLoader(
        images,
        cifar_view("weak" if training else "test", 32),
        seed=5,
        batch_size=13,
        shuffle=training,
        part=(ranks.rank, ranks.size),
        on_bad_image="skip",
    )


def data_of(ranks):
    test = loader(ranks, training=False)
    return RunData(
        train=loader(ranks, training=True),
        validation=test,
        test=test,
        selected_on="test",
        num_classes=10,
        statistics=CIFAR_STATISTICS,
        shot_groups=None,
    )


def teachers_of(*seeds):
    names = tuple(f"T{seed}w" for seed in seeds)
    files = tuple({"file": name, "sha256": name} for name in names)
    return Teachers(names, FrozenTeachers([plain_net(seed) for seed in seeds]), files)


def silent():
    return Progress("", total=1, done=0, logs=[], silent=True)


def an_epoch(ranks, folder, *, bad):
    """Train a student of two teachers for an epoch and evaluate it: weights and figures."""
    compute, teachers = Compute(CPU, "none", CIFAR_STATISTICS, ranks), teachers_of(1, 2)
    learner = learner_of(plain_net(7), compute, cell="T1w_T2w_Sw", weight_decay=1e-4)
    learner.start_epoch(0)
    batches, test = loader(ranks, training=True, bad=bad), loader(ranks, training=False, bad=bad)
    trained = train_epoch([learner], batches.epoch(0), teachers, compute, silent())
    known = answers_of(teachers, test.epoch(0), compute, size=40, num_classes=10)
    groups = torch.arange(10) % 3
    tested = evaluate([learner], test.epoch(0), known, compute, silent(), shot_groups=groups)
    skipped = [ranks.total(batches.skipped), ranks.total(test.skipped)]
    figures = {"train": trained[0].means(), "test": tested[0].means(), "skipped": skipped}
    (folder / f"figures{ranks.rank}.json").write_text(json.dumps(figures))
    torch.save(learner.model.state_dict(), folder / f"weights{ranks.rank}.pt")


def an_epoch_with_batchnorm(ranks, folder):
    """Of a net whose maps have one pixel: two images in each part of a batch, or none."""
    images = load_synthetic("train", per_class=4).subset(range(27))  # batches of 8, 8, 8 and 3
    part = (ranks.rank, ranks.size)
    how = {"batch_size": 8, "shuffle": True, "no_single": True, "part": part}
    batches = ViewLoader(images, cifar_view("weak", 32), seed=5, **how)
    head = [nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 10)]
    net = nn.Sequential(*plain_net(1)[:2], *head)
    compute = Compute(CPU, "none", CIFAR_STATISTICS, ranks)
    learner = learner_of(net, compute)
    learner.start_epoch(0)
    (sums,) = train_epoch([learner], batches.epoch(0), Teachers(), compute, silent())
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())
    assert sums.means()["top1"] * 27 == pytest.approx(round(sums.means()["top1"] * 27))


def two_students(ranks, folder, *, killed=None, **settings):
    """Two students side by side; `killed` (rank, epoch): that process dies in that epoch. The first
    learns by these settings."""
    compute, teachers = Compute(CPU, "none", CIFAR_STATISTICS, ranks), teachers_of(1, 2)
    runs = [
        student("T1w_Sw", 7, compute, folder, killed, **settings),
        student("T1w_T2w_Sw", 8, compute, folder),
    ]
    train(runs, data_of(ranks), teachers, compute)


def student(cell, seed, compute, folder, killed=None, **settings):
    config = StudentConfig(dataset=DATASET, cell=cell, epochs=EPOCHS, output_dir=str(folder))
    settings = {"epochs": EPOCHS, "weight_decay": 1e-4} | settings
    learner = learner_of(plain_net(seed), compute, cell=cell, **settings)
    if killed and killed[0] == compute.ranks.rank:
        start = learner.start_epoch
        learner.start_epoch = lambda epoch: die() if epoch == killed[1] else start(epoch)
    return TrainingRun(config, run_of(folder, cell), learner)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def two_students_dying(ranks, folder, *, at):
    """The process that writes dies as its file number `at` takes its place: odd ones just before,
    even ones just after."""
    replace, left = Path.replace, at

    def dying(path, target):
        nonlocal left
        left -= 1
        if left == 0 and at % 2:
            die()
        found = replace(path, target)
        if left == 0:
            die()
        return found

    if ranks.rank == 0:
        Path.replace = dying  # of this process alone, which is forked
    two_students(ranks, folder)


def exploding(ranks, folder):
    two_students(ranks, folder, lr=1000, weight_decay=1000)


def in_folders_of_their_own(ranks, folder):
    training_run.SECONDS_TO_SEE = 1  # of this process alone, which is forked
    two_students(ranks, folder / str(ranks.rank))


def fails_on_one(ranks, folder):
    ranks.wait()
    if ranks.rank == 1:
        raise UserError("no such thing")
    ranks.wait()


# What comes of it.


def run_of(folder, cell):
    return Runs(folder, DATASET).of(StudentConfig(cell=cell).parsed_cell, 1)


def records(run):
    return [json.loads(line) for line in run.epochs.read_text().splitlines()]


def close(a, b):
    return all(torch.allclose(a[key], b[key], rtol=1e-4, atol=1e-6) for key in a)


def without_seconds(records):
    return [{k: v for k, v in each.items() if k not in ("seconds", "crc32")} for each in records]


def flat(tree, name=""):
    """The numbers of nested records by their path."""
    if not isinstance(tree, dict | list):
        return {name: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {key: v for k, each in items for key, v in flat(each, f"{name}/{k}").items()}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("bad", [False, True])
def test_an_epoch_of_many_is_that_of_one(tmp_path, size, bad):
    """Weights to rounding, counts exactly: an uneven last batch and unreadable images included."""
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir(), many.mkdir()
    work = partial(an_epoch, bad=bad)
    assert together(1, work, one) == ([0], [])
    assert together(size, work, many) == ([0] * size, [])
    expected = json.loads((one / "figures0.json").read_text())
    assert expected["skipped"] == ([5, 5] if bad else [0, 0])
    images = 35 if bad else 40
    for rank in range(size):
        weights = torch.load(many / f"weights{rank}.pt", weights_only=True)
        assert close(weights, torch.load(one / "weights0.pt", weights_only=True))
        figures = json.loads((many / f"figures{rank}.json").read_text())
        assert flat(figures) == pytest.approx(flat(expected), rel=1e-4, abs=1e-5)
        for split in ("train", "test"):
            for name in ("top1", "fidelity_T1w", "fidelity_ensemble"):
                correct = figures[split][name] * images
                assert correct == pytest.approx(round(correct), abs=1e-9)
                assert figures[split][name] == expected[split][name]


def test_batchnorm_of_single_pixels_over_processes(tmp_path):
    assert together(3, an_epoch_with_batchnorm, tmp_path) == ([0] * 3, [])


def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    """Two students: two processes, of which one is killed, then one, then two again."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    assert together(1, two_students, whole) == ([0], [])

    codes, lines = together(2, partial(two_students, killed=(1, 1)), parts)
    assert codes == [2, -signal.SIGKILL]
    (line,) = lines
    assert "another process of the run was killed or lost" in line
    cells = ("T1w_Sw", "T1w_T2w_Sw")
    for cell in cells:
        assert line.removeprefix("error: ") in run_of(parts, cell).log.read_text()
        assert len(records(run_of(parts, cell))) == 1
    codes, _ = together(1, partial(two_students, killed=(0, 2)), parts)
    assert codes == [-signal.SIGKILL]
    assert [len(records(run_of(parts, cell))) for cell in cells] == [2, 2]
    assert together(2, two_students, parts) == ([0, 0], [])

    for cell in cells:
        mine, theirs = run_of(whole, cell), run_of(parts, cell)
        weights = [load(run.checkpoint("last"))[1]["model"] for run in (mine, theirs)]
        assert close(*weights)
        assert all(not name.startswith("module") for name in weights[1])
        one, many = (flat(without_seconds(records(run))) for run in (mine, theirs))
        assert many == pytest.approx(one, rel=1e-3, abs=1e-4)
        sessions = json.loads(theirs.environment.read_text())["sessions"]
        assert [session["processes"] for session in sessions] == [2, 1, 2]


def test_two_processes_killed_at_one_file_operation_after_the_other(tmp_path):
    """Each try dies one operation later than the one before, until one lives to the end."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    assert together(2, two_students, whole) == ([0, 0], [])
    for at in range(1, 40):
        codes, lines = together(2, partial(two_students_dying, at=at), parts)
        if codes == [0, 0]:
            break
        assert codes == [-signal.SIGKILL, 2]
        assert len(lines) == 1
    assert 5 < at < 40
    for cell in ("T1w_Sw", "T1w_T2w_Sw"):
        mine, theirs = run_of(whole, cell), run_of(parts, cell)
        weights = [load(run.checkpoint("last"))[1]["model"] for run in (mine, theirs)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        assert without_seconds(records(mine)) == without_seconds(records(theirs))
        assert theirs.is_finished()


def test_who_fails_first_says_so(tmp_path):
    codes, lines = together(3, fails_on_one, tmp_path)
    assert codes == [2, 2, 2]
    # Where the process that keeps the notes goes first, another may know only that it is gone.
    ours = [line for line in lines if line.startswith("error:")]
    assert ours.count("error: no such thing") == 1
    assert all("killed or lost" in line for line in ours if line != "error: no such thing")


def test_a_run_that_diverges_stops_alone_and_is_told_to_who_started_them(tmp_path):
    told = tmp_path / "diverged"
    codes, lines = together(2, exploding, tmp_path, DIVERGED_FILE=str(told))
    # Where the process that keeps the notes goes first, the other has noticed the same.
    assert sorted(codes)[1] == DivergedError.exit_code
    assert set(codes) <= {UserError.exit_code, DivergedError.exit_code}
    assert len(lines) == codes.count(DivergedError.exit_code)
    (line,) = set(lines)
    assert "T1w_Sw seed 1: the loss became" in line
    assert told.exists()
    assert not run_of(tmp_path, "T1w_Sw").is_finished()
    assert run_of(tmp_path, "T1w_T2w_Sw").is_finished()


def test_machines_that_share_no_folder_are_told_before_training(tmp_path):
    codes, lines = together(2, in_folders_of_their_own, tmp_path)
    assert codes == [2, 2]
    assert any("is not the same folder for all processes" in line for line in lines)
    assert run_of(tmp_path / "0", "T1w_Sw").has_begun()
    assert not run_of(tmp_path / "0", "T1w_Sw").epochs.exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_never_comes_is_not_waited_for_for_ever(tmp_path, rank):
    """Neither by the process that keeps the notes, nor by one that looks for it."""
    lonely = forkserver().Process(target=waiting, args=(rank, free_port(), tmp_path, 2))
    lonely.start()
    lonely.join(30)
    assert lonely.exitcode == 2
    waits, error = said_by(rank, tmp_path)
    assert waits.startswith(f"process {rank} of 2 waits for the others at 127.0.0.1:")
    assert error.startswith("error: process")
    assert "(not in 2 seconds): start all of them, with the same address" in error


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_who_waits_hears_signals(tmp_path, ctrl_c, number, code):
    lonely = forkserver().Process(target=waiting, args=(0, free_port(), tmp_path, 60))
    lonely.start()
    wait_for(lambda: (tmp_path / "stderr0").is_file() and said_by(0, tmp_path))
    os.kill(lonely.pid, number)
    lonely.join(10)
    assert lonely.exitcode == code
    assert len(said_by(0, tmp_path)) == 2


def test_an_address_that_leads_nowhere_is_said_at_once(tmp_path):
    arguments = (1, free_port(), tmp_path, 60, "nowhere.invalid")
    lonely = forkserver().Process(target=waiting, args=arguments)
    lonely.start()
    lonely.join(30)
    assert lonely.exitcode == 2
    assert "MASTER_ADDR is 'nowhere.invalid', which leads nowhere" in said_by(1, tmp_path)[-1]


def said_by(rank, folder):
    return (folder / f"stderr{rank}").read_text().splitlines()


def listens(ranks, folder):
    """Which addresses this process listens at."""
    ranks.wait()
    sockets = {
        str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()
    }
    tables = [path for path in Path("/proc/self/net").iterdir() if path.name in ("tcp", "tcp6")]
    rows = [line.split() for path in tables for line in path.read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
    (folder / f"listening{ranks.rank}.json").write_text(json.dumps(listening))
    ranks.wait()


@pytest.mark.skipif(not Path("/proc/self/net/tcp").is_file(), reason="reads /proc/self/net")
def test_the_processes_of_one_machine_listen_to_nobody_else(tmp_path):
    codes, lines = together(2, listens, tmp_path, MEETING_FILE=str(tmp_path / "meeting"))
    assert (codes, lines) == ([0, 0], [])
    for rank in range(2):
        addresses = json.loads((tmp_path / f"listening{rank}.json").read_text())
        assert addresses
        assert all(address.startswith("0100007F:") for address in addresses)  # 127.0.0.1


def test_who_fails_first_says_so_in_a_file_too(tmp_path):
    meeting = str(tmp_path / "meeting")
    codes, lines = together(3, fails_on_one, tmp_path, MEETING_FILE=meeting)
    assert codes == [2, 2, 2]
    assert [line for line in lines if line.startswith("error:")] == ["error: no such thing"]


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads the processes from /proc")
def test_a_worker_of_torchrun_that_is_killed_ends_the_run(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY.replace("epochs: 3", "epochs: 10000"))
    trainer = [str(ROOT / "train_teacher.py"), "--dataset", DATASET, "--cell", "T1w"]
    trainer += ["--recipe", str(tmp_path / "tiny.yaml"), "--output-dir", str(tmp_path)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    started = subprocess.Popen(
        [*torchrun, "--nproc-per-node=2", *trainer],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    folder = tmp_path / DATASET / "T1w" / "seed1"
    wait_for((folder / "last.pt").is_file)
    os.kill(children(started.pid)[1], signal.SIGKILL)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 1
    told = ("error: ", "terminated: ")  # torchrun may end the other one before it notices
    (line,) = [line for line in errors.splitlines() if line.startswith(told)]
    assert GO_ON in line
    assert "T1w  stopped: " in (folder / "log.txt").read_text()


def test_silence_is_counted_in_own_beats():
    board = dist.HashStore()
    first, second = Heartbeats(board, 0, 2), Heartbeats(board, 1, 2)
    assert all(hearts.beat() for _ in range(2 * MOST_MISSED) for hearts in (second, first))
    assert [first.beat() for _ in range(MOST_MISSED)] == [True] * (MOST_MISSED - 1) + [False]
    assert second.beat()
    assert first.beat()


def test_synchronised_batchnorm_keeps_weights_and_names():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = model.state_dict()
    with pytest.raises(UserError, match="--sync-batchnorm needs GPUs"):
        synchronised(model, CPU)
    after = synchronised(model, torch.device("cuda"))
    assert isinstance(after[1], nn.SyncBatchNorm)
    assert list(after.state_dict()) == list(before)


def test_the_state_of_another_device_is_gone_on_with():
    """A GPU's optimiser is fused, the CPU's keeps its bits."""
    learner = learner_of(plain_net(1))
    state = learner.state_dict()
    state["optimizer"]["param_groups"][0]["fused"] = True
    learner.load_state_dict(state)
    assert learner.optimizer.param_groups[0]["fused"] is None
