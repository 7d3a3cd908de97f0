"""The authors' lists, taken as they are: CIFAR's name the PNG tree, ImageNet-LT's the JPEG tree."""

import numpy as np
import pytest
from conftest import TINY
from PIL import Image
from test_archive import members, prepare, write_tar

import train_student
from common.errors import UserError, run_program
from dataloader.cifar import load_cifar100
from dataloader.datasets import load_split
from engine.cells import parse_cell
from engine.run import Runs

CHOSEN = [6, 0, 3]  # of the archive's images


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    assert prepare(write_tar(tmp_path / "cifar.tar.gz", members()), root, "--images") == 0
    return root


def published(path, data, split, called, chosen):
    """Lines as the authors' files have them: `train/<label>/<name of the archive>.png <label>`."""
    lines = (data / "CIFAR100" / f"{split}.txt").read_text().splitlines()
    text = "\n".join(lines[k].replace(f"CIFAR100/{split}/", f"{called}/") for k in chosen)
    path.write_text(text + "\n")
    return path


def test_a_published_selection_is_those_very_images_in_its_order(data, tmp_path):
    listed = published(tmp_path / "imb100.txt", data, "train", "train", CHOSEN)
    assert listed.read_text().startswith("train/59/bos_taurus_s_000006.png 59\ntrain/19/")
    found = load_split("CIFAR100_imb100", "train", data, train_list=listed)
    whole = load_cifar100(data, "train")
    assert np.array_equal(found.images, whole.images[CHOSEN])
    assert found.labels.tolist() == whole.labels[CHOSEN].tolist()
    tested = published(tmp_path / "val.txt", data, "test", "val", [1, 3])
    found = load_split("CIFAR100_imb100", "test", data, test_list=tested)
    assert np.array_equal(found.images, load_cifar100(data, "test").images[[1, 3]])


def test_our_own_lists_name_them_from_the_data_folder(data):
    listed = data / "CIFAR100" / "train.txt"
    found = load_split("CIFAR100", "train", data, train_list=listed)
    assert np.array_equal(found.images, load_cifar100(data, "train").images)


def test_a_list_without_the_tree_says_what_writes_it(data, tmp_path):
    listed = tmp_path / "imb100.txt"
    listed.write_text("train/19/no_such_s_000001.png 19\n")
    with pytest.raises(UserError, match=r"imb100\.txt: there is no image .*--images writes"):
        load_split("CIFAR100_imb100", "train", data, train_list=listed)


def test_a_student_trains_on_a_published_selection(data, tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    listed = published(tmp_path / "imb100.txt", data, "train", "train", CHOSEN)
    flags = ["--dataset", "CIFAR100_imb100", "--cell", "Sw", "--recipe", f"{tmp_path}/tiny.yaml",
             "--data-path", str(data), "--output-dir", f"{tmp_path}/runs"]  # fmt: skip
    chosen = ["--epochs", "1", "--train-list", str(listed)]
    assert run_program(train_student.main, [*flags, *chosen]) == 0
    run = Runs(tmp_path / "runs", "CIFAR100_imb100").of(parse_cell("Sw"), 1)
    assert run.read_metrics()["train_images"] == len(CHOSEN)


def test_a_list_of_oltr_is_a_training_list_too(tmp_path):
    for wnid, name in (("n01440764", "190"), ("n01443537", "7"), ("n01443537", "8")):
        path = tmp_path / "train" / wnid / f"{wnid}_{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(path)
    listed = tmp_path / "ImageNet_LT_train.txt"
    listed.write_text("train/n01443537/n01443537_8.JPEG 1\ntrain/n01440764/n01440764_190.JPEG 0\n")
    found = load_split("ImageNet", "train", tmp_path, train_list=listed)
    assert found.labels.tolist() == [1, 0]
    assert [found.relative_path(k) for k in range(2)] == [
        "train/n01443537/n01443537_8.JPEG",
        "train/n01440764/n01440764_190.JPEG",
    ]
