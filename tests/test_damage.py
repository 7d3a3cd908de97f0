"""A run's own files after bit rot or an editor: noticed, named, and told what to do."""

import contextlib
import dataclasses
import json
import math
import os
import shutil

import numpy as np
import pytest
import torch
from conftest import DATASET, Bench
from PIL import Image

import train_teacher
from common.checked_zip import read_npz
from common.errors import DamagedError, UserError, run_program
from common.files import append_line
from common.settings import LARGEST_INTEGER
from dataloader.image_list import read_list
from dataloader.images import read_rgb
from dataloader.make_long_tail_list import make_lists
from engine import checkpoint
from engine.config import StudentConfig, TeacherConfig
from engine.flags import resolve
from engine.records import SEAL
from evaluation import report
from evaluation.options import AffinityOptions, AgreementOptions, CalibrationOptions, OverlapOptions


@pytest.fixture
def bench(taught, tmp_path):
    """A copy of a finished teacher, free to be damaged."""
    shutil.copytree(taught.run("T1w", 1).path.parent, tmp_path / f"runs/{DATASET}/T1w")
    return Bench(tmp_path / "runs", taught.recipe)


@pytest.fixture
def unfinished(bench):
    """The same, with its last epoch to do."""
    run = bench.run("T1w", 1)
    run.metrics.unlink()
    return run


def refused(program, argv, capsys):
    assert run_program(program, list(map(str, argv))) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
    return error


def flipped(content, bit):
    content = bytearray(content)
    content[bit // 8] ^= 1 << bit % 8
    return bytes(content)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_no_flipped_bit_of_a_checkpoint_becomes_a_weight(taught, tmp_path):
    """One in the padding between members changes nothing and may pass."""
    whole = taught.run("T1w", 1).checkpoint("last")
    content = whole.read_bytes()
    header, state = checkpoint.load(whole)
    path, passed = tmp_path / "last.pt", 0
    bits = np.random.default_rng(0).integers(0, 8 * len(content), 300)
    for bit in bits:
        path.write_bytes(flipped(content, int(bit)))
        try:
            found, loaded = checkpoint.load(path)
        except UserError as error:
            assert "last.pt" in str(error)
            continue
        passed += 1
        assert found == header
        assert same(loaded["model"], state["model"])
    assert passed < 30


def test_no_flipped_bit_of_a_record_becomes_a_figure(taught, tmp_path):
    run = taught.run("T1w", 1)
    copy = dataclasses.replace(run, path=tmp_path)
    epochs, metrics = run.read_epochs(3), run.read_metrics()
    for path, read, whole in (
        (copy.epochs, lambda: copy.read_epochs(3), epochs),
        (copy.metrics, copy.read_metrics, metrics),
    ):
        content = (run.path / path.name).read_bytes()
        for bit in range(0, 8 * len(content), 7):
            path.write_bytes(flipped(content, bit))
            try:
                found = read()
            except UserError as error:
                assert path.name in str(error)
            else:
                seals = [data.count(f'"{SEAL}"'.encode()) for data in (content, path.read_bytes())]
                assert found == whole or seals[1] < seals[0]  # then it is an older run's


def test_records_older_than_the_seal_are_read(taught, tmp_path):
    run = dataclasses.replace(taught.run("T1w", 1), path=tmp_path)
    bare = taught.run("T1w", 1).read_metrics()
    run.metrics.write_text(json.dumps(bare))
    assert run.read_metrics() == bare


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", "[1, 2]"),
        ("config.yaml", "epochs: 9" + "9" * 5000),
        ("config.yaml", "image_size: -3"),
        ("config.yaml", "milestones: {a: b}"),
        ("config.yaml", "\0"),
        ("environment.json", "[]"),
        ("environment.json", '{"teachers": []}'),
        ("environment.json", '{"teachers": {"T1w": {}}}'),
        ("environment.json", '{"sessions": 3}'),
        ("environment.json", "\udc80"),
        ("epochs.jsonl", "[]\n[]\n[]\n"),
        ("epochs.jsonl", '{"epoch": 1}\n'),
        ("epochs.jsonl", "NaN\n"),
        ("epochs.jsonl", "1" * 5000 + "\n"),
        ("epochs.jsonl", ""),
    ],
)
def test_a_damaged_record_stops_the_run(bench, unfinished, capsys, name, content):
    (unfinished.path / name).write_text(content, errors="surrogateescape")
    error = refused(train_teacher.main, bench.flags("T1w"), capsys)
    assert name in error
    assert "--resume never" in error


@pytest.mark.parametrize("content", ["", "{}", "[1]", "1" * 5000, "[" * 100_000])
def test_a_result_that_is_not_whole_is_no_result(bench, content):
    run = bench.run("T1w", 1)
    run.metrics.write_text(content)
    assert not run.is_finished()


def test_a_damaged_result_stops_the_report(bench, capsys):
    path = bench.run("T1w", 1).metrics
    path.write_text('{"cell": "T1w", "seed": 1, "selected_on": "test", "last": 3, "best": 3}')
    where = ["--dataset", DATASET, "--output-dir", bench.folder]
    error = refused(report.main, where, capsys)
    assert str(path) in error
    assert "train the cell again" in error


def test_a_figure_changed_by_hand_is_noticed(bench, capsys):
    path = bench.run("T1w", 1).metrics
    metrics = json.loads(path.read_text())
    metrics["last"]["test"]["top1"] = 0.999
    path.write_text(json.dumps(metrics))
    where = ["--dataset", DATASET, "--output-dir", bench.folder]
    assert "not what was written" in refused(report.main, where, capsys)


def edited(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(header=3),
        lambda c: c["header"].update(epoch="3"),
        lambda c: c["header"].update(epoch=-1),
        lambda c: c["header"].update(num_classes=10**9),
        lambda c: c["header"].pop("arch"),
        lambda c: c["header"].update(more=1),
        lambda c: c.pop("best_epoch"),
        lambda c: c.update(best_epoch=99),
        lambda c: c.update(best_epoch="1"),
        lambda c: c.pop("optimizer"),
        lambda c: c.update(optimizer=torch.ones(3)),
        lambda c: c["optimizer"].pop("state"),
        lambda c: c["optimizer"]["param_groups"].clear(),
        lambda c: c["optimizer"]["param_groups"][0].update(momentum=0.5),
        lambda c: c["optimizer"]["param_groups"][0]["params"].pop(),
        lambda c: c["optimizer"]["state"][0].update(momentum_buffer=torch.ones(1)),
        lambda c: c["optimizer"]["state"][0].update(momentum_buffer=torch.ones(1).expand(10**12)),
        lambda c: c["optimizer"]["state"].update({999: {}}),
        lambda c: c["model"].popitem(),
        lambda c: c["model"].update({"fc.bias": torch.full((10,), torch.nan)}),
        lambda c: c["model"].update({"fc.bias": torch.ones(10).to_sparse()}),
        lambda c: c["model"].update({"fc.bias": [0.0] * 10}),
        lambda c: c["model"].update({"fc.bias": torch.ones(1).expand(10**12)}),
        lambda c: c["model"].update({3: torch.ones(1)}),
    ],
)
def test_a_checkpoint_changed_by_hand_is_refused(bench, unfinished, capsys, change):
    path = unfinished.checkpoint("last")
    edited(path, change)
    error = refused(train_teacher.main, bench.flags("T1w"), capsys)
    assert "last.pt" in error or "epochs.jsonl" in error


def test_a_refused_file_brings_no_advice_to_load_it_unguarded(tmp_path):
    path = tmp_path / "module.pt"
    torch.save({"header": {}, "model": torch.nn.Linear(1, 1)}, path)  # a pickled class
    for read in (checkpoint.load, checkpoint.load_model):
        with pytest.raises(UserError) as error:
            read(path)
        assert "weights_only" not in str(error.value)
        assert "safe" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"index": np.arange(3.0)}, "not 1 of int64"),
        ({"index": np.arange(4).reshape(2, 2)}, "has 2 dimensions"),
        ({"index": np.array([print], object)}, "Object arrays cannot be loaded"),
        ({"logits": np.full((4, 3), np.nan, np.float32)}, "a NaN"),
        ({"logits": np.full((4, 3), np.inf, np.float32)}, "an infinity"),
        ({"logits": None}, "logits.npy"),
    ],
)
def test_arrays_are_of_their_type_and_finite(tmp_path, changes, reason):
    arrays = {"index": np.arange(3), "logits": np.ones((4, 3), np.float32)} | changes
    np.savez(tmp_path / "a.npz", **{k: v for k, v in arrays.items() if v is not None})
    kinds = {"index": ("int64", 1), "logits": ("float32", 2), "more": ("float32", 0)}

    def read():
        return read_npz(tmp_path / "a.npz", kinds, optional=("more",))

    if reason is None:
        assert all(np.array_equal(read()[name], arrays[name]) for name in arrays)
        return
    with pytest.raises(DamagedError, match=reason):
        read()


def test_a_missing_file_of_arrays_is_a_damaged_one(tmp_path):
    with pytest.raises(DamagedError, match=r"no\.npz"):
        read_npz(tmp_path / "no.npz", {})


class TestImages:
    """Ghostscript leaves a mark where it is started, whether it is installed or not."""

    @pytest.fixture
    def ghostscript(self, tmp_path, monkeypatch):
        mark = tmp_path / "started"
        for name in ("gs", "gswin32c", "ghostscript"):
            program = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\necho started > {mark}\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
        monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
        return mark

    def test_postscript_starts_no_program(self, tmp_path, ghostscript):
        path = tmp_path / "bad.png"
        path.write_text(
            "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
        )
        with pytest.raises(UserError, match="none of JPEG, PNG"):
            read_rgb(path)
        assert not ghostscript.exists()
        with Image.open(path) as image, contextlib.suppress(Exception):  # as it was
            image.load()
        assert ghostscript.exists()

    @pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "bmp", "gif", "ppm", "tiff"])
    def test_the_formats_of_data_sets_are_read(self, tmp_path, kind):
        path = tmp_path / "image.JPEG"
        Image.new("RGB", (8, 6), (10, 200, 30)).save(path, kind)
        image = read_rgb(path)
        assert (image.mode, image.size) == ("RGB", (8, 6))
        assert np.abs(np.asarray(image, int) - (10, 200, 30)).max() < 12

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(UserError, match="is a pipe, socket or device"):
            read_rgb(tmp_path / "pipe.png")


NUMBERS = [
    (options, setting)
    for options in (
        TeacherConfig, StudentConfig, AgreementOptions, CalibrationOptions, OverlapOptions,
        AffinityOptions,
    )
    for setting in dataclasses.fields(options)
    if setting.type.split(" ")[0] in ("int", "float", "tuple[int,", "tuple[float,")
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "setting"), NUMBERS, ids=[f"{o.__name__}-{s.name}" for o, s in NUMBERS]
)
def test_every_number_has_a_range(options, setting):
    lowest = min(0, setting.metadata["bounds"].at_least or 0)
    wrong = [math.nan, math.inf, -math.inf, lowest - 1e-9]
    wrong += [-1, LARGEST_INTEGER + 1, 10**5000] if "int" in setting.type else []
    for number in wrong:
        given = (number,) if setting.type.startswith("tuple") else number
        with pytest.raises(UserError) as error:
            options(**{setting.name: given})
        assert len(str(error.value)) < 200


@pytest.mark.parametrize("text", ["9" * 5000, "nan", "inf", "-1", "1e400", "0x10", ""])
@pytest.mark.parametrize("flag", ["--epochs", "--lr", "--batch-size", "--workers", "--decay"])
def test_flags_that_are_no_such_number(flag, text, capsys):
    with pytest.raises(UserError):
        resolve(StudentConfig, ["--cell", "Sw", "--dataset", "synthetic", f"{flag}={text}"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": float("inf")}, {"alpha": float("nan")}, {"alpha": -1.0}, {"alpha": 0.0},
        {"seed": -1}, {"seed": 2**32}, {"validation_per_class": -5}, {"largest": 0},
        {"smallest": 0}, {"largest": 10**30},
    ],
    ids=str,
)  # fmt: skip
def test_long_tail_lists_of_no_such_size(tmp_path, wrong):
    with pytest.raises(UserError, match="--"):
        make_lists(tmp_path, tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png " + "1" * 5000, "is out of range 0 to 9"),
        ("a.png -1", "is not `path label`"),
        ("a.png 1.0", "is not `path label`"),
        ("a\0b.png 1", "is not `path label`"),
        ("x" * 100_000 + " 1", "too long"),
        ("\xff\xfe", "is not `path label`"),
    ],
)
def test_lists_that_are_none(tmp_path, text, message):
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as error:
        read_list(path, 10)
    assert len(str(error.value)) < 500


def test_a_full_disk_is_told_with_the_path(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*gone/log\.txt: "):
        append_line(tmp_path / "gone" / "log.txt", "a line")
