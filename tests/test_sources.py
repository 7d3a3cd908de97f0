"""Measures ask a model about its own run's images and views, unless a flag says otherwise."""

import json

import numpy as np
import pytest
import torch
import yaml
from conftest import DATASET, IMAGE_SIZE, Bench, inputs, run_copy
from PIL import Image

import evaluation.outputs
from dataloader.datasets import load_split
from dataloader.subsets import split_holdout
from engine.checkpoint import load_model
from evaluation import calculate_agreement, calculate_ece, calculate_iou
from evaluation.options import MeasureOptions
from evaluation.outputs import OutputStore
from metrics.agreement import top1_agreement
from metrics.attention import class_activation_map
from metrics.overlap import binarize, intersection_over_union


@pytest.fixture
def bench(tmp_path, tiny_recipe):
    return Bench(tmp_path / "runs", tiny_recipe)


@pytest.fixture
def runs(taught, tmp_path):
    return run_copy(taught, tmp_path)


def store_of(**options):
    return OutputStore(MeasureOptions(dataset=DATASET, **options))


def rows(folder, name):
    return json.loads((folder / DATASET / f"{name}.json").read_text())


def where(folder):
    return ["--dataset", DATASET, "--output-dir", str(folder), "--device", "cpu"]


def listed(tmp_path, count):
    """A list of the first `count` embedded training images, written as files."""
    images = load_split("synthetic", "train", tmp_path)
    lines = []
    for k in range(count):
        Image.fromarray(images.images[k]).save(tmp_path / f"{k}.png")
        lines.append(f"{k}.png {images.labels[k]}\n")
    (tmp_path / "own.txt").write_text("".join(lines))
    return tmp_path / "own.txt"


def test_a_runs_own_training_list_is_what_it_is_measured_on(bench, tmp_path):
    own = listed(tmp_path, 30)
    run = bench.teacher("T1w", "--epochs", 1, "--train-list", own, "--data-path", tmp_path)
    assert len(store_of().answers(run, split="train").labels) == 30
    shorter = listed(tmp_path, 12)
    assert len(store_of(train_list=str(shorter)).answers(run, split="train").labels) == 12


def test_a_test_list_is_what_a_run_selects_and_is_measured_on(bench, tmp_path):
    flags = ["--epochs", 1, "--data-path", tmp_path]
    run = bench.teacher("T1w", *flags, "--test-list", listed(tmp_path, 30))
    best = json.loads(run.metrics.read_text())["best"]["test"]
    answers = store_of().answers(run)
    assert len(answers.labels) == 30
    assert best["top1"] == pytest.approx(
        (answers.logits.argmax(1) == answers.labels).float().mean()
    )
    assert len(store_of().answers(run, split="train").labels) > 30
    shorter = listed(tmp_path, 12)
    assert len(store_of(test_list=str(shorter)).answers(run).labels) == 12
    assert len(store_of(test_list=str(shorter), max_images=5).answers(run).labels) == 5
    calculate_ece.main([*where(bench.folder), "--cells", "T1w", "--test-list", str(shorter)])
    share = rows(bench.folder, "ece")[0]["top1"] * 12
    assert share == pytest.approx(round(share))


def test_what_a_run_held_out_is_not_its_training_set(bench, tmp_path):
    run = bench.teacher("T1w", "--epochs", 1, "--holdout-fraction", 0.2)
    labels = load_split(DATASET, "train", tmp_path).labels
    kept, _ = split_holdout(labels, 0.2)
    measured = store_of().answers(run, split="train").labels
    assert measured.tolist() == labels[kept].tolist()
    assert len(store_of(holdout_fraction=0.0).answers(run, split="train").labels) == len(labels)


def test_long_tailed_columns_come_from_the_runs_own_list(bench, tmp_path):
    labels = [0] * 101 + [1] * 30 + [2] * 5
    names = [f"{k}.png" for k in range(len(labels))]
    for name in names:
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    pairs = zip(names, labels, strict=True)
    (tmp_path / "tail.txt").write_text("".join(f"{n} {k}\n" for n, k in pairs))
    flags = ["--train-list", tmp_path / "tail.txt", "--data-path", tmp_path, "--epochs", 1]
    run = bench.teacher("T1w", *flags)
    assert store_of().sources.shot_groups(run).tolist() == [0, 1] + [2] * 8


def test_a_strong_view_is_as_strong_as_in_the_run(bench):
    run = bench.student("Ss+s0.5", "--epochs", 1, "--strength", 0.5)
    images = load_split(DATASET, "test", None)
    with torch.no_grad():
        expected = load_model(run.checkpoint("last"))[1](inputs(images, "strong", strength=0.5))
    found = store_of().answers(run, view="strong").logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_teachers_are_asked_about_the_students_images(bench):
    teacher = bench.teacher("T1w", "--epochs", 1)
    student = bench.student("T1w_Sw", "--epochs", 1, "--holdout-fraction", 0.2)
    calculate_agreement.main([*where(bench.folder), "--split", "train", "--cells", "1T"])
    store = store_of()
    own = store.answers(student, split="train")
    heard = store.answers(teacher, split="train", like=student)
    row = next(row for row in rows(bench.folder, "agreement") if row["pair"] == "T1w-S")
    assert row["fidelity"] == pytest.approx(top1_agreement(own.logits, heard.logits))
    # Its answers to its own images have a file of their own.
    assert len(store.answers(teacher, split="train").labels) > len(heard.labels)
    assert len(list(teacher.outputs.glob("train-test*.npz"))) == 2


def test_agreement_and_overlap_under_any_view_of_any_split(runs, tmp_path):
    flags = [*where(tmp_path / "runs"), "--split", "train", "--view", "strong"]
    flags += ["--cells", "T1w_T2w_Sw", "--name", "there"]
    images = load_split(DATASET, "train", tmp_path)
    pixels, labels = inputs(images, "strong"), torch.from_numpy(images.labels)
    nets = [load_model(runs(cell).checkpoint("last"))[1] for cell in ("T1w", "T2w")]
    with torch.no_grad():
        logits = [net(pixels) for net in nets]
    calculate_agreement.main(flags)
    row = next(row for row in rows(tmp_path / "runs", "there") if row["pair"] == "T1w-T2w")
    assert row["fidelity"] == pytest.approx(top1_agreement(*logits))
    calculate_iou.main([*flags, "--name", "overlap", "--target", "label"])
    (row,) = rows(tmp_path / "runs", "overlap")
    maps = [class_activation_map(net, pixels, target=labels) for net in nets]
    masks = torch.stack([binarize(own, IMAGE_SIZE) for own in maps])
    assert row["iou"] == pytest.approx(intersection_over_union(masks), abs=4e-3)
    assert "object_iou" not in row  # the view moved the objects


def test_a_quick_look_says_so(runs, tmp_path, capsys):
    flags = [*where(tmp_path / "runs"), "--cells", "T1w"]
    calculate_ece.main(flags)
    whole = store_of().answers(runs("T1w"))
    calculate_ece.main([*flags, "--max-images", "50"])
    assert "at most 50 evenly spaced test images" in capsys.readouterr().out
    full, quick = rows(tmp_path / "runs", "ece")
    assert "max_images=50" in quick["asked"]
    chosen = np.linspace(0, len(whole.labels) - 1, 50).round()
    assert quick["top1"] == pytest.approx(whole.correct[chosen].double().mean().item())
    assert full["top1"] == pytest.approx(whole.correct.double().mean().item())


def test_without_logits_calibration_is_the_same_and_agreement_has_what_it_can(
    runs, tmp_path, monkeypatch
):
    flags = [*where(tmp_path / "runs"), "--cells", "T1w_T2w_Sw"]
    calculate_ece.main(flags)
    calculate_agreement.main(flags)
    (ece,), agreement = rows(tmp_path / "runs", "ece"), rows(tmp_path / "runs", "agreement")
    monkeypatch.setattr(evaluation.outputs, "LOGIT_BYTES", 0)
    for cell in ("T1w", "T2w", "T1w_T2w_Sw"):
        (runs(cell).outputs / "test-test.npz").unlink()
    calculate_ece.main([*flags, "--name", "ece_bare"])
    calculate_agreement.main([*flags, "--name", "agreement_bare"])
    assert store_of().answers(runs("T1w")).logits is None
    (bare,) = rows(tmp_path / "runs", "ece_bare")
    assert bare == ece
    by_pair = {row["pair"]: row for row in agreement}
    found = rows(tmp_path / "runs", "agreement_bare")
    assert [row["pair"] for row in found] == ["T1w-S", "T2w-S", "T1w-T2w"]
    for row in found:
        assert row["fidelity"] == by_pair[row["pair"]]["fidelity"]
        assert row["mutual_information_nats"] == by_pair[row["pair"]]["mutual_information_nats"]
        assert "kl_p_to_q_nats" not in row


def test_calibration_reads_no_maps(runs, tmp_path, capsys):
    flags = [*where(tmp_path / "runs"), "--cells", "T1w"]
    calculate_ece.main(flags)
    (runs("T1w").outputs / "test-test-maps.npz").write_bytes(b"not read")
    capsys.readouterr()
    calculate_ece.main(flags)
    assert "forward passes: 0" in capsys.readouterr().out


def test_fewer_maps_take_less_room(runs, tmp_path, capsys):
    flags = [*where(tmp_path / "runs"), "--cells", "T1w_T2w_Sw"]
    calculate_iou.main([*flags, "--maps", "20"])
    small = (runs("T1w").outputs / "test-test-maps.npz").stat().st_size
    assert len(store_of(maps=20).maps(runs("T1w")).index) == 20
    calculate_iou.main(flags)
    assert (runs("T1w").outputs / "test-test-maps.npz").stat().st_size > 10 * small


def test_no_maps_at_all(runs, tmp_path):
    calculate_ece.main([*where(tmp_path / "runs"), "--cells", "T1w", "--maps", "0"])
    assert not (runs("T1w").outputs / "test-test-maps.npz").exists()


def test_outputs_in_memory_are_bounded(runs, monkeypatch):
    store = store_of()
    first = store.answers(runs("T1w"))
    assert store.answers(runs("T1w")) is first
    monkeypatch.setattr(evaluation.outputs, "HELD_BYTES", 1)
    store.answers(runs("T2w"))
    again = store.answers(runs("T1w"))
    assert again is not first
    assert torch.equal(again.logits, first.logits)
    assert len(store.forward_passes) == 2


def test_views_are_computed_by_as_many_processes_as_in_the_run(runs):
    run = runs("T1w")
    config = yaml.safe_load(run.config.read_text())
    run.config.write_text(yaml.safe_dump(config | {"workers": 2}))
    for options, expected in (({}, 2), ({"workers": 0}, 0)):
        sources = store_of(**options).sources
        loader = sources.loader(run, sources.of(run), "test", "test")
        assert loader._loader.num_workers == expected


def test_a_pass_says_where_it_is_without_a_terminal(runs, monkeypatch, capsys):
    monkeypatch.setattr("engine.progress.LINE_SECONDS", 0.0)
    store_of(batch_size=100).answers(runs("T1w"))
    assert "batch 1/5" in capsys.readouterr().out


def test_a_training_list_does_not_load_the_test_split(tmp_path, monkeypatch):
    own = listed(tmp_path, 5)
    asked = []
    monkeypatch.setattr("dataloader.synthetic._rendered", asked.append)
    images = load_split("synthetic", "train", tmp_path, train_list=own)
    assert (len(images), images.num_classes, asked) == (5, 10, [])
