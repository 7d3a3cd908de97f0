"""Images of the user's own: any tree of class folders, under a name of theirs."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import dataloader.channel_statistics
import train_student
import train_teacher
from common.errors import UserError, run_program
from dataloader.channel_statistics import channel_statistics, measured_statistics
from dataloader.datasets import load_split, parse_dataset
from dataloader.images import ImageSet
from dataloader.subsets import exponential_counts, tail_counts
from dataloader.views import Statistics
from engine.config import StudentConfig, TeacherConfig
from engine.data import load_data
from engine.flags import OWN_RECIPE, resolve
from engine.renormalised import renormalised
from evaluation import calculate_ece

GUIDE = (Path(__file__).parent.parent / "docs" / "extending.md").read_text()


def tree(root, *, train=(6, 6), val=(3, 3), size=(12, 9)):
    """train/<class>/ and val/<class>/ with images of noise, a colour a class."""
    random = np.random.RandomState(0)
    for split, counts in (("train", train), ("val", val)):
        for c, count in enumerate(counts):
            folder = root / split / f"class{c}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = random.randint(0, 128, (*size, 3)) + np.array([0, 127 * (c % 2), 0])
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return root


def own(root, split, **how):
    return load_split(how.pop("name", "birds"), split, root, views="cifar", **how)


class TestImages:
    def test_of_any_kind_become_rgb_under_sorted_class_names(self, tmp_path):
        files = {
            "wren/a.PNG": ("RGB", (5, 9)),
            "wren/b.JPG": ("L", (30, 7)),
            "auk/c.png": ("RGBA", (4, 4)),
            "auk/d.Bmp": ("RGB", (3, 8)),
            "auk/e.gif": ("P", (6, 2)),
            "auk/f.tif": ("CMYK", (2, 2)),
        }
        for split in ("train", "val"):
            for name, (mode, size) in files.items():
                path = tmp_path / split / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new(mode, size).save(path)
        (tmp_path / "train" / "auk" / "notes.txt").write_text("not an image")
        for split in ("train", "test"):
            images = own(tmp_path, split)
            assert images.class_names == ("auk", "wren")
            assert images.labels.tolist() == [0] * 4 + [1] * 2
            found = [images.image(i) for i in range(6)]
            assert {image.mode for image in found} == {"RGB"}
            assert [image.size for image in found] == [
                (4, 4),
                (3, 8),
                (6, 2),
                (2, 2),
                (5, 9),
                (30, 7),
            ]
        assert own(tmp_path, "validation") is None


class TestNames:
    @pytest.mark.parametrize("name", ["birds", "folder", "my.set-2_b", "4birds"])
    def test_any_name_of_a_folder_and_its_long_tails(self, name):
        dataset = parse_dataset(f"{name}_imb50", views="imagenet")
        assert (dataset.base, dataset.imbalance) == (name, 50)
        assert parse_dataset(name, views="cifar").imbalance is None

    @pytest.mark.parametrize(
        "name", ["../birds", "a/b", "", "a b", ".birds", "-b", "_imb10", "a+b", "b" * 101]
    )
    def test_others_are_refused(self, name):
        with pytest.raises(UserError, match="names a folder: use letters"):
            parse_dataset(name, views="cifar")

    @pytest.mark.parametrize("name", ["CIFAR100", "cifar100", "imagenet_lt", "synthetic_imb10"])
    def test_built_in_sets_keep_their_views(self, name):
        with pytest.raises(UserError, match="has its views: leave --views out"):
            parse_dataset(name, views="cifar")

    def test_other_tails_are_not_there(self):
        with pytest.raises(UserError, match="one of them with _imb10, _imb50, _imb100"):
            parse_dataset("birds_imb7", views="cifar")

    @pytest.mark.parametrize(
        "tail",
        ["010", "", "١٠", "１０", "²", "10.0", "-10", "10_imb50", " 10", "1e1", "+10", "10 "],
    )
    @pytest.mark.parametrize("name", ["birds", "CIFAR100"])
    def test_what_looks_like_a_tail_is_one_or_refused(self, name, tail):
        views = "cifar" if name == "birds" else None
        for spelled in (f"{name}_imb{tail}", f"{name}_IMB{tail or 10}"):
            with pytest.raises(UserError, match="one of them with _imb10, _imb50, _imb100"):
                parse_dataset(spelled, views)

    def test_a_word_is_no_tail(self):
        assert parse_dataset("my_imbalanced", views="cifar").imbalance is None
        assert parse_dataset("my_imbalanced_imb10", views="cifar").base == "my_imbalanced"


class TestTail:
    @pytest.mark.parametrize(
        ("available", "kept"),
        [
            ([100, 100], [100, 10]),
            ([40, 100], [40, 4]),
            ([100, 5], [50, 5]),  # the head that a class of 5 leaves
            ([100, 0], [100, 0]),
            ([4, 4, 4], [4, 1, 1]),  # int(4 * .316) and int(.4), but no class vanishes
        ],
    )
    def test_as_large_as_every_class_allows(self, available, kept):
        assert tail_counts(np.array(available), 10).tolist() == kept

    @pytest.mark.parametrize("ratio", [10, 50, 100])
    def test_of_a_balanced_set_is_the_literatures(self, ratio):
        counts = tail_counts(np.full(100, 500), ratio)
        assert counts.tolist() == exponential_counts(500, ratio, 100)

    def test_never_asks_for_more_than_there_is(self, random):
        for _ in range(50):
            available = random.integers(0, 60, 12)
            kept = tail_counts(available, 50)
            assert (kept <= available).all() and (kept[available > 0] > 0).all()

    def test_cuts_the_training_images(self, tmp_path):
        tree(tmp_path, train=(40, 60))
        assert np.bincount(own(tmp_path, "train", name="birds_imb10").labels).tolist() == [40, 4]
        assert len(own(tmp_path, "test", name="birds_imb10")) == 6


class TestStatistics:
    def test_each_image_weighs_the_same_whatever_its_size(self, tmp_path):
        """Half the images black, half white in red: mean .5, deviation .5."""
        for name, size, colour in (("a/1", (2, 2), (0, 0, 51)), ("b/2", (90, 40), (255, 51, 0))):
            for split in ("train", "val"):
                path = tmp_path / split / f"{name}.png"
                path.parent.mkdir(parents=True)
                Image.new("RGB", size, colour).save(path)
        found = channel_statistics(own(tmp_path, "train"))
        assert found == Statistics((0.5, 0.1, 0.1), (0.5, 0.1, 0.1))

    def test_of_images_of_one_size_are_those_of_all_pixels(self, few_images):
        pixels = few_images.images.reshape(-1, 3) / 255
        found = channel_statistics(few_images)
        assert found.mean == pytest.approx(pixels.mean(axis=0), abs=1e-4)
        assert found.std == pytest.approx(pixels.std(axis=0), abs=1e-4)

    def test_of_many_images_evenly_spaced_ones_are_read(self, few_images, monkeypatch):
        asked = []

        class Watched(ImageSet):
            def image(self, index):
                asked.append(int(index))
                return super().image(index)

        monkeypatch.setattr(dataloader.channel_statistics, "MEASURED_IMAGES", 4)
        channel_statistics(Watched(**vars(few_images)))
        assert asked == [0, 13, 26, 39]

    def test_are_kept_until_the_images_change(self, tmp_path):
        tree(tmp_path)
        cache = tmp_path / "kept.json"
        first = measured_statistics(own(tmp_path, "train"), cache)
        stamp = cache.stat().st_mtime_ns
        assert measured_statistics(own(tmp_path, "train"), cache) == first
        assert cache.stat().st_mtime_ns == stamp
        Image.new("RGB", (5, 5), (255, 0, 0)).save(tmp_path / "train" / "class0" / "new.png")
        assert measured_statistics(own(tmp_path, "train"), cache).mean[0] > first.mean[0]

    @pytest.mark.parametrize("damage", ["", "[]", '{"images": 1}', '{"mean": [1], "std": "x"}'])
    def test_a_damaged_record_is_made_again(self, tmp_path, damage):
        cache = tree(tmp_path) / "kept.json"
        first = measured_statistics(own(tmp_path, "train"), cache)
        cache.write_text(damage)
        assert measured_statistics(own(tmp_path, "train"), cache) == first

    @pytest.mark.parametrize(
        ("mean", "std"),
        [
            ([0.5, 0.5, float("nan")], [0.2] * 3),
            ([0.5, 0.5, 1.5], [0.2] * 3),
            ([0.5] * 3, [0.2, 0.2, 0.0]),
            ([0.5] * 3, [0.2, 0.2, -0.1]),
            ([0.5] * 3, [0.2, 0.2, 0.9]),
            ([0.5] * 3, [0.2, 0.2, float("inf")]),
            ([0.5] * 3, [0.2, 0.2, 10**400]),
            ([0.5] * 4, [0.2] * 4),
        ],
    )
    def test_an_impossible_record_is_made_again(self, tmp_path, mean, std):
        cache = tree(tmp_path) / "kept.json"
        first = measured_statistics(own(tmp_path, "train"), cache)
        kept = json.loads(cache.read_text())
        cache.write_text(json.dumps({**kept, "mean": mean, "std": std}))
        assert measured_statistics(own(tmp_path, "train"), cache) == first
        assert json.loads(cache.read_text()) == kept

    def test_images_that_cannot_be_read_are_left_out(self, tmp_path):
        tree(tmp_path)
        whole = channel_statistics(own(tmp_path, "train"))
        for c in (0, 1):
            (tmp_path / "train" / f"class{c}" / "bad.png").write_bytes(b"nothing")
        assert channel_statistics(own(tmp_path, "train")) == whole
        for path in tmp_path.glob("train/*/[0-9].png"):
            path.unlink()
        with pytest.raises(UserError, match=r"cannot read the image .*bad\.png"):
            channel_statistics(own(tmp_path, "train"))

    def test_a_channel_that_never_changes(self):
        grey = ImageSet(np.full((3, 4, 4, 3), 7, np.uint8), np.zeros(3, np.int64), ("a", "b"))
        with pytest.raises(UserError, match="give --mean and --std"):
            channel_statistics(grey)


class TestSettings:
    def resolve(self, tmp_path, *flags, cell="T1w", config=TeacherConfig):
        where = ["--data-path", str(tmp_path / "data"), "--output-dir", str(tmp_path / "runs")]
        names = ["--dataset", "birds", "--views", "cifar", "--cell", cell]
        return resolve(config, [*names, *where, *flags])[0]

    def test_measured_once_for_all_runs(self, tmp_path):
        images = own(tree(tmp_path / "data"), "train")
        expected = channel_statistics(images)
        whole = self.resolve(tmp_path)
        part = self.resolve(tmp_path, "--holdout-fraction", "0.5", "--max-train-images", "3")
        assert (whole.mean, whole.std) == (part.mean, part.std) == (expected.mean, expected.std)
        assert whole.recipe == str(OWN_RECIPE)
        assert whole.arch == "resnet56"

    def test_given_ones_need_no_images(self, tmp_path):
        flags = ["--mean", "0.5", "0.4", "0.3", "--std", "0.2", "0.2", "0.1"]
        config = self.resolve(tmp_path, *flags, cell="T1w_Sw", config=StudentConfig)
        assert (config.mean, config.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--mean", "0.5", "0.5", "0.5"], "go together, three numbers each"),
            (["--mean", "0.5", "--std", "0.5"], "go together, three numbers each"),
            (["--mean", "125", "125", "125", "--std", "1", "1", "1"], "at most 1"),
            (["--mean", "0", "0", "0", "--std", "0", "1", "1"], "above 0"),
            (["--max-train-images", "-1"], "at least 0"),
        ],
    )
    def test_wrong_ones(self, tmp_path, flags, message):
        with pytest.raises(UserError, match=message):
            self.resolve(tmp_path, *flags)

    def test_given_ones_replace_a_built_in_sets(self, tiny_recipe):
        flags = ["--dataset", "synthetic", "--cell", "T1w", "--recipe", str(tiny_recipe)]
        flags += ["--mean", "0.5", "0.4", "0.3", "--std", "0.2", "0.2", "0.1"]
        data = load_data(resolve(TeacherConfig, flags)[0])
        assert data.statistics == Statistics((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))


class TestFewImages:
    def data(self, dataset, recipe, *flags):
        names = ["--dataset", dataset, "--cell", "Sw", "--recipe", str(recipe)]
        return load_data(resolve(StudentConfig, [*names, *flags])[0])

    def test_are_evenly_spaced(self, tiny_recipe):
        whole = self.data("synthetic", tiny_recipe)
        few = self.data(
            "synthetic", tiny_recipe, "--max-train-images", "7", "--max-test-images", "3"
        )
        assert (len(few.train.images), len(few.test.images)) == (7, 3)
        for found, images in ((few.train, whole.train.images), (few.test, whole.test.images)):
            rows = np.linspace(0, len(images) - 1, len(found.images)).round().astype(int)
            assert np.array_equal(found.images.images, images.images[rows])

    def test_of_a_small_set_all_are_taken(self, tiny_recipe):
        few = self.data("synthetic", tiny_recipe, "--max-test-images", "100000")
        assert len(few.test.images) == len(self.data("synthetic", tiny_recipe).test.images)

    def test_tail_and_holdout_are_of_what_is_left(self, tiny_recipe):
        flags = ["--max-train-images", "200"]
        tailed = self.data("synthetic_imb10", tiny_recipe, *flags)
        left = load_split("synthetic", "train", None, most=200)
        counts = np.bincount(tailed.train.images.labels)
        assert counts.tolist() == tail_counts(np.bincount(left.labels), 10).tolist()
        both = self.data("synthetic_imb10", tiny_recipe, *flags, "--holdout-fraction", "0.5")
        parts = len(both.train.images) + len(both.validation.images)
        assert parts == len(tailed.train.images)

    def test_of_a_list_too(self, tmp_path):
        tree(tmp_path)
        lines = [f"train/class1/{i}.png 1\n" for i in range(5)]
        (tmp_path / "list.txt").write_text("".join(lines))
        images = own(tmp_path, "train", train_list=tmp_path / "list.txt", most=2)
        assert [images.relative_path(i) for i in (0, 1)] == [
            "train/class1/0.png",
            "train/class1/4.png",
        ]


def test_wrong_trees_and_names_are_told_in_one_line(tmp_path, capsys):
    def told(*flags, name="birds", root="good"):
        where = ["--data-path", str(tmp_path / root), "--output-dir", str(tmp_path / "runs")]
        code = run_program(train_teacher.main, ["--dataset", name, "--cell", "T1w", *where, *flags])
        lines = capsys.readouterr().err.splitlines()
        assert code == 2 and len(lines) == 1, lines
        return lines[0]

    for name in ("good", "without_train", "empty_class", "without_val_class", "one_class"):
        tree(tmp_path / name)
    views = ("--views", "cifar")
    assert "images of your own need --views" in told()
    assert "invalid choice: 'cfiar'" in told("--views", "cfiar")
    assert "names a folder" in told(*views, name="../birds")
    given = ("--mean", ".5", ".5", ".5", "--std", ".5", ".5", ".5", *views)
    assert "names a folder" in told(*given, name="../birds")
    assert "cannot read the folder" in told(*views, root="nowhere")

    (tmp_path / "without_train" / "train").rename(tmp_path / "without_train" / "training")
    assert "without_train/train: No such file" in told(*views, root="without_train")
    for path in (tmp_path / "empty_class" / "train" / "class1").iterdir():
        path.unlink()
    assert "class1 holds no images (.jpeg," in told(*views, root="empty_class")
    (tmp_path / "without_val_class" / "val" / "class1").rename(tmp_path / "aside")
    assert "differ: only one of them has a folder class1" in told(*views, root="without_val_class")
    for split in ("train", "val"):
        (tmp_path / "one_class" / split / "class1").rename(tmp_path / f"one_{split}")
    assert "one class folder: two are needed" in told(*views, root="one_class")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("dataset", ["birds", "birds_imb10", "ImageNet", "ImageNet_LT"])
def test_no_image_to_train_on_is_told_in_one_line(tmp_path, capsys, tiny_recipe, dataset):
    data = tree(tmp_path / "data")
    flags = ["--dataset", dataset, "--cell", "T1w", "--data-path", str(data)]
    flags += ["--output-dir", str(tmp_path / "runs"), "--recipe", str(tiny_recipe)]
    if "birds" in dataset:
        flags += ["--views", "cifar", "--mean", *[".5"] * 3, "--std", *[".5"] * 3]

    def told(*more):
        assert run_program(train_teacher.main, [*flags, *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    listing = data / "ImageNet_LT_train.txt"
    for content in ("", "\ufeff", "\r\n \n"):
        listing.write_text(content, encoding="utf-8")
        assert f"the image list {listing} is empty" in told("--train-list", str(listing))
        assert f"the image list {listing} is empty" in told("--test-list", str(listing))
    listing.write_text("train/class0/none.png 0\n")
    assert "there is no image" in told("--train-list", str(listing))
    if dataset != "ImageNet_LT":
        for path in data.glob("train/*/*.png"):
            path.unlink()
        assert "class0 holds no images" in told()
    for path in (data / "train").iterdir():
        shutil.rmtree(path)
    assert "holds no class folders" in told()
    assert not (tmp_path / "runs").exists()


class TestRuns:
    @pytest.fixture
    def bench(self, tmp_path, tiny_recipe, monkeypatch):
        """Runs the guide's commands where there are folders birds and ships."""
        monkeypatch.chdir(tmp_path)
        tree(tmp_path / "birds", train=(8, 8), size=(20, 14))
        tree(tmp_path / "ships", train=(5, 6, 7), val=(2, 2, 2))
        extra = ["--recipe", str(tiny_recipe), "--epochs", "1", "--batch-size", "8"]

        def run(command, *flags):
            _, program, *given = shlex.split(command)
            mains = {"train_teacher.py": train_teacher.main, "train_student.py": train_student.main}
            mains[program]([*given, *extra, *flags])

        return run

    def commands(self):
        section = GUIDE.split("\n## Your own images\n")[1].split("\n## ")[0]
        return re.findall(r"^    (python train_.*)$", section, re.MULTILINE)

    def saved(self, run):
        return yaml.safe_load((Path("runs") / run / "seed1" / "config.yaml").read_text())

    def test_the_guides_commands_from_teacher_to_measure(self, bench, tmp_path):
        for command in self.commands():
            bench(command)
        teacher, student = self.saved("birds/T1w"), self.saved("birds/T1w_Sw")
        expected = channel_statistics(own(tmp_path / "birds", "train"))
        for saved in (teacher, student):
            assert (saved["views"], saved["mean"]) == ("cifar", list(expected.mean))
        calculate_ece.main(["--dataset", "birds", "--cells", "1T"])  # the run knows the rest
        (row,) = json.loads(Path("runs/birds/ece.json").read_text())
        last = Path("runs/birds/T1w_Sw/seed1/metrics.json").read_text()
        assert row["top1"] == pytest.approx(json.loads(last)["last"]["test"]["top1"])

    def test_sets_are_kept_apart_by_name(self, bench):
        teacher, _ = self.commands()
        bench(teacher)
        ships = teacher.replace("birds", "ships")
        bench(ships)
        bench(ships.replace("--dataset ships", "--dataset ships_imb10"), "--views", "imagenet")
        found = {path.parent.name for path in Path("runs").glob("*/T1w")}
        assert found == {"birds", "ships", "ships_imb10"}
        assert self.saved("birds/T1w")["mean"] != self.saved("ships/T1w")["mean"]
        tailed, whole = self.saved("ships_imb10/T1w"), self.saved("ships/T1w")
        assert (tailed["mean"], tailed["views"]) == (whole["mean"], "imagenet")

    def test_a_finished_run_needs_its_images_no_more(self, bench, capsys):
        teacher, _ = self.commands()
        bench(teacher)
        Path("birds").rename("gone")
        bench(teacher)
        assert "finished" in capsys.readouterr().out

    def test_a_teacher_sees_what_it_was_trained_on(self, bench, monkeypatch):
        teacher, student = self.commands()
        bench(teacher, "--mean", "0.5", "0.5", "0.5", "--std", "0.5", "0.5", "0.5")
        seen, genuine = [], renormalised

        def note(model, given, own):
            seen.append((given, own))
            return genuine(model, given, own)

        monkeypatch.setattr("engine.teachers.renormalised", note)
        bench(student)
        ((given, own),) = seen
        assert own.mean == own.std == (0.5, 0.5, 0.5) != given.mean
