"""A data set in Parquet files: the same as of arrays, what the hub calls it, what is refused."""

import io
import json
import sys

import numpy as np
import pytest
from conftest import TINY
from PIL import Image

import train_teacher
from common.errors import DamagedError, UserError, run_program
from dataloader.datasets import load_split

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

RANDOM = np.random.default_rng(0)
LABELS = {"train": np.arange(30) % 3, "test": np.arange(12) % 3}
PIXELS = {
    split: RANDOM.integers(0, 80, (len(y), 9, 12, 3), np.uint8)
    + (80 * np.eye(3, dtype=np.uint8))[y][:, None, None]
    for split, y in LABELS.items()
}
NAMES = ["auk", "owl", "tit"]


def png(pixels):
    Image.fromarray(pixels).save(stream := io.BytesIO(), "PNG")
    return stream.getvalue()


def table(split, *, names=NAMES, called=("image", "label"), **columns):
    """Of a split, as `datasets` writes it; `columns` are added, or replace these."""
    files = [{"bytes": png(own), "path": f"{k}.png"} for k, own in enumerate(PIXELS[split])]
    made = pa.table(dict(zip(called, (files, LABELS[split]), strict=True)) | columns)
    features = {called[1]: {"names": names, "_type": "ClassLabel"}} if names else {}
    told = json.dumps({"info": {"features": features}})
    return made.replace_schema_metadata({"huggingface": told})


@pytest.fixture
def write(tmp_path):
    """Writes tables as files in the folder of a set, which it returns."""

    def write(**tables):
        folder = tmp_path / "birds"
        for name, own in tables.items():
            path = folder / f"{name.replace('__', '/').replace('_', '-')}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(own, path, row_group_size=7)
        return folder

    return write


@pytest.fixture
def folder(write):
    """Of a set as on the hub, its training split in two files."""
    train = table("train")
    return write(
        data__train_00000_of_00002=train[:16], data__train_00001_of_00002=train[16:],
        data__test_00000_of_00001=table("test"),
    )  # fmt: skip


def load(path, split="train", name="birds", **how):
    return load_split(name, split, path, views="cifar", **how)


def test_splits_are_the_images(folder):
    for split in ("train", "test"):
        images = load(folder, split)
        assert np.array_equal(images.labels, LABELS[split])
        assert images.class_names == ("auk", "owl", "tit")
        for index, pixels in enumerate(PIXELS[split]):
            assert np.array_equal(np.asarray(images.image(index)), pixels)
    assert load(folder, "validation") is None


def test_a_subset_and_a_tail(folder):
    whole = load(folder)
    part = whole.subset(np.array([20, 3]))
    assert np.array_equal(np.asarray(part.image(1)), PIXELS["train"][3])
    assert part.labels.tolist() == [2, 0]
    assert part.fingerprint() == whole.subset(np.array([20, 3])).fingerprint()
    assert part.fingerprint() != whole.subset(np.array([20, 6])).fingerprint()
    counts = np.bincount(load(folder, name="birds_imb10").labels)
    assert counts.tolist() == [10, 3, 1]


def test_cifar_100_as_the_hub_has_it(write):
    tables = {
        split: table(split, called=("img", "fine_label"), coarse_label=LABELS[split] // 2)
        for split in LABELS
    }
    images = load(write(**tables))
    assert images.class_names == ("auk", "owl", "tit")
    assert np.array_equal(images.labels, LABELS["train"])


def test_columns_of_other_names_without_names_of_classes(write):
    tables = {split: table(split, names=None, called=("image", "species")) for split in LABELS}
    assert load(write(**tables)).class_names == ("0", "1", "2")


def test_the_validation_split_is_tested_on_where_there_is_no_other(write):
    folder = write(train=table("train"), valid=table("test"))
    assert len(load(folder, "test")) == 12
    assert load(folder, "validation") is None
    write(test=table("test")[:6])
    assert len(load(folder, "test")) == 6
    assert len(load(folder, "validation")) == 12


def test_class_folders_beside_them_come_first(write, tmp_path):
    folder = write(train=table("train"), test=table("test"))
    for split, name in [(split, name) for split in ("train", "val") for name in "ab"]:
        (folder / split / name).mkdir(parents=True)
        (folder / split / name / "x.png").write_bytes(png(PIXELS["test"][0]))
    assert load(folder).class_names == ("a", "b")


def test_a_run_is_that_on_the_same_arrays(folder, tmp_path):
    arrays = {f"x_{split}": own for split, own in PIXELS.items()}
    arrays |= {f"y_{split}": own for split, own in LABELS.items()}
    np.savez(tmp_path / "birds.npz", **arrays, classes=NAMES)
    (tmp_path / "tiny.yaml").write_text(TINY)
    records = []
    for place in (folder, tmp_path / "birds.npz"):
        output = tmp_path / f"runs_{place.name}"
        flags = ["--dataset", "birds", "--output-dir", str(output), "--data-path", str(place)]
        recipe = ["--views", "cifar", "--epochs", "1", "--recipe", str(tmp_path / "tiny.yaml")]
        train_teacher.main([*flags, *recipe, "--cell", "T1w"])
        (record,) = (output / "birds/T1w/seed1/epochs.jsonl").read_text().splitlines()
        records.append({split: json.loads(record)[split] for split in ("train", "validation")})
    assert records[0] == records[1]


NO_BYTES = [{"bytes": None, "path": "0.png"}] * 30
REFUSED = {
    "paths alone": ({"image": pa.array(NO_BYTES, pa.struct({"bytes": pa.binary()}))}, "no bytes"),
    "no images": ({"image": [0.5] * 30}, "has the columns image, label: images are needed"),
    "text": ({"image": [{"bytes": "png"}] * 30}, "images are needed as structs"),
    "no labels": ({"label": ["owl"] * 30}, "name the one of class numbers 'label', for 0"),
    "a label missing": ({"label": [None, *range(29)]}, "a row has no label"),
    "unlabelled": ({"label": [-1] * 30}, "class numbers begin at 0"),
    "more classes": ({"label": list(range(30))}, "the labels are of 30"),
    "other names": ({"names": ["auk", "owl", "emu"]}, "differ in their columns or classes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_data_set_is_refused(name, write):
    changes, words = REFUSED[name]
    with pytest.raises(UserError, match=words):
        load(write(train=table("train", **changes), test=table("test")))


def test_two_columns_that_might_be_labels_are_refused(write):
    tables = {split: table(split, called=("image", "a"), b=LABELS[split]) for split in LABELS}
    with pytest.raises(UserError, match=r"columns image, a, b: name the one .* 'label', for 2"):
        load(write(**tables))


def test_an_empty_split_is_refused(write):
    with pytest.raises(UserError, match=r"the test split in .* has no images"):
        load(write(train=table("train"), test=table("test")[:0]), "test")


def test_files_that_lack_are_told(folder):
    (folder / "data/train-00001-of-00002.parquet").unlink()
    with pytest.raises(UserError, match="1 of 2 files of train"):
        load(folder)
    (folder / "data/train-00000-of-00002.parquet").unlink()
    with pytest.raises(UserError, match=r"no train-\*.parquet"):
        load(folder)


def test_a_damaged_image_is_named(write):
    files = [{"bytes": png(own)[:60], "path": ""} for own in PIXELS["test"]]
    images = load(write(train=table("train"), test=table("test", image=files)), "test")
    with pytest.raises(UserError, match=r"image 3 \(from 0\) of the test split in .*birds: "):
        images.subset(np.array([7, 3])).image(1)


def test_damaged_files_are_told_in_one_line(folder, capsys):
    path = folder / "data/train-00001-of-00002.parquet"
    whole = path.read_bytes()
    for damaged in (b"", b"PAR1", whole[:-50], whole[: len(whole) // 2], whole[:4] + whole[50:]):
        path.write_bytes(damaged)
        with pytest.raises(DamagedError, match=f"{path.name} is truncated or damaged"):
            load(folder)
    place = ["--data-path", str(folder), "--views", "cifar"]
    code = run_program(train_teacher.main, ["--dataset", "birds", "--cell", "T1w", *place])
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)


def test_any_changed_byte_is_refused_or_read(folder):
    """Without a crash, a hang or an exception of a library."""
    path = folder / "data/train-00001-of-00002.parquet"
    whole = path.read_bytes()
    for _ in range(60):
        changed = bytearray(whole)
        for place in RANDOM.integers(len(whole), size=4):
            changed[place] = RANDOM.integers(256)
        path.write_bytes(changed)
        try:
            images = load(folder)
            images.image(len(images) - 1)
        except UserError as error:
            assert "\n" not in str(error)


OF_LABEL = b'{"info": {"features": {"label": %s}}}'


@pytest.mark.parametrize(
    "told",
    [b"{", b"[]", b'{"info": 3}', OF_LABEL % b"[]", OF_LABEL % b'{"names": 3}', b"\xff"],
)
def test_damaged_descriptions_of_columns_are_told(told, write):
    said = {"huggingface": told}
    tables = {split: table(split).replace_schema_metadata(said) for split in LABELS}
    with pytest.raises(UserError, match="is damaged"):
        load(write(**tables))


def test_without_pyarrow_one_line_names_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="needs the package pyarrow: pip install pyarrow"):
        load(folder)
