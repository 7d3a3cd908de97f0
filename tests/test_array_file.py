"""A data set in one .npz file: what it may hold, what is refused, and a run on it."""

import json

import numpy as np
import pytest
from conftest import TINY

import train_teacher
from common.errors import UserError, run_program
from dataloader.datasets import load_split
from evaluation import calculate_ece


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    y_train, y_test = np.arange(30) % 3, np.arange(12) % 3
    x_train, x_test = (
        random.integers(0, 80, (len(y), 9, 12, 3)) + 80 * np.eye(3, dtype=int)[y][:, None, None]
        for y in (y_train, y_test)
    )
    return {
        "x_train": x_train.astype(np.uint8), "y_train": y_train,
        "x_test": x_test.astype(np.uint8), "y_test": y_test,
    }  # fmt: skip


@pytest.fixture
def file(arrays, tmp_path):
    """Writes the file with some arrays changed, or left out where they are None; its path."""

    def write(save=np.savez, **changes):
        kept = {key: value for key, value in (arrays | changes).items() if value is not None}
        save(tmp_path / "birds.npz", **kept)
        return tmp_path / "birds.npz"

    return write


def load(path, split="train", name="birds", **how):
    return load_split(name, split, path, views="cifar", **how)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_splits_are_the_arrays(arrays, file, save):
    path = file(save, y_train=arrays["y_train"][:, None].astype(np.uint8))
    for split in ("train", "test"):
        images = load(path, split)
        assert np.array_equal(images.images, arrays[f"x_{split}"])
        assert np.array_equal(images.labels, arrays[f"y_{split}"])
        assert images.class_names == ("0", "1", "2")
        assert np.array_equal(np.asarray(images.image(5)), arrays[f"x_{split}"][5])
    assert load(path, "validation") is None
    named = load(file(classes=np.array(["auk", "owl", "tit", "none"])))
    assert named.class_names == ("auk", "owl", "tit", "none")


@pytest.mark.parametrize("shape", [(30, 9, 12), (30, 9, 12, 1)])
def test_grey_levels_become_colours(arrays, file, shape):
    grey = arrays["x_train"][..., 0].reshape(shape)
    images = load(file(x_train=grey))
    assert np.array_equal(images.images, np.repeat(grey.reshape(30, 9, 12, 1), 3, axis=3))


def test_a_tail_is_cut_from_it(file):
    counts = np.bincount(load(file(), name="birds_imb10").labels)
    assert counts.tolist() == [10, 3, 1]


def test_a_run_and_its_measurement(file, tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    place = ["--data-path", str(file()), "--views", "cifar"]
    flags = ["--dataset", "birds", "--output-dir", str(tmp_path / "runs"), "--epochs", "2"]
    flags += ["--recipe", str(tmp_path / "tiny.yaml"), "--cell", "T1w", *place]
    train_teacher.main(flags)
    run = tmp_path / "runs/birds/T1w/seed1"
    assert (tmp_path / ".birds.npz.image_statistics.json").exists()
    of_it = ["--dataset", "birds", "--output-dir", str(tmp_path / "runs"), "--cells", "T1w"]
    calculate_ece.main([*of_it, "--device", "cpu"])
    (row,) = json.loads((tmp_path / "runs/birds/ece.json").read_text())
    last = json.loads((run / "epochs.jsonl").read_text().splitlines()[-1])
    assert row["top1"] == pytest.approx(last["validation"]["top1"])


REFUSED = {
    "missing": ({"y_test": None}, "and no y_test"),
    "floating pixels": ({"x_train": np.zeros((30, 9, 12, 3))}, "uint8 of shape .N, H, W, 3"),
    "colours first": ({"x_train": np.zeros((30, 3, 9, 12), np.uint8)}, "transpose.0, 2, 3, 1."),
    "no pixels": ({"x_train": np.zeros((30, 0, 12, 3), np.uint8)}, "no images"),
    "fewer labels": ({"y_train": np.arange(3)}, "30 images and 3 labels to train"),
    "floating labels": ({"y_train": np.zeros(30)}, "one class number an image"),
    "one-hot labels": ({"y_train": np.zeros((30, 3), int)}, "one class number an image"),
    "negative": ({"y_train": np.arange(30) - 1}, "begin at 0"),
    "classes from 1": ({"y_train": np.arange(30) % 3 + 1}, "no image of 1 of 4 classes"),
    "one class": (
        {"y_train": np.zeros(30, int), "y_test": np.zeros(12, int)}, "two classes are needed",
    ),
    "fewer names": ({"classes": np.array(["a", "b"])}, "classes names"),
    "objects": ({"x_train": np.array([None] * 30)}, "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_data_set_is_refused(name, file):
    changes, words = REFUSED[name]
    with pytest.raises(UserError, match=words):
        load(file(**changes))


def test_lists_of_files_and_other_files_are_refused_in_one_line(file, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("a.png 0\n")
    with pytest.raises(UserError, match="lists files of images"):
        load(file(), train_list=tmp_path / "list.txt")
    (tmp_path / "notes.txt").write_text("no arrays")
    place = ["--data-path", str(tmp_path / "notes.txt"), "--views", "cifar"]
    code = run_program(train_teacher.main, ["--dataset", "birds", "--cell", "T1w", *place])
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert "notes.txt is truncated or damaged" in error
