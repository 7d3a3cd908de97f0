import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from common.errors import UserError, run_program
from common.files import staged
from dataloader import imagenet
from dataloader.datasets import load_split
from dataloader.imagenet import load_image_list, load_imagenet, load_imagenet_lt
from dataloader.images import FileImageSet
from dataloader.make_long_tail_list import assign, main
from dataloader.subsets import pareto_counts

WNIDS = ("n01440764", "n01443537", "n02102040")
FLAT = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 7)]
FLAT_LABELS = [2, 0, 1, 0, 2, 1]
FLAT_LABEL_OF = dict(zip(FLAT, FLAT_LABELS, strict=True))


def save(path, *, mode="RGB", value=100, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (12, 8), value).save(path, **options)
    return path


def make_train(root, counts=(3, 2, 4)):
    for wnid, count in zip(reversed(WNIDS), reversed(counts), strict=True):
        for i in range(count):
            save(root / "train" / wnid / f"{wnid}_{i}.JPEG", value=(i, 0, 0))


def make_nested_val(root):
    for name, label in zip(FLAT, FLAT_LABELS, strict=True):
        save(root / "val" / WNIDS[label] / name)


def make_flat_val(root):
    for name in FLAT:
        save(root / "val" / name)


def paths_of(images):
    return [images.relative_path(i) for i in range(len(images))]


def listed_text(images):
    return "".join(f"{p} {c}\n" for p, c in zip(paths_of(images), images.labels, strict=True))


def by_name(images):
    return {Path(p).name: label for p, label in zip(paths_of(images), images.labels, strict=True)}


@pytest.fixture
def root(tmp_path):
    make_train(tmp_path)
    make_nested_val(tmp_path)
    return tmp_path


@pytest.fixture
def flat_root(tmp_path):
    make_train(tmp_path)
    make_flat_val(tmp_path)
    return tmp_path


def listed(root, text, name="list.txt"):
    path = root / name
    path.write_text(text)
    return load_image_list(root, path, WNIDS)


def make_devkit(root, ids=(30, 10, 20)):
    """ILSVRC ids that are not in the order of the wnids, among synsets that are not classes."""
    folder = root / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    fields = (
        "ILSVRC2012_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
    )
    rows = [(i, w, f"{w}, thing", "a thing", 0, [], 0) for i, w in zip(ids, WNIDS, strict=True)]
    rows.append((1001, "n00001740", "entity", "all there is", 2, [10, 20], 1))
    synsets = np.empty((len(rows), 1), dtype=[(field, object) for field in fields])
    for i, row in enumerate(rows):
        synsets[i, 0] = row
    savemat(folder / "meta.mat", {"synsets": synsets})
    truth = "".join(f"{ids[label]}\n" for label in FLAT_LABELS)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)
    return folder


class TestFolders:
    def test_classes_and_files_are_sorted(self, root):
        train = load_imagenet(root, "train")
        assert train.class_names == WNIDS and train.num_classes == 3
        assert train.labels.dtype == np.int64
        assert train.labels.tolist() == [0] * 3 + [1] * 2 + [2] * 4
        assert paths_of(train) == sorted(paths_of(train))
        assert train.path(3) == root / "train" / WNIDS[1] / f"{WNIDS[1]}_0.JPEG"
        assert train.masks is None

    def test_val_folders(self, root):
        assert by_name(load_imagenet(root, "test")) == FLAT_LABEL_OF

    def test_extensions_of_any_case_and_nothing_else(self, root):
        folder = root / "train" / WNIDS[1]
        for name in ("a.png", "b.JpG", "c.PNG", "notes.txt", "._d.JPEG", "e.tar"):
            save(folder / name, format="PNG")
        save(root / "train" / ".cache" / "x.png")
        names = [Path(p).name for p in paths_of(load_imagenet(root, "train")) if WNIDS[1] in p]
        assert names == ["a.png", "b.JpG", "c.PNG", f"{WNIDS[1]}_0.JPEG", f"{WNIDS[1]}_1.JPEG"]

    def test_spaces_and_unicode(self, tmp_path):
        root = tmp_path / "my data ü"
        for name in ("a b 7.jpeg", "été 猫.jpeg"):
            save(root / "train" / "großer hund" / name)
        images = load_imagenet(root, "train")
        assert [images.path(i).name for i in range(2)] == ["a b 7.jpeg", "été 猫.jpeg"]
        assert images.image(1).size == (12, 8)
        lines = listed_text(images)
        (root / "list.txt").write_text(lines, encoding="utf-8")
        again = load_image_list(root, root / "list.txt", images.class_names)
        assert paths_of(again) == paths_of(images)

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_missing_root(self, tmp_path, split):
        with pytest.raises(UserError, match=r"nowhere/train.*--data-path"):
            load_imagenet(tmp_path / "nowhere", split)

    def test_missing_val(self, tmp_path):
        make_train(tmp_path)
        with pytest.raises(UserError, match=r"/val: No such file.*--data-path"):
            load_imagenet(tmp_path, "test")

    def test_archives_not_unpacked(self, tmp_path):
        save(tmp_path / "train" / "n01440764.tar", format="PNG")
        with pytest.raises(UserError, match=r"holds no class folders: unpack"):
            load_imagenet(tmp_path, "train")

    def test_empty_class_folder(self, root):
        (root / "train" / "n03000000").mkdir()
        with pytest.raises(UserError, match=r"train/n03000000 holds no images"):
            load_imagenet(root, "train")

    def test_folders_of_train_and_val_must_match(self, root):
        save(root / "val" / "n09999999" / "a.jpg")
        with pytest.raises(UserError, match=r"only one of them has a folder n09999999"):
            load_imagenet(root, "test")


class TestFlatVal:
    @pytest.mark.parametrize("place", ["val.txt", "val/val.txt"])
    @pytest.mark.parametrize("prefix", ["", "val/"])
    def test_labelled_by_a_list(self, flat_root, place, prefix):
        lines = [f"{prefix}{name} {label}\n" for name, label in FLAT_LABEL_OF.items()]
        (flat_root / place).write_text("".join(lines))
        test = load_imagenet(flat_root, "test")
        assert by_name(test) == FLAT_LABEL_OF
        assert test.labels.tolist() == sorted(FLAT_LABELS)
        assert test.image(0).size == (12, 8)

    def test_list_and_folder_differ(self, flat_root):
        (flat_root / "val.txt").write_text(f"{FLAT[0]} 0\n")
        with pytest.raises(UserError, match=rf"val.txt and .*/val differ: {FLAT[1]} is in only"):
            load_imagenet(flat_root, "test")

    def test_labelled_by_the_devkit(self, flat_root):
        """Labels are places among the sorted wnids, not ILSVRC ids."""
        make_devkit(flat_root)
        assert by_name(load_imagenet(flat_root, "test")) == FLAT_LABEL_OF

    def test_devkit_of_other_images(self, flat_root):
        make_devkit(flat_root)
        (flat_root / "val" / FLAT[2]).unlink()
        with pytest.raises(UserError, match=r"ground_truth.txt labels 6 images, .*val holds 5"):
            load_imagenet(flat_root, "test")

    @pytest.mark.parametrize("line", ["99", "ten"])
    def test_devkit_with_a_bad_id(self, flat_root, line):
        truth = make_devkit(flat_root) / "ILSVRC2012_validation_ground_truth.txt"
        truth.write_text(f"{line}\n" * 6)
        with pytest.raises(UserError, match=r"cannot use .*ground_truth.txt"):
            load_imagenet(flat_root, "test")

    def test_damaged_devkit(self, flat_root):
        (make_devkit(flat_root) / "meta.mat").write_bytes(b"MATLAB" * 40)
        with pytest.raises(UserError, match=r"cannot use .*meta.mat"):
            load_imagenet(flat_root, "test")

    def test_nothing_labels_it(self, flat_root):
        with pytest.raises(UserError, match=r"nothing labels .*val.txt .*ILSVRC2012_devkit_t12"):
            load_imagenet(flat_root, "test")

    def test_marks_of_windows_are_no_part_of_a_text(self, flat_root):
        lines = "".join(f"{name} {label}\r\n" for name, label in FLAT_LABEL_OF.items())
        for encoding in ("utf-8-sig", "utf-16"):
            (flat_root / "val.txt").write_bytes(lines.encode(encoding))
            assert by_name(load_imagenet(flat_root, "test")) == FLAT_LABEL_OF
        (flat_root / "val.txt").unlink()
        truth = make_devkit(flat_root) / "ILSVRC2012_validation_ground_truth.txt"
        truth.write_bytes(truth.read_text().replace("\n", "\r\n").encode("utf-8-sig"))
        assert by_name(load_imagenet(flat_root, "test")) == FLAT_LABEL_OF

    def test_a_name_with_two_labels(self, flat_root):
        lines = [f"{name} {label}\n" for name, label in FLAT_LABEL_OF.items()]
        (flat_root / "val.txt").write_text("".join([*lines, lines[0]]))
        assert by_name(load_imagenet(flat_root, "test")) == FLAT_LABEL_OF
        (flat_root / "val.txt").write_text("".join([*lines, f"{FLAT[0]} 1\n"]))
        with pytest.raises(UserError, match=rf"'{FLAT[0]}' twice, with different labels"):
            load_imagenet(flat_root, "test")


class TestKagglesTable:
    def table(self, **changes):
        """Rows as Kaggle has them: a class before each box, the rows in no order."""
        boxes = {
            name.removesuffix(".JPEG"): f"{WNIDS[label]} 85 1 499 272 {WNIDS[label]} 1 1 9 9 "
            for name, label in FLAT_LABEL_OF.items()
        }
        rows = [f"{image},{boxes}\n" for image, boxes in reversed({**boxes, **changes}.items())]
        return "ImageId,PredictionString\n" + "".join(rows)

    @pytest.mark.parametrize("place", [".", "val"])
    def test_labels_the_flat_folder(self, flat_root, place):
        table = flat_root / place / "LOC_val_solution.csv"
        for content in (
            self.table().encode(),
            self.table().replace("\n", "\r\n").encode("utf-8-sig"),
        ):
            table.write_bytes(content)
            assert by_name(load_imagenet(flat_root, "test")) == FLAT_LABEL_OF

    def test_is_found_where_kaggles_archive_has_it(self, tmp_path):
        root = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
        make_train(root)
        make_flat_val(root)
        with pytest.raises(UserError, match=f"looked for .*{tmp_path}/LOC_val_solution.csv"):
            load_imagenet(root, "test")
        (tmp_path / "LOC_val_solution.csv").write_text(self.table())
        assert by_name(load_imagenet(root, "test")) == FLAT_LABEL_OF
        (tmp_path / "link").symlink_to(root)
        assert by_name(load_imagenet(tmp_path / "link", "test")) == FLAT_LABEL_OF
        with pytest.raises(UserError, match=f"Kaggle's folders: let --data-path name {root}"):
            load_imagenet(tmp_path, "test")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda text: "", "line 1: not Kaggle's table"),
            (lambda text: text.partition("\n")[2], "line 1: not Kaggle's table"),
            (lambda text: text.replace(" 85", ",85", 1), "line 2: not Kaggle's table"),
            (
                lambda text: text.replace(WNIDS[1], WNIDS[2], 1),
                "line 2: .* does not name one class",
            ),
            (
                lambda text: text.replace(WNIDS[1], "n09999999"),
                "n09999999 is not a folder of train/",
            ),
            (lambda text: text.replace(FLAT[0][:-5], "other"), "differ: .* is in only one of them"),
            (lambda text: text + f"{FLAT[0][:-5]},{WNIDS[1]} 1 1 9 9\n", "twice, with different"),
            (lambda text: text.replace(f",{WNIDS[1]}", ",\0", 1), "line 2: "),
            (lambda text: text + "x" * 200_000, "cannot use .*field larger than"),
        ],
    )
    def test_others_are_refused(self, flat_root, change, message):
        (flat_root / "LOC_val_solution.csv").write_text(change(self.table()))
        with pytest.raises(UserError, match=message):
            load_imagenet(flat_root, "test")


class TestLists:
    def test_keeps_the_lists_order(self, root):
        names = [f"train/{WNIDS[c]}/{WNIDS[c]}_{i}.JPEG" for c, i in ((2, 1), (0, 2), (1, 0))]
        images = listed(root, "".join(f"{n} {c}\n" for n, c in zip(names, (2, 0, 1), strict=True)))
        assert paths_of(images) == names
        assert images.labels.tolist() == [2, 0, 1]
        assert images.image(1).size == (12, 8)

    @pytest.mark.parametrize("nested_on_disk", [True, False])
    @pytest.mark.parametrize("nested_in_list", [True, False])
    def test_either_layout_of_val(self, tmp_path, nested_on_disk, nested_in_list):
        (make_nested_val if nested_on_disk else make_flat_val)(tmp_path)
        lines = [
            f"val/{WNIDS[label]}/{name} {label}\n" if nested_in_list else f"val/{name} {label}\n"
            for name, label in zip(FLAT, FLAT_LABELS, strict=True)
        ]
        images = listed(tmp_path, "".join(lines))
        assert all(images.path(i).is_file() for i in range(len(images)))
        assert by_name(images) == FLAT_LABEL_OF

    def test_disagreement_with_the_class_order_names_the_line(self, root):
        good, bad = (f"train/{w}/{w}_0.JPEG" for w in WNIDS[:2])
        message = rf"list.txt, line 3: {bad} has label 2 \(n02102040\), but n01443537 is class 1"
        with pytest.raises(UserError, match=message):
            listed(root, f"{good} 0\n\n{bad} 2\n")

    def test_unknown_wnid(self, root):
        with pytest.raises(UserError, match=r"line 1: n07777777 is not a class"):
            listed(root, "train/n07777777/a.JPEG 0\n")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (f"train/{WNIDS[0]}/{WNIDS[0]}_0.JPEG 3\n", "line 1: label 3 is out of range 0 to 2"),
            (f"train/{WNIDS[0]}/{WNIDS[0]}_0.JPEG\n", "line 1: .* is not `path label`"),
            ("a.jpg -1\n", "is not `path label`"),
            ("a.jpg ²\n", "is not `path label`"),
            ("\n \n", "is empty"),
            ("train/gone.JPEG 0\n", r"line 1: there is no image .*train/gone.JPEG.*--data-path"),
        ],
    )
    def test_bad_lines(self, root, text, message):
        with pytest.raises(UserError, match=message):
            listed(root, text)

    def test_a_folder_is_looked_up_once(self, root, monkeypatch):
        looked_up = []
        exists = Path.exists
        monkeypatch.setattr(Path, "exists", lambda p: looked_up.append(p) or exists(p))
        assert len(listed(root, listed_text(load_imagenet(root, "train")))) == 9
        assert len(looked_up) == 1

    def test_a_missing_list_file(self, root):
        with pytest.raises(UserError, match=r"cannot read the image list .*none.txt"):
            load_image_list(root, root / "none.txt", WNIDS)


class TestLongTailedLists:
    line = f"train/{WNIDS[1]}/{WNIDS[1]}_1.JPEG 1\n"

    @pytest.mark.parametrize("place", [".", "ImageNet_LT"])
    @pytest.mark.parametrize(
        ("split", "name"), [("train", "train"), ("validation", "val"), ("test", "test")]
    )
    def test_found(self, root, place, split, name):
        (root / place).mkdir(exist_ok=True)
        (root / place / f"ImageNet_LT_{name}.txt").write_text(self.line)
        images = load_imagenet_lt(root, split)
        assert images.labels.tolist() == [1]
        assert images.class_names == WNIDS

    def test_given(self, root):
        (root / "mine").mkdir()
        (root / "mine" / "ImageNet_LT_train.txt").write_text(self.line * 2)
        assert len(load_imagenet_lt(root, "train", list_path=root / "mine")) == 2

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_missing(self, root, split):
        message = rf"no ImageNet_LT_{split}.txt in .*OpenLongTail.*make_long_tail_list.py"
        with pytest.raises(UserError, match=message):
            load_imagenet_lt(root, split)

    def test_another_list_to_test_on(self, root):
        """As the published code validates on the list of ImageNet-LT, all of training images."""
        (root / "ImageNet_LT_val.txt").write_text(self.line)
        for dataset in ("ImageNet", "ImageNet_LT"):
            images = load_split(dataset, "test", root, test_list=root / "ImageNet_LT_val.txt")
            assert paths_of(images) == [self.line.split()[0]]
        whole = load_split("ImageNet", "train", root, test_list=root / "ImageNet_LT_val.txt")
        assert len(whole) == 9

    def test_validation_is_optional(self, root):
        assert load_imagenet_lt(root, "validation") is None


class TestImages:
    def image(self, path):
        return FileImageSet.of(path.parent, [(path.name, 0)], ("a",)).image(0)

    @pytest.mark.parametrize(
        ("mode", "value", "expected"),
        [("L", 77, (77, 77, 77)), ("CMYK", (0, 0, 0, 0), (255, 255, 255)), ("RGB", 9, (9, 0, 0))],
    )
    def test_becomes_rgb(self, tmp_path, mode, value, expected):
        path = save(tmp_path / "a.JPEG", mode=mode, value=value)
        image = self.image(path)
        assert image.mode == "RGB"
        assert np.allclose(image.getpixel((3, 3)), expected, atol=3)

    def test_png_named_jpeg(self, tmp_path):
        path = save(tmp_path / "a.JPEG", mode="RGBA", value=(5, 6, 7, 8), format="PNG")
        assert self.image(path).getpixel((0, 0)) == (5, 6, 7)

    def test_exif_orientation_is_not_applied(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn
        path = save(tmp_path / "a.JPEG", exif=exif)
        assert self.image(path).size == (12, 8)

    def test_is_torchvisions_image(self, tmp_path):
        from torchvision.datasets.folder import pil_loader

        pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 4), dtype=np.uint8)
        Image.fromarray(pixels, "CMYK").save(tmp_path / "a.JPEG")
        path = tmp_path / "a.JPEG"
        assert self.image(path).tobytes() == pil_loader(str(path)).tobytes()

    def noise(self, path, **options):
        pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, **options)
        return path

    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    @pytest.mark.parametrize("kept", [0, 0.05, 0.5, 0.9])
    def test_truncated(self, tmp_path, kind, kept):
        path = self.noise(tmp_path / "a.JPEG", format=kind)
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(UserError, match=f"cannot read the image {path}: ") as caught:
            self.image(path)
        assert "\n" not in str(caught.value)

    def test_corrupt(self, tmp_path):
        path = self.noise(tmp_path / "a.png")
        content = bytearray(path.read_bytes())
        content[200:260] = b"x" * 60
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"cannot read the image {path}: "):
            self.image(path)

    def test_not_an_image(self, tmp_path):
        path = tmp_path / "a.JPEG"
        path.write_text("<html>404</html>")
        with pytest.raises(UserError, match=f"cannot read the image {path}: "):
            self.image(path)

    def test_missing(self, tmp_path):
        with pytest.raises(UserError, match=r"cannot read the image .*/a.JPEG: No such file"):
            self.image(tmp_path / "a.JPEG")


class TestSubset:
    def test_of_a_subset(self, root):
        train = load_imagenet(root, "train")
        part = train.subset(np.array([7, 0, 4, 0])).subset(np.array([2, 0]))
        assert paths_of(part) == [train.relative_path(4), train.relative_path(7)]
        assert part.labels.tolist() == [1, 2]
        assert part.class_names == WNIDS and len(part) == 2

    def test_shares_the_paths(self, root):
        train = load_imagenet(root, "train")
        assert train.subset(np.array([1])).text is train.text

    def test_may_be_empty(self, root):
        assert len(load_imagenet(root, "train").subset(np.array([], dtype=np.int64))) == 0


def test_memory_per_image():
    n = 20_000
    entries = ((f"train/n01440764/n01440764_{i:05d}.JPEG", i % 10) for i in range(n))
    images = FileImageSet.of(Path("data"), entries, tuple("abcdefghij"))
    fields = vars(images)
    arrays = [value for value in fields.values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) <= n * (36 + 24)
    assert not any(isinstance(value, list) for value in fields.values())
    assert all(array.dtype != object for array in arrays)
    assert len(pickle.dumps(images)) < n * (36 + 24) + 1000


class TestParetoCounts:
    def test_imagenet_lt(self):
        """Published: 115,846 images; 385 many-, 479 medium- and 136 few-shot classes."""
        counts = pareto_counts(1280, 5, 1000)
        assert (counts[0], counts[-1]) == (1280, 5)
        assert counts == sorted(counts, reverse=True)
        assert sum(counts) == pytest.approx(115_846, rel=0.06)
        assert sum(c > 100 for c in counts) == pytest.approx(385, abs=25)
        assert sum(c < 20 for c in counts) == pytest.approx(136, abs=10)

    def test_its_formula(self):
        """1 - k/C is the distribution function at x_k of numpy's own Pareto."""
        from scipy.stats import lomax

        x = lomax(6).isf(np.arange(1, 51) / 50)
        assert pareto_counts(1000, 0, 50) == np.rint(1000 * x / x[0]).astype(int).tolist()

    @pytest.mark.parametrize("alpha", [0.5, 2, 6, 40])
    def test_ends_whatever_the_power(self, alpha):
        counts = pareto_counts(300, 2, 40, alpha=alpha)
        assert (counts[0], counts[-1]) == (300, 2)
        assert counts == sorted(counts, reverse=True)

    def test_small_cases(self):
        assert pareto_counts(9, 2, 1) == [9]
        assert pareto_counts(9, 2, 2) == [9, 2]
        assert pareto_counts(4, 4, 3) == [4, 4, 4]

    @pytest.mark.parametrize("arguments", [(2, 5, 10), (5, -1, 10), (5, 2, 0)])
    def test_nonsense(self, arguments):
        with pytest.raises(ValueError, match="no profile"):
            pareto_counts(*arguments)


class TestTool:
    @pytest.fixture
    def root(self, tmp_path):
        make_train(tmp_path, counts=(12, 8, 10))
        make_nested_val(tmp_path)
        return tmp_path

    def run(self, root, *flags):
        flags = ("--smallest", "2", "--validation-per-class", "2", *flags)
        return run_program(main, ["--data-path", str(root), *flags])

    def test_lists_load_and_agree(self, root, capsys):
        assert self.run(root) == 0
        output = capsys.readouterr().out
        train, validation, test = (
            load_imagenet_lt(root, split) for split in ("train", "validation", "test")
        )
        counts = np.bincount(train.labels, minlength=3)
        assert sorted(counts.tolist(), reverse=True) == pareto_counts(10, 2, 3)
        assert np.bincount(validation.labels).tolist() == [2, 2, 2]
        assert not set(paths_of(train)) & set(paths_of(validation))
        assert len(set(paths_of(train))) == len(train)
        assert paths_of(test) == paths_of(load_imagenet(root, "test"))
        assert all(images.path(0).is_file() for images in (train, validation, test))
        assert f"{len(train)} training images in 3 classes, 10 to 2 a class" in output

    def test_the_seed_decides(self, root):
        texts = []
        for name, seed in (("a", 0), ("b", 0), ("c", 1)):
            assert self.run(root, "--output", str(root / name), "--seed", str(seed)) == 0
            texts.append((root / name / "ImageNet_LT_train.txt").read_text())
        assert texts[0] == texts[1] != texts[2]

    def test_lists_already_there_are_kept(self, root, capsys):
        lists = root / "ImageNet_LT"
        lists.mkdir()
        (lists / "ImageNet_LT_val.txt").write_text("published\n")
        assert self.run(root) == 2
        assert "ImageNet_LT_val.txt is already there" in capsys.readouterr().err
        assert [path.name for path in lists.iterdir()] == ["ImageNet_LT_val.txt"]

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (("--largest", "11"), "no class is left that can spare 11"),
            (("--largest", "1"), "no profile from 1 to 2"),
        ],
    )
    def test_impossible_profiles(self, root, capsys, flags, message):
        assert self.run(root, *flags) == 2
        assert capsys.readouterr().err.startswith(f"error: {message}")

    @pytest.mark.parametrize("mark", ["\n", "\r"])
    def test_a_name_that_no_list_can_hold(self, root, capsys, mark):
        save(root / "val" / WNIDS[0] / f"a{mark}b.png")
        assert self.run(root) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "has a line break in its name" in line
        assert not list(root.glob("ImageNet_LT/*.txt"))  # so the same command goes on once renamed

    def test_is_a_command(self, root):
        script = Path(imagenet.__file__).with_name("make_long_tail_list.py")
        command = [sys.executable, script, "--data-path", root / "none"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("error: cannot read the folder") and "\n" in done.stderr

    def test_large_counts_go_where_there_is_room(self):
        room = np.array([5, 100, 7, 40])
        for seed in range(6):
            counts = assign([90, 30, 5, 1], room, seed)
            assert counts[1] == 90 and counts[3] == 30
            assert sorted(counts) == [1, 5, 30, 90]


def test_staged_replaces_a_file_at_once(tmp_path):
    target = tmp_path / "index.npz"
    target.write_text("old")
    with pytest.raises(UserError), staged(target) as partial:
        partial.write_text("half")
        raise OSError("disk full")
    assert target.read_text() == "old"
