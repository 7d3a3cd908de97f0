"""What the published programs print of three teachers, and of each bin of confidence."""

import json
import shutil

import pytest
import torch
from conftest import DATASET, Bench, inputs

from dataloader.datasets import load_split
from engine.checkpoint import load_model
from evaluation import calculate_agreement, calculate_ece, calculate_iou
from metrics.agreement import kl_divergence, top1_agreement
from metrics.attention import class_activation_map
from metrics.information import mutual_information
from metrics.overlap import binarize, intersection_over_union

CELL = "T1w_T2w_T3w_Sw"
SHORT = ("--max-train-images", 60)


@pytest.fixture(scope="module")
def three(taught, tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    for cell in ("T1w", "T2w"):
        shutil.copytree(taught.folder / DATASET / cell, folder / DATASET / cell)
    bench = Bench(folder, taught.recipe)
    bench.teacher("T3w", *SHORT)
    bench.student(CELL, *SHORT)
    return bench


@pytest.fixture(scope="module")
def flags(three):
    return ["--dataset", DATASET, "--output-dir", str(three.folder), "--device", "cpu"]


@pytest.fixture(scope="module")
def models(three):
    names = ("T1w", "T2w", "T3w", CELL)
    runs = [next((three.folder / DATASET / name).glob("seed*/last.pt")) for name in names]
    return dict(zip(("T1", "T2", "T3", "S"), (load_model(run)[1] for run in runs), strict=True))


@pytest.fixture(scope="module")
def images():
    return inputs(load_split(DATASET, "test", None))


def table(three, name):
    return json.loads((three.folder / DATASET / f"{name}.json").read_text())


def test_the_mean_of_two_against_the_third_and_the_student(three, flags, models, images):
    calculate_agreement.main([*flags, "--cells", "3T"])
    rows = {row["pair"]: row for row in table(three, "agreement")}
    others = {"T1w_T2w": "T3w", "T1w_T3w": "T2w", "T2w_T3w": "T1w"}
    expected = {f"{two}-{other}" for two, third in others.items() for other in (third, "S")}
    assert {name for name in rows if "_" in name} == expected
    with torch.no_grad():
        logits = {name: model(images) for name, model in models.items()}
    two = (logits["T1"] + logits["T2"]) / 2
    for other in ("T3", "S"):
        row, own = rows[f"T1w_T2w-{other.replace('T3', 'T3w')}"], logits[other]
        assert row["fidelity"] == pytest.approx(top1_agreement(two, own), abs=1e-6)
        assert row["kl_p_to_q_nats"] == pytest.approx(kl_divergence(two, own), abs=1e-4)
        information = mutual_information(two.argmax(1), own.argmax(1), 10, correction="grassberger")
        assert row["mutual_information_nats"] == pytest.approx(information, abs=1e-6)


def test_overlap_of_each_two_with_the_student(three, flags, models, images):
    calculate_iou.main([*flags, "--cells", "3T", "--group", "T_S", "--target", "label"])
    rows = {row["pair"]: row for row in table(three, "iou_T_S")}
    each, twos = ["T1w-S", "T2w-S", "T3w-S"], ["T1w_T2w-S", "T1w_T3w-S", "T2w_T3w-S"]
    assert list(rows) == ["T1w_T2w_T3w-S", *each, *twos]
    labels = torch.from_numpy(load_split(DATASET, "test", None).labels)
    masks = {
        name: binarize(class_activation_map(model, images, target=labels), images.shape[-1])
        for name, model in models.items()
    }
    for a, b in ("T1", "T2"), ("T1", "T3"), ("T2", "T3"):
        expected = intersection_over_union(torch.stack([masks[a], masks[b], masks["S"]]))
        assert rows[f"{a}w_{b}w-S"]["iou"] == pytest.approx(expected, abs=1e-3)


def test_bins_add_up_to_the_error(three, flags):
    calculate_ece.main([*flags, "--cells", CELL, "--bins", "5"])
    calculate_ece.main([*flags, "--cells", "T1w", "--bins", "5"])  # keeps the rows of the first
    bins = [row for row in table(three, "ece_bins") if row["cell"] == CELL]
    (row,) = (row for row in table(three, "ece") if row["cell"] == CELL)
    assert [own["low"] for own in bins] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert [own["high"] for own in bins] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    filled = [own for own in bins if own["images"]]
    images = sum(own["images"] for own in bins)
    error = sum(own["images"] * abs(own["accuracy"] - own["confidence"]) for own in filled) / images
    assert error == pytest.approx(row["ece"])
    right = sum(own["images"] * own["accuracy"] for own in filled) / images
    assert right == pytest.approx(row["top1"])
    assert all(own["accuracy"] is None for own in bins if not own["images"])
