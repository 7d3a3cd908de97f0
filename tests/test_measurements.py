"""The measuring commands on real runs, each number against another route to it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATASET, IMAGE_SIZE, inputs, run_copy
from matplotlib.figure import Figure
from PIL import Image

from Affinity import calculate_affinity, calculate_affinity_3T
from common.errors import UserError, run_program
from dataloader.datasets import load_split
from engine.cells import expand
from engine.checkpoint import load_model
from engine.run import Runs
from evaluation import calculate_agreement, calculate_ece, calculate_iou, report
from evaluation.grid import Grid
from evaluation.options import AgreementOptions, EvaluateOptions
from evaluation.results import publish
from evaluation.tables import Column, over_seeds, with_spread
from metrics.attention import class_activation_map, forward_with_features
from metrics.calibration import expected_calibration_error
from metrics.overlap import (
    binarize,
    intersection_over_union,
    packed_masks,
    pointing_hits,
    set_overlap,
)
from metrics.representations import linear_cka
from script import evaluate

ROOT = Path(__file__).parent.parent


@pytest.fixture
def flags(taught):
    return ["--dataset", DATASET, "--output-dir", str(taught.folder), "--device", "cpu"]


@pytest.fixture
def results(taught):
    return lambda name: json.loads((taught.folder / DATASET / f"{name}.json").read_text())


@pytest.fixture
def pixels(tmp_path):
    images = load_split(DATASET, "test", tmp_path)
    return inputs(images), torch.from_numpy(images.labels), images


def model(taught, cell):
    return load_model(taught.run(cell, 1).checkpoint("last"))[1]


def is_picture(path):
    with Image.open(path) as image:
        return min(image.size) > 200 and image.convert("L").getextrema() != (255, 255)


def test_calibration(taught, flags, results, pixels, capsys):
    calculate_ece.main(flags)
    out, err = capsys.readouterr()
    assert "T1s_T2s_Ss" in out
    assert "made by" in err
    assert f"DATASET={DATASET} bash script/cifar100.sh" in err
    images, labels, _ = pixels
    with torch.no_grad():
        logits = model(taught, "T1w_Sw")(images)
    row = next(row for row in results("ece") if row["cell"] == "T1w_Sw")
    assert row["ece"] == pytest.approx(expected_calibration_error(logits, labels), abs=1e-3)
    assert row["top1"] == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert row["top1_low"] <= row["top1"] <= row["top1_high"]
    bin_mean = expected_calibration_error(logits, labels, n_bins=10, weighting="bin")
    assert row["ece_bin_mean"] == pytest.approx(bin_mean, abs=1e-2)
    assert is_picture(taught.folder / DATASET / "ece.png")


def test_overlap_of_teachers_is_that_of_their_maps(taught, flags, results, pixels):
    calculate_iou.main([*flags, "--group", "T_T"])
    rows = {row["cell"]: row for row in results("iou_T_T")}
    assert set(rows) == {"T1w_T2w", "T1s_T2s"}
    images, _, data = pixels
    pair = [model(taught, cell) for cell in ("T1w", "T2w")]
    with torch.no_grad():
        target = sum(net(images) for net in pair).argmax(1)
    maps = [class_activation_map(net, images, target=target) for net in pair]
    masks = torch.stack([binarize(own, IMAGE_SIZE) for own in maps])
    row = rows["T1w_T2w"]
    assert row["iou"] == pytest.approx(intersection_over_union(masks), abs=2e-3)
    pooled = intersection_over_union(masks, pooled=True)
    assert row["iou_pooled"] == pytest.approx(pooled, abs=2e-3)
    assert row["iou_chance"] < row["iou"]
    assert row["iou_corrected_low"] < row["iou_corrected"] < row["iou_corrected_high"]
    objects = torch.from_numpy(data.masks)[:, ::2, ::2]  # at IMAGE_SIZE
    with_object = [intersection_over_union(torch.stack([own, objects])) for own in masks]
    assert row["object_iou"] == pytest.approx(sum(with_object) / 2, abs=2e-3)
    # As they are kept: in half precision neighbours tie, and the first of them counts.
    kept = [(own / own.abs().amax(dim=(1, 2), keepdim=True)).half() for own in maps]
    hits = [pointing_hits(own, objects).double().mean().item() for own in kept]
    assert row["pointing_game"] == pytest.approx(sum(hits) / 2, abs=5e-3)
    assert row["pointing_game_low"] <= row["pointing_game"] <= row["pointing_game_high"]
    assert is_picture(taught.folder / DATASET / "iou_T_T.png")
    assert is_picture(taught.folder / DATASET / "iou_T_T_maps_T1w_T2w_Sw.png")


@pytest.mark.parametrize("target", ["label", "predicted", "class_sum"])
def test_overlap_of_other_targets(taught, flags, results, pixels, target):
    name = f"iou_{target}"
    calculate_iou.main(
        [*flags, "--group", "T_S", "--cells", "1T", "--target", target, "--name", name]
    )
    (row,) = results(name)  # of one teacher, which is all of them
    assert (row["cell"], row["pair"]) == ("T1w_Sw", "T1w-S")
    images, labels, _ = pixels
    chosen = labels if target == "label" else target
    maps = [
        class_activation_map(model(taught, cell), images, target=chosen)
        for cell in ("T1w", "T1w_Sw")
    ]
    masks = torch.stack([binarize(own, IMAGE_SIZE) for own in maps])
    assert row["iou"] == pytest.approx(intersection_over_union(masks), abs=4e-3)


def test_overlap_with_the_student_has_a_row_for_all_teachers_and_for_each(
    taught, flags, results, pixels, capsys
):
    calculate_iou.main([*flags, "--group", "T_S", "--cells", "T1w_T2w_Sw", "--target", "label"])
    out = capsys.readouterr().out
    images, labels, _ = pixels
    cells = {"T1w": "T1w", "T2w": "T2w", "S": "T1w_T2w_Sw"}
    masks = {
        name: binarize(class_activation_map(model(taught, cell), images, target=labels), IMAGE_SIZE)
        for name, cell in cells.items()
    }
    rows = [row for row in results("iou_T_S") if "target=label" in row["asked"]]
    assert [row["pair"] for row in rows] == ["T1w_T2w-S", "T1w-S", "T2w-S"]
    for row in rows:
        of_pair = torch.stack([masks[name] for name in row["pair"].replace("-", "_").split("_")])
        assert row["iou"] == pytest.approx(intersection_over_union(of_pair), abs=4e-3)
        assert row["iou_low"] < row["iou"] < row["iou_high"]
        assert row["pair"] in out
    assert ["object_iou" in row for row in rows] == [True, False, False]
    heading = (taught.folder / DATASET / "iou_T_S.csv").read_text().split("\n")[0].split(",")
    assert heading[:4] == ["cell", "seed", "pair", "iou"]
    assert not [name for name in heading if name.startswith("iou_T")]


def test_a_model_is_binarised_once_for_all_groups_that_it_is_in(taught, flags, monkeypatch):
    made = []

    def counted(maps, size, **settings):
        made.append(maps)
        return packed_masks(maps, size, **settings)

    monkeypatch.setattr("metrics.overlap.packed_masks", counted)
    name = ["--name", "iou_shared"]
    calculate_iou.main([*flags, "--group", "T_S", "--cells", "T1w_T2w_Sw", *name])
    assert len(made) == 3
    made.clear()
    both = ["--cells", "T1w_Sw", "T1w_T2w_Sw", "--target", "label"]
    calculate_iou.main([*flags, "--group", "T_S", *both, *name])
    assert len(made) == 4  # of a label T1w's masks are those of both rows


def test_affinity_by_hand(taught, flags, results, pixels):
    calculate_affinity_3T.main([*flags, "--cells", "T1w", "T2s"])
    rows = {(row["cell"], row["view"]): row for row in results("affinity_3T")}
    assert set(rows) == {(cell, view) for cell in ("T1w", "T2s") for view in ("weak", "strong")}
    images, labels, _ = pixels
    with torch.no_grad():
        clean = (model(taught, "T1w")(images).argmax(1) == labels).double().mean().item()
    row = rows["T1w", "strong"]
    assert row["top1_test"] == pytest.approx(clean)
    assert row["affinity"] == pytest.approx(row["top1_view"] / row["top1_base"])
    assert row["affinity_to_test"] == pytest.approx(row["top1_view"] / clean)
    assert row["affinity_low"] <= row["affinity"] <= row["affinity_high"]
    assert row["top1_base"] == rows["T1w", "weak"]["top1_base"]
    assert row["diversity"] > 0
    assert is_picture(taught.folder / DATASET / "affinity_3T.png")


def test_agreement_with_oneself_and_with_the_ensemble(taught, flags, results, capsys):
    calculate_agreement.main([*flags, "--cells", "1T", "2T"])
    rows = {(row["cell"], row["pair"]): row for row in results("agreement")}
    pairs = [pair for cell, pair in rows if cell == "T1w_T2w_Sw"]
    assert pairs == ["T1w-S", "T2w-S", "ensemble-S", "T1w-T2w", "ensemble-T1w", "ensemble-T2w"]
    alone = rows["T1w_Sw", "T1w-S"], rows["T1w_Sw", "ensemble-S"]
    assert alone[0]["fidelity"] == alone[1]["fidelity"]  # one teacher is its own ensemble
    metrics = json.loads(taught.run("T1w_T2w_Sw", 1).metrics.read_text())["last"]["test"]
    row = rows["T1w_T2w_Sw", "ensemble-S"]
    assert row["fidelity"] == pytest.approx(metrics["fidelity_ensemble"], abs=0.004)
    assert row["kl_p_to_q_nats"] == pytest.approx(metrics["kl_ensemble_to_student_nats"], abs=1e-3)
    assert row["reference_kl_q_to_p_times_10"] == pytest.approx(10 * row["kl_q_to_p_nats"])


def test_representations_are_aligned_by_what_is_stored_and_by_the_models(
    taught, flags, results, pixels, capsys
):
    calculate_agreement.main([*flags, "--cells", "T1w_T2w_Sw"])
    assert "linear_cka" in capsys.readouterr().out
    report.main(flags[:4])
    rows = {row["pair"]: row for row in results("agreement") if row["cell"] == "T1w_T2w_Sw"}
    assert {pair for pair in rows if "linear_cka" in rows[pair]} == {"T1w-S", "T2w-S", "T1w-T2w"}
    (reported,) = (row for row in results("results") if row["cell"] == "T1w_T2w_Sw")
    cells = {"T1w": "T1w", "T2w": "T2w", "S": "T1w_T2w_Sw"}
    for pair in ("T1w-S", "T2w-S", "T1w-T2w"):
        p, q = (cells[name] for name in pair.split("-"))
        stored = [np.load(taught.run(c, 1).outputs / "test-test-features.npz") for c in (p, q)]
        found = rows[pair]["linear_cka"]
        assert found == linear_cka(*(own["values"] for own in stored))
        assert reported[f"linear_cka_{pair.replace('w', '').replace('-', '_')}"] == found
        maps = [forward_with_features(model(taught, cell), pixels[0])[1] for cell in (p, q)]
        pooled = [own.mean((2, 3)) for own in maps]
        assert found == pytest.approx(linear_cka(*pooled), abs=1e-5)
        assert 0 < found < 1
    page = (taught.folder / DATASET / "report" / "cells.md").read_text()
    assert "## Representations" in page
    assert "| T1 and T2 | T1 and S | T2 and S |" in page


def test_other_views_have_no_alignment(flags, results):
    calculate_agreement.main([*flags, "--cells", "1T", "--view", "strong", "--name", "strongly"])
    assert all("linear_cka" not in row for row in results("strongly"))


def test_everything_in_one_go_runs_each_model_once(taught, flags, capsys):
    cells = ["Sw", "T1w_Sw", "T1w_T2w_Sw"]
    for path in taught.folder.glob("*/*/*/outputs/*"):
        path.unlink()
    evaluate.main([*flags, "--cells", *cells])
    out = capsys.readouterr().out
    passes = [int(line.split()[2]) for line in out.splitlines() if line.startswith("forward")]
    beside = ("maps", "features")
    stored = taught.folder.glob("*/*/*/outputs/*.npz")
    made = [path for path in stored if not path.stem.endswith(beside)]
    # A teacher is asked about both splits under four views, and about the training images under the
    # students' view (at most 10,000 of them); a taught student about the test images under four and
    # the training images under two, Sw about the test images under four.
    assert sum(passes) == 2 * 9 + 2 * 6 + 4
    assert len(made) == sum(passes)
    assert "(a model over a split under a view; 0 repeated)" in out
    table = out[out.index("cell   ", out.index("diversity")) :]
    for column in ("ece", "iou_teachers", "iou_student", "affinity"):
        assert column in table
    evaluate.main([*flags, "--anew", "--cells", *cells])
    again = capsys.readouterr().out
    assert again.count("forward passes: 0") == len(passes)


def test_everything_in_one_go_is_all_that_is_finished(taught, tmp_path, capsys):
    run = run_copy(taught, tmp_path)
    where = ["--dataset", DATASET, "--output-dir", str(tmp_path / "runs"), "--workers", "0"]
    run("T1s").metrics.unlink()
    evaluate.main(where)
    err = capsys.readouterr().err
    assert "left out of all comparisons: T1s_T2s_Ss: not all of its teachers are finished" in err
    folder = tmp_path / "runs" / DATASET
    rows = {row["cell"]: row for row in json.loads((folder / "results.json").read_text())}
    assert {cell for cell, row in rows.items() if row.get("ece")} == {
        "T1w", "T2w", "T2s", "Sw", "T1w_Sw", "T1w_T2w_Sw"
    }  # fmt: skip
    asked = {row["asked"] for row in json.loads((folder / "agreement.json").read_text())}
    assert len(asked) == 5  # training images under the weak view too, that of all students
    row, last = rows["T1w_T2w_Sw"], run("T1w_T2w_Sw").read_metrics()["last"]["test"]
    assert row["fidelity_ensemble_test"] == pytest.approx(100 * last["fidelity_ensemble"], abs=0.4)
    agreement = json.loads((folder / "agreement.json").read_text())
    for name, words in (
        ("weak", "split=test view=weak"),
        ("strong", "split=test view=strong"),
        ("train", "split=train view=test"),
    ):
        for pair, short in (("ensemble-S", "ensemble"), ("T2w-S", "T2")):
            (measured,) = [
                own["fidelity"] for own in agreement
                if (own["cell"], own["pair"]) == ("T1w_T2w_Sw", pair) and words in own["asked"]
            ]  # fmt: skip
            assert row[f"fidelity_{short}_{name}"] == pytest.approx(100 * measured)
    (plain,) = [
        own for own in agreement
        if (own["cell"], own["pair"]) == ("T1w_T2w_Sw", "ensemble-S")
        and own["asked"] == AgreementOptions().asked
    ]  # fmt: skip
    assert row["fidelity_right"] == pytest.approx(100 * plain["fidelity_p_right"])
    assert row["entropy_ensemble_nats"] == pytest.approx(plain["entropy_p_nats"])
    page = (folder / "report" / "cells.md").read_text()
    assert "## Agreement with the teachers" in page and "training images, %" in page
    assert "<h3>Agreement with the teachers</h3>" in (folder / "report" / "index.html").read_text()
    assert "the claims were not judged" in err  # there are no strong students


def test_everything_in_one_go_asks_for_a_student(flags):
    with pytest.raises(UserError, match="name students"):
        evaluate.main([*flags, "--cells", "T1w"])


def test_report_joins_what_was_measured(taught, flags, results, capsys):
    calculate_iou.main([*flags, "--group", "T_S", "--cells", "2T"])
    report.main(flags[:4])
    capsys.readouterr()
    rows = {row["cell"]: row for row in results("results")}
    measured = {row["pair"]: row for row in results("iou_T_S") if row["cell"] == "T1w_T2w_Sw"}
    expected = measured["T1w_T2w-S"]["iou"]
    assert rows["T1w_T2w_Sw"]["iou_student"] == pytest.approx(expected)
    assert rows["Sw"].get("iou_student") is None


@pytest.mark.parametrize(
    ("dataset", "cells", "commands"),
    [
        ("CIFAR100", "T1w T1w_Sw", ["bash script/cifar100-T.sh", "bash script/cifar100.sh"]),
        ("CIFAR100", "T2w_Sw", ['CELLS="T2w_Sw" bash script/cifar100.sh']),
        ("CIFAR100", "T4w", ['CELLS="T4w" bash script/cifar100-T.sh']),
        ("CIFAR100", "T1w_T2w_T3w_Sw", ["bash script/3T_cifar100.sh"]),
        ("ImageNet", "Ss T1w_Sw", ['CELLS="Ss T1w_Sw" bash script/ImageNet.sh']),
        ("ImageNet", "T3w", ['CELLS="T3w" bash script/ImageNet-T.sh']),
        ("ImageNet", "T2w T1w_T2w_Sw", ["bash script/ImageNet-T.sh", "bash script/ImageNet.sh"]),
        ("own", "T2w_Sw", ['CELLS="T2w_Sw" DATASET=own bash script/cifar100.sh']),
    ],
)
def test_the_command_that_makes_what_is_missing_makes_it(
    dataset, cells, commands, tmp_path, capsys
):
    (tmp_path / dataset).mkdir()
    with pytest.raises(UserError, match="none of the cells"):
        Grid(Runs(tmp_path, dataset)).finished(expand(cells.split()), ())
    told = [line.split("made by ")[1] for line in capsys.readouterr().err.splitlines()]
    assert told == commands


@pytest.mark.parametrize(
    ("cells", "lines"),
    [
        ("T1w T2w_Sw", ['T1w, seed 2, made by SEEDS=2 bash script/cifar100-T.sh',
                        'T2w_Sw, seed 2, made by SEEDS=2 CELLS="T2w_Sw" bash script/cifar100.sh']),
        ("Sw", ["Sw, seed 2, made by SEEDS=2 bash script/cifar100.sh"]),
        ("T1w+x", ["T1w+x, seed 2, made by python train_teacher.py --dataset CIFAR100 --cell T1w+x "
                   "--seed 2 and its settings"]),
    ],
)  # fmt: skip
def test_the_command_is_of_the_seed_that_is_missing(cells, lines, tmp_path, capsys):
    """Though the first seed of every cell is there."""
    runs = Runs(tmp_path, "CIFAR100")
    for cell in expand(cells.split()):
        run = runs.of(cell, 1)
        run.path.mkdir(parents=True)
        run.config.write_text(f"cell: {cell}\nseed: 1\n")
        run.metrics.write_text('{"last": {}}')
    with pytest.raises(UserError, match="none of the cells"):
        Grid(runs).finished(expand(cells.split()), (2,))
    assert capsys.readouterr().err.splitlines() == [f"not there: {line}" for line in lines]
    assert len(Grid(runs).finished(expand(cells.split()), (1, 2))) == len(cells.split())
    assert "seed 2" in capsys.readouterr().err


def test_teachers_that_are_named_are_measured_with_those_of_students():
    named = evaluate._named(EvaluateOptions(cells=("T2w", "T1w_Sw")))
    assert [[str(cell) for cell in cells] for cells in named] == [["T2w", "T1w"], ["T1w_Sw"]]


def test_missing_runs_are_named_and_the_rest_is_measured(taught, flags, tmp_path, capsys):
    import shutil

    shutil.copytree(taught.folder, tmp_path / "runs")
    run = tmp_path / "runs" / DATASET / "T1w_Sw" / "seed1"
    (run / "metrics.json").unlink()
    where = ["--dataset", DATASET, "--output-dir", str(tmp_path / "runs")]
    calculate_ece.main([*where, "--cells", "0T", "1T"])
    out, err = capsys.readouterr()
    assert f"in progress, left out: {run}" in err
    assert "not there: 4 cells (Ss T1s_Ss T1s_Sw ...), made by" in err
    assert out.startswith("cell")

    shutil.rmtree(tmp_path / "runs" / DATASET / "T2w")
    calculate_iou.main([*where, "--cells", "2T"])
    out, err = capsys.readouterr()
    assert "left out: T1w_T2w_Sw, whose teacher T2w is not finished" in err
    assert [line.split()[0] for line in out.splitlines()[:2]] == ["cell", "T1s_T2s"]
    assert run_program(calculate_iou.main, [*where, "--cells", "T1w_T2w_Sw"]) == 2
    assert "no student with its teachers is finished" in capsys.readouterr().err


def test_nothing_to_measure(tmp_path):
    with pytest.raises(UserError, match="none of the cells asked for is finished"):
        calculate_ece.main(["--output-dir", str(tmp_path)])


def test_affinity_of_students_under_their_own_view_first(taught, flags, results, pixels):
    """The paper's measure, by hand; no pass over the training images for a student."""
    calculate_affinity.main([*flags, "--name", "students"])
    rows = results("students")
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    assert sorted(cells) == sorted(
        ["T1w", "T1s", "T2w", "T2s", "Sw", "T1w_Sw", "T1w_T2w_Sw", "T1s_T2s_Ss"]
    )
    first, second = (row for row in rows if row["cell"] == "T1s_T2s_Ss")
    assert (first["view"], second["view"]) == ("strong", "weak")
    _, labels, images = pixels
    student = model(taught, "T1s_T2s_Ss")
    with torch.no_grad():
        right = {
            view: (student(inputs(images, view)).argmax(1) == labels).double().mean().item()
            for view in ("strong", "base")
        }
    assert first["affinity"] == pytest.approx(right["strong"] / right["base"])
    assert {row["cell"] for row in rows if row["diversity"]} == {"T1w", "T1s", "T2w", "T2s"}


def test_affinity_as_a_user_types_it(taught, flags):
    for script in ("calculate_affinity.py", "calculate_affinity_3T.py"):
        run = subprocess.run(
            [sys.executable, f"Affinity/{script}", *flags, "--cells", "T1w"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert "affinity_to_test" in run.stdout


def test_a_set_in_chunks_is_the_set(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(40, 4, 4, generator=generator), torch.rand(40, 5, 5, generator=generator)]
    whole = set_overlap(maps, 16)
    monkeypatch.setattr("metrics.overlap.PIXELS_PER_CHUNK", 16 * 16 * 7)
    parts = set_overlap(maps, 16)
    torch.testing.assert_close(parts.per_image, whole.per_image)
    assert parts.pooled == pytest.approx(whole.pooled)
    assert parts.chance == pytest.approx(whole.chance, abs=0.05)
    masks = torch.stack([binarize(own, 16) for own in maps])
    assert whole.per_image.mean().item() == pytest.approx(intersection_over_union(masks))


def test_a_sorted_set_has_an_honest_chance_floor(monkeypatch):
    """Images of one class look alike; chunks in order would call that overlap chance."""
    patterns = torch.zeros(2, 4, 4)
    patterns[0, :2], patterns[1, 2:] = 1.0, 1.0
    maps = patterns.repeat_interleave(50, dim=0)
    monkeypatch.setattr("metrics.overlap.PIXELS_PER_CHUNK", 16 * 10)
    found = set_overlap([maps, maps], 4)
    assert found.per_image.mean().item() == 1.0
    assert found.chance == pytest.approx(0.5, abs=0.15)


def test_fewer_images_than_models_have_an_overlap_and_no_chance():
    maps = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    found = set_overlap(list(maps), 8)
    assert found.per_image.shape == (2,)
    assert found.chance is found.corrected is None


def test_seeds_gather_into_mean_and_spread():
    rows = [
        {"cell": "Sw", "seed": 1, "ece": 0.1, "note": "x"},
        {"cell": "Sw", "seed": 2, "ece": 0.3, "note": "x"},
        {"cell": "Ss", "seed": 1, "ece": 0.5, "note": "x"},
    ]
    weak, strong = over_seeds(rows)
    assert (weak["seeds"], strong["seeds"]) == (2, 1)
    assert weak["ece"] == pytest.approx(0.2)
    assert with_spread(weak, "ece", 3) == "0.200 ± 0.141"
    assert with_spread(strong, "ece", 1) == "0.5"
    assert "note" not in weak


def test_several_seeds_are_printed_one_by_one_and_together(tmp_path, capsys):
    rows = [{"cell": "Sw", "seed": k, "ece": 0.1 * k, "ece_low": 0.0} for k in (1, 3)]
    publish(tmp_path / "x", rows, [Column("ece"), Column("top1")], Figure(), "a note")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["cell", "seed", "ece"],
        ["Sw", "1", "0.100"],
        ["Sw", "3", "0.300"],
    ]
    assert lines[5].split() == ["Sw", "2", "0.200", "±", "0.141"]
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == "cell,seed,ece,ece_low"


def test_an_unknown_cell_is_one_line(flags, capsys):
    assert run_program(calculate_affinity.main, [*flags, "--cells", "T9x"]) == 2
    assert "unknown student cell 'T9x'" in capsys.readouterr().err
