"""Images that cannot be read: an error by default, left out and counted on demand."""

import json
import shutil

import numpy as np
import pytest
from conftest import Bench
from PIL import Image

import train_student
from common.errors import UserError, run_program
from dataloader.images import FileImageSet
from dataloader.loader import ViewLoader
from dataloader.views import imagenet_view
from engine.cells import parse_cell
from engine.run import Runs
from evaluation import calculate_ece, report
from evaluation.options import MeasureOptions
from evaluation.outputs import OutputStore


def photographs(folder, classes=2, each=6):
    """A small ImageNet: train/<wnid>/ and val/<wnid>/ with images of noise of one colour."""
    random = np.random.RandomState(0)
    for split in ("train", "val"):
        for c in range(classes):
            (folder / split / f"n{c:08d}").mkdir(parents=True)
            for i in range(each):
                pixels = random.randint(0, 128, (40, 48, 3)) + np.array([0, 127 * c, 0])
                path = folder / split / f"n{c:08d}" / f"{split}_{i}.JPEG"
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


def corrupt(path):
    path.write_bytes(path.read_bytes()[:200])


def file_set(folder):
    names = sorted(path.relative_to(folder).as_posix() for path in folder.glob("train/*/*.JPEG"))
    labels = [int(name.split("/")[1][1:]) for name in names]
    return FileImageSet.of(folder, zip(names, labels, strict=True), ("n00000000", "n00000001"))


def loader(images, **how):
    return ViewLoader(images, imagenet_view("weak", 32), seed=0, batch_size=4, **how)


def by_index(loader):
    return {
        int(i): view
        for index, views, _ in loader.epoch(0)
        for i, view in zip(index, views, strict=True)
    }


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("workers", [0, 2])
class TestLoader:
    def test_the_first_bad_image_is_named_in_one_line(self, tmp_path, workers):
        bad = photographs(tmp_path) / "train" / "n00000001" / "train_2.JPEG"
        corrupt(bad)
        with pytest.raises(UserError) as error:
            list(loader(file_set(tmp_path), workers=workers).epoch(0))
        assert str(bad) in str(error.value)
        assert "--on-bad-image skip" in str(error.value)
        assert "\n" not in str(error.value)

    def test_skipped_images_are_counted_and_the_others_unchanged(self, tmp_path, workers):
        photographs(tmp_path)
        images = file_set(tmp_path)
        whole = by_index(loader(images))
        for k in (4, 5, 6, 7):  # the second batch, whole
            corrupt(images.path(k))
        corrupt(images.path(8))
        skipping = loader(images, workers=workers, on_bad_image="skip")
        for _ in range(2):  # counted for each pass, not added up
            seen = by_index(skipping)
            assert skipping.skipped == 5
        assert sorted(seen) == [0, 1, 2, 3, 9, 10, 11]
        assert all((seen[i] == whole[i]).all() for i in seen)


@pytest.fixture
def bench(tmp_path, tiny_recipe):
    photographs(tmp_path / "data")

    class ImageNetBench(Bench):
        def flags(self, cell, *flags):
            where = ["--dataset", "ImageNet", "--data-path", str(tmp_path / "data")]
            return [*super().flags(cell, "--batch-size", 4, *flags), *where]

    return ImageNetBench(tmp_path / "runs", tiny_recipe)


def finished(bench, cell):
    return json.loads((bench.folder / "ImageNet" / cell / "seed1" / "metrics.json").read_text())


def test_a_run_records_what_it_left_out_and_is_measured_on_the_rest(bench, tmp_path, capsys):
    corrupt(tmp_path / "data" / "train" / "n00000000" / "train_1.JPEG")
    corrupt(tmp_path / "data" / "val" / "n00000000" / "val_3.JPEG")
    skip = ("--on-bad-image", "skip")
    bench.teacher("T1w", *skip)
    bench.student("T1w_Sw", *skip)
    last = finished(bench, "T1w_Sw")["last"]
    lines = (bench.folder / "ImageNet" / "T1w_Sw" / "seed1" / "epochs.jsonl").read_text()
    record = json.loads(lines.splitlines()[-1])
    assert record["skipped_images"] == {"train": 1, "validation": 1}
    assert last["test"]["top1"] * 11 == pytest.approx(round(last["test"]["top1"] * 11))

    where = ["--dataset", "ImageNet", "--data-path", str(tmp_path / "data")]
    where += ["--output-dir", str(bench.folder), "--cells", "T1w_Sw"]
    calculate_ece.main(where)  # what it skipped in training it skips here too
    (row,) = json.loads((bench.folder / "ImageNet" / "ece.json").read_text())
    assert row["top1"] == pytest.approx(last["test"]["top1"])
    assert (
        run_program(calculate_ece.main, [*where, "--on-bad-image", "error", "--view", "weak"]) == 2
    )
    assert "val_3.JPEG" in capsys.readouterr().err


def test_outputs_without_the_skipped_images_still_fit_their_maps(bench, tmp_path):
    bench.teacher("T1w")
    bench.student("T1w_Sw")
    corrupt(tmp_path / "data" / "val" / "n00000000" / "val_3.JPEG")
    store = OutputStore(
        MeasureOptions(dataset="ImageNet", data_path=str(tmp_path / "data"), on_bad_image="skip")
    )
    run = Runs(bench.folder, "ImageNet").of(parse_cell("T1w_Sw"), 1)
    for kept in (store.answers(run), store.maps(run)):
        assert kept.index.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]
        assert kept.labels.tolist() == [0] * 5 + [1] * 6
        assert len(kept.logits) == 11


def test_by_default_a_bad_image_stops_the_run(bench, tmp_path, capsys):
    bad = tmp_path / "data" / "train" / "n00000000" / "train_1.JPEG"
    corrupt(bad)
    assert run_program(train_student.main, bench.flags("Sw", "--workers", 1)) == 2
    error = capsys.readouterr().err
    assert str(bad) in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("pattern", "spared", "message"),
    [
        ("train/*/*", 0, "too few images to train on: of 12 only 0 can be read"),
        ("train/*/*", 1, "too few images to train on: of 12 only 1 can be read"),
        ("val/*/*", 0, "too few images to test on: of 12 only 0 can be read"),
    ],
)
def test_too_few_that_can_be_read_are_told_before_training(
    bench, tmp_path, capsys, pattern, spared, message
):
    for path in sorted((tmp_path / "data").glob(pattern))[spared:]:
        corrupt(path)
    assert run_program(train_student.main, bench.flags("Sw", "--on-bad-image", "skip")) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "cannot read the image" in error
    assert error.count("\n") == 1
    assert not (bench.folder / "ImageNet" / "Sw").exists()


def test_an_epoch_goes_on_with_few_that_can_be_read(bench, tmp_path):
    """Of three batches one has a single image, one none, one two."""
    for path in sorted((tmp_path / "data").glob("train/*/*"))[3:]:
        corrupt(path)
    net = ("--arch", "shufflenet_v2_x0_5", "--image-size", 32, "--epochs", 2)
    bench.student("Sw", "--on-bad-image", "skip", *net)
    assert finished(bench, "Sw")["last"]["epoch"] == 2


def test_measures_of_no_readable_image_are_refused(bench, tmp_path, capsys):
    bench.student("Sw", "--epochs", 1)
    for path in (tmp_path / "data").glob("val/*/*"):
        corrupt(path)
    where = ["--dataset", "ImageNet", "--data-path", str(tmp_path / "data"), "--cells", "Sw"]
    where += ["--output-dir", str(bench.folder), "--on-bad-image", "skip", "--view", "weak"]
    assert run_program(calculate_ece.main, where) == 2
    assert "none of 12 images can be read" in capsys.readouterr().err


def test_what_is_measured_without_bad_images_is_in_the_report(bench, tmp_path):
    bench.student("Sw", "--epochs", 1)
    corrupt(min((tmp_path / "data").glob("val/*/*")))
    where = ["--dataset", "ImageNet", "--output-dir", str(bench.folder)]
    skip = ["--data-path", str(tmp_path / "data"), "--cells", "Sw", "--on-bad-image", "skip"]
    calculate_ece.main([*where, *skip])
    report.main(where)
    (row,) = json.loads((bench.folder / "ImageNet" / "results.json").read_text())
    assert 0 <= row["ece"] <= 1


def test_a_missing_data_root_is_named(bench, tmp_path, capsys):
    shutil.rmtree(tmp_path / "data")
    assert run_program(train_student.main, bench.flags("Sw")) == 2
    assert "--data-path" in capsys.readouterr().err
