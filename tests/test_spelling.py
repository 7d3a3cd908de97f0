"""Names in other letters than ASCII's: composed otherwise, or no text at all."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from dataloader.class_folders import Speller
from dataloader.datasets import load_split
from dataloader.imagenet import class_names, load_image_list, load_imagenet

COMPOSED, TAKEN_APART = (unicodedata.normalize(f, "äöé") for f in ("NFC", "NFD"))
LATIN_1 = os.fsdecode("été".encode("latin-1"))


def save(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(path, "PNG")
    return root


def paths(images):
    return [images.relative_path(i) for i in range(len(images))]


def write_list(root, *lines):
    (root / "list.txt").write_bytes(os.fsencode("\n".join(lines)))
    return root / "list.txt"


@pytest.mark.parametrize("train", [COMPOSED, TAKEN_APART])
@pytest.mark.parametrize("val", [COMPOSED, TAKEN_APART])
@pytest.mark.parametrize("listed", [COMPOSED, TAKEN_APART])
def test_classes_and_files_match_however_they_are_composed(tmp_path, train, val, listed):
    save(tmp_path, f"train/{train}/{train}.png", "train/z/1.png")
    save(tmp_path, f"val/{val}/{val}.png", "val/z/1.png")
    assert class_names(tmp_path) == ("z", COMPOSED)  # in the order of the composed letters
    test = load_imagenet(tmp_path, "test")
    assert (paths(test), test.labels.tolist()) == (["val/z/1.png", f"val/{val}/{val}.png"], [0, 1])
    listing = write_list(tmp_path, f"train/{listed}/{listed}.png 1", f"val/{listed}/{listed}.png 1")
    images = load_image_list(tmp_path, listing, class_names(tmp_path))
    assert paths(images) == [f"train/{train}/{train}.png", f"val/{val}/{val}.png"]
    assert [images.image(i).size for i in range(2)] == [(32, 32)] * 2
    assert len(load_split("synthetic", "train", tmp_path, train_list=listing)) == 2


def test_the_other_layout_is_found_too(tmp_path):
    save(tmp_path, f"train/{TAKEN_APART}/1.png", "train/z/1.png", f"val/{TAKEN_APART}.png")
    names = class_names(tmp_path)
    listing = write_list(tmp_path, f"val/{COMPOSED}/{COMPOSED}.png 1")
    assert paths(load_image_list(tmp_path, listing, names)) == [f"val/{TAKEN_APART}.png"]
    listing = write_list(tmp_path, "train/1.png 1")
    assert paths(load_image_list(tmp_path, listing, names)) == [f"train/{TAKEN_APART}/1.png"]


def test_a_flat_folder_is_labelled_however_it_is_spelled(tmp_path):
    save(tmp_path, "train/a/1.png", "train/b/1.png", f"val/{TAKEN_APART}.png")
    (tmp_path / "val.txt").write_text(f"{COMPOSED}.png 1\n", encoding="utf-8")
    assert load_imagenet(tmp_path, "test").labels.tolist() == [1]


def test_two_that_look_alike_are_refused(tmp_path):
    save(tmp_path, f"train/{TAKEN_APART}/1.png", f"train/{COMPOSED}/1.png", "train/z/1.png")
    with pytest.raises(UserError, match=f"two names that look like '{COMPOSED}'"):
        class_names(tmp_path)


def test_of_files_that_look_alike_the_exact_name_is_meant(tmp_path):
    other = unicodedata.normalize("NFD", "ä") + "öé"
    save(tmp_path, f"{COMPOSED}.png", f"{TAKEN_APART}.png")
    speller = Speller(tmp_path)
    for name in (COMPOSED, TAKEN_APART):
        assert speller.spelled(f"{name}.png") == f"{name}.png"
    with pytest.raises(UserError, match="two names that look like"):
        speller.spelled(f"{other}.png")
    assert speller.spelled(f"nowhere/{other}.png") == f"nowhere/{other}.png"
    assert speller.spelled(str(tmp_path / f"{COMPOSED}.png")) == str(tmp_path / f"{COMPOSED}.png")


def test_names_that_are_no_text(tmp_path):
    save(tmp_path, f"train/{LATIN_1}/{LATIN_1}.png", "train/z/1.png")
    train = load_imagenet(tmp_path, "train")
    assert paths(train) == ["train/z/1.png", f"train/{LATIN_1}/{LATIN_1}.png"]
    listing = write_list(tmp_path, f"train/{LATIN_1}/{LATIN_1}.png 1", "train/z/1.png 0")
    listed = load_image_list(tmp_path, listing, train.class_names)
    assert listed.image(0).size == (32, 32)
    assert listed.fingerprint() != train.fingerprint()
    (tmp_path / f"train/{LATIN_1}/{LATIN_1}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot read the image"):
        listed.image(0)
    write_list(tmp_path, f"train/{LATIN_1}/{LATIN_1}.png 0")
    with pytest.raises(UserError, match="has label 0"):
        load_image_list(tmp_path, listing, train.class_names)


def test_lists_of_our_own_name_them(tmp_path):
    from dataloader.make_long_tail_list import make_lists

    for split in ("train", "val"):
        save(
            tmp_path,
            *(f"{split}/{c}/{LATIN_1}{i}.png" for c in (LATIN_1, TAKEN_APART) for i in "123"),
        )
    make_lists(tmp_path, tmp_path / "ImageNet_LT", smallest=1, validation_per_class=1)
    images = load_split("ImageNet_LT", "train", tmp_path)
    assert np.unique(images.labels).tolist() == [0, 1]
    assert all(images.path(i).is_file() for i in range(len(images)))
