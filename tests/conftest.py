import multiprocessing
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import train_student
import train_teacher
from dataloader.images import ImageSet
from dataloader.loader import ViewLoader
from dataloader.synthetic import load_synthetic
from dataloader.views import CIFAR_STATISTICS, cifar_view
from engine.cells import parse_cell
from engine.compute import Compute
from engine.config import StudentConfig
from engine.learner import Learner
from engine.run import Runs
from models.frozen_teachers import FrozenTeachers

ON_CPU = Compute(torch.device("cpu"), "none", CIFAR_STATISTICS)
DATASET = "synthetic_imb10"
IMAGE_SIZE = 16  # half of the images' own: a quarter of the work


class Bench:
    """Trains cells of the embedded long-tailed set below one folder."""

    def __init__(self, folder, recipe):
        self.folder, self.recipe = folder, recipe

    def flags(self, cell, *flags):
        common = ["--dataset", DATASET, "--cell", cell, "--recipe", str(self.recipe)]
        return [*common, "--output-dir", str(self.folder), *map(str, flags)]

    def teacher(self, cell, *flags):
        train_teacher.main(self.flags(cell, *flags))
        return self.run(cell, 1)

    def student(self, cell, *flags):
        train_student.main(self.flags(cell, *flags))
        return self.run(cell, 1)

    def run(self, cell, seed):
        return Runs(self.folder, DATASET).of(parse_cell(cell), seed)


def learner_of(model, compute=ON_CPU, *, cell="Sw", **settings):
    """What trains `model` as the student `cell`; without a warm-up, if none is set."""
    return Learner(model, StudentConfig(cell=cell, **{"warmup_epochs": 0} | settings), compute)


def inputs(images, view="test", **settings):
    """What a tiny net is given of all images, in their order: (n, 3, IMAGE_SIZE, IMAGE_SIZE)."""
    seen = cifar_view(view, IMAGE_SIZE, **settings)
    ((_, views, _),) = ViewLoader(images, seen, seed=0, batch_size=len(images)).epoch(0)
    return CIFAR_STATISTICS.normalise(views)


def run_copy(bench, tmp_path):
    """Finds a run by its cell in a copy of a bench's runs, without what was made of them, below
    `tmp_path`."""
    ignore = shutil.ignore_patterns("outputs", "report", "tensorboard")
    shutil.copytree(bench.folder, tmp_path / "runs", ignore=ignore)
    for table in (tmp_path / "runs" / DATASET).glob("*.*"):
        table.unlink()

    def find(cell):
        return Runs(tmp_path / "runs", DATASET).of(parse_cell(cell), 1)

    return find


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Nets this small gain little from a second thread, and wait for it where a machine is busy."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def has_values():
    """Whether the GPU computes: a runtime that does nothing leaves zeros."""
    return bool((torch.ones(8, device="cuda") + 1 == 2).all().item())


@pytest.fixture(scope="session")
def needs_values(has_values):
    if not has_values:
        pytest.skip("this CUDA runtime computes no values")


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """It is heard, here and in new processes, even where the tests run in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """For a loader's workers, to each of which PyTorch gives five seconds to end after an error."""
    yield
    for worker in multiprocessing.active_children():
        worker.terminate()


@pytest.fixture
def teachers_asked(monkeypatch) -> list[int]:
    """How many teachers each question went to, of all that are asked during the test."""
    asked: list[int] = []
    genuine = FrozenTeachers.forward

    def count(self, images, **how):
        asked.append(len(self))
        return genuine(self, images, **how)

    monkeypatch.setattr(FrozenTeachers, "forward", count)
    return asked


@pytest.fixture(scope="session")
def few_images() -> ImageSet:
    """40 embedded images, 4 a class."""
    return load_synthetic("train", per_class=4)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


TINY = (
    f"common: {{arch: resnet8, image_size: {IMAGE_SIZE}, batch_size: 128, epochs: 3, lr: 0.1,\n"
    "         warmup_epochs: 1, milestones: [2], workers: 0, device: cpu, amp: none}\n"
    "student: {temperature: 3, ce_weight: 0.6}\n"
)


@pytest.fixture
def tiny_recipe(tmp_path) -> Path:
    """A recipe that trains in a second: the embedded long-tailed set, three epochs of resnet8."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def taught(tmp_path_factory) -> Bench:
    """Four finished teachers and three of their students; to be read, not changed."""
    folder = tmp_path_factory.mktemp("taught")
    (folder / "tiny.yaml").write_text(TINY)
    bench = Bench(folder / "runs", folder / "tiny.yaml")
    for cell in ("T1w", "T2w", "T1s", "T2s"):
        bench.teacher(cell)
    for cell in ("Sw", "T1w_Sw", "T1w_T2w_Sw", "T1s_T2s_Ss"):
        bench.student(cell)
    return bench


@pytest.fixture
def two_teachers(taught, tmp_path) -> Bench:
    """T1w and T2w, finished, and no student."""
    for cell in ("T1w", "T2w"):
        shutil.copytree(taught.run(cell, 1).path.parent, tmp_path / f"runs/{DATASET}/{cell}")
    return Bench(tmp_path / "runs", taught.recipe)
