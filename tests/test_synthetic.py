from __future__ import annotations

import hashlib

import numpy as np
import pytest

from common.errors import UserError
from dataloader.images import ImageSet
from dataloader.synthetic import CLASS_NAMES, load_synthetic, render

SHA256 = {
    "train": "dba4bc5578bbad24d013b3da3476fe070c828bb5ca7cb77be0fc56928c1faa15",
    "test": "03f9d836e9b3ab6f975b7e4991808755612ff0721e3bf7210e5ce0f39ba598f2",
}


@pytest.fixture(scope="module")
def splits() -> dict[str, ImageSet]:
    return {split: load_synthetic(split) for split in SHA256}


def sha256(data: ImageSet) -> str:
    # Little-endian labels, so that the hash says nothing about the machine.
    parts = (data.images, data.labels.astype("<i8"), data.masks.astype(np.uint8))
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


@pytest.mark.parametrize("split", SHA256)
def test_same_bits_on_every_machine(splits, split):
    assert sha256(splits[split]) == SHA256[split]


def test_only_the_arguments_decide_the_draws():
    first = load_synthetic("train", per_class=5)
    np.random.seed(1)
    np.random.random(7)
    again = load_synthetic("train", per_class=5)
    assert sha256(again) == sha256(first)
    assert sha256(load_synthetic("train", per_class=5, seed=1)) != sha256(first)


@pytest.mark.parametrize(("split", "per_class"), [("train", 120), ("test", 50)])
def test_types_shapes_and_balance(splits, split, per_class):
    data = splits[split]
    assert data.images.shape == (10 * per_class, 32, 32, 3)
    assert data.masks.shape == (10 * per_class, 32, 32)
    assert (data.images.dtype, data.labels.dtype, data.masks.dtype) == (np.uint8, np.int64, bool)
    assert np.bincount(data.labels).tolist() == [per_class] * 10
    assert len(set(data.labels[:20])) > 5  # shuffled, not sorted


def test_classes_are_every_shape_with_every_texture():
    pairs = [name.split("_") for name in CLASS_NAMES]
    shapes, textures = ({pair[k] for pair in pairs} for k in range(2))
    assert (len(shapes), len(textures), len(set(CLASS_NAMES))) == (5, 2, 10)


def test_train_and_test_share_no_image(splits):
    train, test = ({image.tobytes() for image in splits[split].images} for split in SHA256)
    assert len(train) == 1200
    assert len(test) == 500
    assert not train & test


def test_every_object_is_visible_and_leaves_a_background(splits):
    area = splits["train"].masks.mean((1, 2))
    assert area.min() > 0.1
    assert area.max() < 0.7


def test_object_stands_out_from_background(splits):
    data = splits["test"]
    grey = data.images.mean(3)
    inside = np.array([g[m].mean() for g, m in zip(grey, data.masks, strict=True)])
    outside = np.array([g[~m].mean() for g, m in zip(grey, data.masks, strict=True)])
    assert np.abs(inside - outside).min() > 20
    assert 0.4 < (inside > outside).mean() < 0.6  # light on dark as often as dark on light


def test_a_class_changes_nothing_but_the_object():
    pictures = [
        render(np.full(16, label), np.random.RandomState(3)) for label in range(len(CLASS_NAMES))
    ]
    reference, reference_mask = pictures[0]
    for image, mask in pictures[1:]:
        differs = (image != reference).any(3)
        assert differs.any((1, 2)).all()
        assert not differs[~(mask | reference_mask)].any()


def test_texture_keeps_the_mask_and_shape_changes_it():
    masks = [render(np.full(16, k), np.random.RandomState(3))[1] for k in range(len(CLASS_NAMES))]
    for k, name in enumerate(CLASS_NAMES):
        for other, other_name in enumerate(CLASS_NAMES):
            same_shape = name.split("_")[0] == other_name.split("_")[0]
            same_mask = (masks[k] == masks[other]).all((1, 2))
            assert same_mask.all() if same_shape else not same_mask.any()


def test_unknown_split_is_named():
    with pytest.raises(UserError, match=r"'val'.*train, test"):
        load_synthetic("val")
