import hashlib

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from dataloader.datasets import load_split, parse_dataset
from dataloader.image_list import read_list
from dataloader.subsets import exponential_counts, select, split_holdout


def test_counts_of_cifar100_imb100():
    counts = exponential_counts(500, 100, 100)
    assert (counts[0], counts[99], sum(counts)) == (500, 5, 10_847)
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize(("ratio", "total"), [(10, 19_573), (50, 12_608)])
def test_counts_of_the_milder_tails(ratio, total):
    counts = exponential_counts(500, ratio, 100)
    assert (counts[0], counts[-1], sum(counts)) == (500, 500 // ratio, total)


class TestSelection:
    labels = np.random.RandomState(5).permutation(np.repeat(np.arange(100), 500))
    counts = exponential_counts(500, 100, 100)

    def test_each_class_keeps_its_count(self):
        chosen = select(self.labels, self.counts)
        assert np.bincount(self.labels[chosen]).tolist() == self.counts
        assert len(set(chosen.tolist())) == len(chosen)

    def test_is_the_literatures_choice(self):
        """Its rule written out: one legacy stream, classes in order, shuffle, keep the first."""
        stream = np.random.RandomState(0)
        expected = []
        for c, count in enumerate(self.counts):
            candidates = np.array([i for i, label in enumerate(self.labels) if label == c])
            stream.shuffle(candidates)
            expected += candidates[:count].tolist()
        assert select(self.labels, self.counts).tolist() == expected

    def test_is_stable(self):
        chosen = select(np.repeat(np.arange(100), 500), self.counts).astype("<i8")
        digest = hashlib.sha256(chosen.tobytes()).hexdigest()
        assert digest.startswith("b56cfff7465dadc1")

    def test_a_class_that_is_too_small_is_refused(self):
        with pytest.raises(UserError, match=r"class 1 has 1 training images .* keeps 2"):
            select(np.array([0, 0, 1]), [2, 2])


def test_the_long_tail_cuts_the_training_split_alone(tmp_path):
    balanced = load_split("synthetic", "train", tmp_path)
    tailed = load_split("synthetic_imb10", "train", tmp_path)
    counts = np.bincount(tailed.labels)
    assert (counts[0], counts[-1]) == (120, 12)
    assert len(tailed) == counts.sum() < len(balanced)
    test = load_split("synthetic_imb10", "test", tmp_path)
    assert np.bincount(test.labels).tolist() == [50] * 10
    assert tailed.masks.shape == tailed.images.shape[:3]


def test_subset_keeps_images_labels_and_masks_together(few_images):
    part = few_images.subset(np.array([7, 2]))
    assert np.array_equal(part.images[0], few_images.images[7])
    assert np.array_equal(part.masks[1], few_images.masks[2])
    assert part.labels.tolist() == [few_images.labels[7], few_images.labels[2]]


@pytest.mark.parametrize("name", ["CIFAR10", "synthetic_imb", "synthetic_imb7", "", "_imb10"])
def test_unknown_data_sets(name):
    with pytest.raises(UserError, match="unknown data set"):
        parse_dataset(name)


def test_missing_cifar_names_the_command_that_prepares_it(tmp_path):
    with pytest.raises(UserError, match="dealWith_cifar_dataset"):
        load_split("CIFAR100_imb100", "train", tmp_path)


class TestListFile:
    def write(self, tmp_path, text):
        for i in range(3):
            Image.fromarray(np.full((32, 32, 3), i, dtype=np.uint8)).save(tmp_path / f"{i}.png")
        path = tmp_path / "list.txt"
        path.write_text(text)
        return path

    def load(self, tmp_path, text):
        path = self.write(tmp_path, text)
        return load_split("synthetic", "train", tmp_path, train_list=path)

    def test_replaces_the_training_images(self, tmp_path):
        images = self.load(tmp_path, "2.png 9\n0.png 1\n\n2.png 3\n")
        assert images.labels.tolist() == [9, 1, 3]
        assert images.images[:, 0, 0, 0].tolist() == [2, 0, 2]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("0.png 1\n1.png ten\n", "line 2: '1.png ten' is not `path label`"),
            ("0.png\n", "line 1: '0.png' is not"),
            ("0.png 10\n", "label 10 is out of range 0 to 9"),
            ("", "is empty"),
            ("gone.png 1\n", "cannot read the image .*gone.png"),
        ],
    )
    def test_bad_lines_are_named(self, tmp_path, text, message):
        with pytest.raises(UserError, match=message):
            self.load(tmp_path, text)

    def test_a_missing_list_and_a_corrupt_image(self, tmp_path):
        with pytest.raises(UserError, match="cannot read the image list"):
            read_list(tmp_path / "gone.txt", 10)
        self.write(tmp_path, "0.png 1\n")
        whole = (tmp_path / "0.png").read_bytes()
        (tmp_path / "0.png").write_bytes(whole[:60])
        with pytest.raises(UserError, match=r"cannot read the image .*0\.png"):
            load_split("synthetic", "train", tmp_path, train_list=tmp_path / "list.txt")

    def test_images_of_several_sizes(self, tmp_path):
        path = self.write(tmp_path, "0.png 1\nwide.png 2\n")
        Image.new("RGB", (40, 32)).save(tmp_path / "wide.png")
        with pytest.raises(UserError, match=r"wide\.png .* differs in size"):
            load_split("synthetic", "train", tmp_path, train_list=path)


class TestHoldout:
    labels = np.repeat(np.arange(4), [100, 50, 10, 1])

    def test_a_share_of_each_class_and_nothing_twice(self):
        kept, held_out = split_holdout(self.labels, 0.1)
        assert np.bincount(self.labels[held_out], minlength=4).tolist() == [10, 5, 1, 0]
        assert sorted([*kept, *held_out]) == list(range(161))

    def test_is_the_same_every_time(self):
        first, second = split_holdout(self.labels, 0.2), split_holdout(self.labels, 0.2)
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))

    def test_a_share_that_holds_nothing_out(self):
        with pytest.raises(UserError, match="leaves no image to select on"):
            split_holdout(self.labels, 0.001)
