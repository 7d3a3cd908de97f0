"""Models from elsewhere: files of outputs, joined, measured, and refused where they are unclear."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATASET
from PIL import Image

import metrics
from common.errors import UserError, run_program
from evaluation.measure import main
from evaluation.model_files import named_files

ROOT = Path(__file__).parent.parent
N, C = 120, 4


def softmax(logits):
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def truth():
    """Labels, and the outputs and maps of three models."""
    random = np.random.default_rng(0)
    labels = random.integers(0, C, N)
    signal = 2 * np.eye(C)[labels]
    maps = random.random((N, 4, 4), np.float32)
    return {
        "labels": labels,
        **{f"logits_{k}": signal + random.normal(size=(N, C)) for k in "abc"},
        **{f"maps_{k}": maps + random.random((N, 4, 4), np.float32) for k in "abc"},
    }


@pytest.fixture
def made(truth, tmp_path):
    """Writes a model's file of the arrays given, a change of None leaving one out; its path."""

    def write(name, model="a", **changes):
        arrays = {"logits": truth[f"logits_{model}"], "labels": truth["labels"], **changes}
        kept = {key: value for key, value in arrays.items() if value is not None}
        np.savez(tmp_path / f"{name}.npz", **kept)
        return tmp_path / f"{name}.npz"

    return write


@pytest.fixture
def measured(tmp_path):
    """Runs the command; the rows of its tables, by the models' names."""

    def run(*words):
        main([*map(str, words), "--output-dir", str(tmp_path / "out")])
        read = {kind: tmp_path / "out" / f"{kind}.json" for kind in ("models", "pairs")}
        rows = {kind: json.loads(own.read_text()) for kind, own in read.items() if own.exists()}
        models = {row["model"]: row for row in rows["models"]}
        return models, {(row["p"], row["q"]): row for row in rows.get("pairs", [])}

    return run


def test_the_numbers_are_those_of_the_library(truth, made, measured):
    models, pairs = measured(made("a"), made("b", "b"))
    a, b, labels = truth["logits_a"], truth["logits_b"], truth["labels"]
    row = models["a"]
    assert row["top1"] == metrics.top1_accuracy(a, labels)
    assert row["ece"] == metrics.expected_calibration_error(a, labels)
    assert (row["ece_low"], row["ece_high"]) == metrics.bootstrap_calibration_error(a, labels)
    nll = metrics.negative_log_likelihood_per_sample(a, labels)
    assert row["nll_nats"] == pytest.approx(nll.mean().item())
    ensemble = metrics.ensemble_logits(np.stack([a, b]))
    assert models["ensemble"]["top1"] == metrics.top1_accuracy(ensemble, labels)
    assert set(pairs) == {("a", "b"), ("ensemble", "a"), ("ensemble", "b")}
    pair = pairs["a", "b"]
    assert pair["fidelity"] == metrics.top1_agreement(a, b)
    assert pair["kl_p_to_q_nats"] == pytest.approx(metrics.kl_divergence(a, b))
    assert pair["kl_q_to_p_nats"] == pytest.approx(metrics.kl_divergence(b, a))
    predicted = a.argmax(1), b.argmax(1)
    assert pair["cohen_kappa"] == metrics.cohen_kappa(*predicted)
    both = [own == labels for own in predicted]
    assert pair["error_consistency"] == metrics.error_consistency(*both)
    assert pair["chance_floor_nats"] == metrics.mutual_information_chance_floor(*predicted)
    ends = (pair["mutual_information_nats_low"], pair["mutual_information_nats_high"])
    assert ends == metrics.mutual_information_interval(*predicted, correction="grassberger")
    assert pairs["ensemble", "b"]["fidelity"] == metrics.top1_agreement(ensemble, b)


def test_the_student_is_measured_against_the_others(made, measured, capsys):
    words = [made("a"), made("b", "b"), made("c", "c"), "--student", "b"]
    _, pairs = measured(*words)
    assert list(pairs) == [
        ("a", "b"), ("c", "b"), ("ensemble", "b"),
        ("a", "c"), ("ensemble", "a"), ("ensemble", "c"),
    ]  # fmt: skip
    assert "mean logits of all but b" in capsys.readouterr().out
    one_teacher = measured(*words[:2], "--student", "b")
    assert list(one_teacher[1]) == [("a", "b")]
    assert "ensemble" not in one_teacher[0]


def test_tables_are_written_in_latex_when_asked(made, measured, tmp_path):
    measured(made("a_1"), made("b", "b"), "--latex")
    assert r"a\_1 & " in (tmp_path / "out" / "models.tex").read_text()
    assert r"ensemble & b & " in (tmp_path / "out" / "pairs.tex").read_text()


def test_a_model_alone_has_no_pairs(made, measured, tmp_path):
    models, pairs = measured(made("a"))
    assert list(models) == ["a"]
    assert not pairs
    with Image.open(tmp_path / "out" / "reliability.png") as diagram:
        assert min(diagram.size) > 200


def test_maps_overlap_at_the_images_size(truth, made, measured):
    files = [made(k, k, maps=truth[f"maps_{k}"], image_size=20) for k in "ab"]
    row = measured(*files)[1]["a", "b"]
    expected = metrics.set_overlap([truth["maps_a"], truth["maps_b"]], 20)
    assert row["iou"] == expected.per_image.mean().item()
    assert (row["iou_chance"], row["iou_pooled"]) == (expected.chance, expected.pooled)
    assert row["constant_maps"] == 0
    smaller = measured(*files, "--image-size", 8, "--threshold", 0.6)[1]["a", "b"]
    expected = metrics.set_overlap([truth["maps_a"], truth["maps_b"]], 8, threshold=0.6)
    assert smaller["iou"] == expected.per_image.mean().item()


def test_features_are_aligned(truth, made, measured, capsys):
    features = {k: truth[f"logits_{k}"][:, :3] for k in "ab"}
    _, pairs = measured(*(made(k, k, features=features[k]) for k in "ab"), made("c", "c"))
    assert pairs["a", "b"]["linear_cka"] == metrics.linear_cka(*features.values())
    assert "linear_cka" not in pairs["a", "c"]
    index, mixed = np.arange(N), np.random.default_rng(0).permutation(N)
    again = made("a", "a", features=features["a"], index=index)
    other = {"logits": truth["logits_b"][mixed], "labels": truth["labels"][mixed]}
    joined = made("b", **other, features=features["b"][mixed], index=mixed)
    assert measured(again, joined)[1]["a", "b"] == pairs["a", "b"]
    capsys.readouterr()
    _, pairs = measured(*(made(k, k, features=np.ones((N, 2))) for k in "ab"))
    assert "linear_cka" not in pairs["a", "b"]
    assert "no CKA: a and b: x: the features tell no samples apart" in capsys.readouterr().err


def test_maps_of_two_kinds_are_never_compared(truth, made, measured, capsys):
    kinds = {"a": "Grad-CAM", "b": "CAM", "c": "CAM"}
    files = [made(k, k, maps=truth[f"maps_{k}"], maps_kind=kinds[k]) for k in "abc"]
    _, pairs = measured(*files)
    assert {names for names, row in pairs.items() if row.get("iou")} == {("b", "c")}
    assert pairs["b", "c"]["maps"] == "CAM"
    assert "not compared: maps of a (Grad-CAM) and of b (CAM)" in capsys.readouterr().err


def test_constant_maps_are_counted(truth, made, measured, capsys):
    flat = truth["maps_a"].copy()
    flat[: N // 2] = 1
    files = [made("a", maps=flat), made("b", "b", maps=truth["maps_b"])]
    assert measured(*files)[1]["a", "b"]["constant_maps"] == 0.25
    assert "constant maps: 25% of a and b" in capsys.readouterr().err


def test_probabilities_are_logits_once_more(truth, made, measured, capsys):
    probabilities = softmax(truth["logits_b"])
    probabilities[0] = [1, 0, 0, 0]
    logits = np.log(probabilities.clip(1e-12))
    of_logits = measured(made("a"), made("b", logits=logits))
    of_both = measured(made("a"), made("b", logits=None, probabilities=probabilities))
    for wanted, found in zip(of_logits, of_both, strict=True):
        assert all(found[key] == pytest.approx(wanted[key]) for key in wanted)
    assert "3 under 1e-12 were taken as 1e-12" in capsys.readouterr().out


def test_half_precision_is_what_it_says(truth, made, measured):
    half = truth["logits_a"].astype(np.float16)
    of_half, _ = measured(made("a", logits=half))
    of_single, _ = measured(made("a", logits=half.astype(np.float32)))
    assert of_half == of_single


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f8"])
def test_an_npy_file_is_mapped_into_memory(truth, tmp_path, measured, kind):
    for k in "ab":
        np.save(tmp_path / f"{k}.npy", truth[f"logits_{k}"].astype(kind))
    np.save(tmp_path / "y.npy", truth["labels"].astype(np.uint8))
    files = [tmp_path / "a.npy", tmp_path / "b.npy"]
    models, pairs = measured(*files, "--npy", "logits", "--labels", tmp_path / "y.npy")
    a, b = (truth[f"logits_{k}"].astype(kind) for k in "ab")
    assert models["a"]["top1"] == metrics.top1_accuracy(a, truth["labels"])
    assert pairs["a", "b"]["fidelity"] == metrics.top1_agreement(a, b)


def test_an_index_joins_what_is_in_another_order(truth, made, measured, tmp_path):
    maps = {k: truth[f"maps_{k}"] for k in "ab"}
    expected = measured(*(made(k, k, maps=maps[k]) for k in "ab"))
    order = np.random.default_rng(1).permutation(N)
    names = np.array([f"image{k:03}" for k in range(N)])
    for index in (np.arange(N), names):
        shuffled = made(
            "b", logits=truth["logits_b"][order], labels=truth["labels"][order],
            maps=maps["b"][order], index=index[order],
        )  # fmt: skip
        assert measured(made("a", maps=maps["a"], index=index), shuffled) == expected
    np.save(tmp_path / "y.npy", truth["labels"])
    alone = made(
        "b", logits=truth["logits_b"][order], labels=None, index=order, maps=maps["b"][order]
    )
    first = made("a", maps=maps["a"], index=np.arange(N), labels=None)
    assert measured(first, alone, "--labels", tmp_path / "y.npy") == expected


def test_a_subset_is_taken_when_it_is_allowed(truth, made, measured, capsys):
    few = slice(10, 100)
    index = np.arange(N)
    parts = {key: truth[key][few] for key in ("logits_b", "labels", "maps_b")}
    files = [
        made("a", index=index, maps=truth["maps_a"]),
        made("b", logits=parts["logits_b"], labels=parts["labels"], index=index[few],
             maps=parts["maps_b"]),
    ]  # fmt: skip
    with pytest.raises(UserError, match="90 of 120 are in all: --allow-subset"):
        measured(*files)
    row = measured(*files, "--allow-subset")[1]["a", "b"]
    assert row["fidelity"] == metrics.top1_agreement(truth["logits_a"][few], parts["logits_b"])
    wanted = metrics.set_overlap([truth["maps_a"][few], parts["maps_b"]], 224)
    assert row["iou"] == wanted.per_image.mean().item()
    assert "30 of 120 images are not in all files" in capsys.readouterr().out


def test_classes_in_another_order_are_put_right(truth, made, measured):
    expected = measured(made("a"), made("b", "b"))
    names, order = np.array(["cat", "dog", "eel", "fox"]), np.array([2, 0, 3, 1])
    other = made(
        "b", logits=truth["logits_b"][:, order], labels=order.argsort()[truth["labels"]],
        classes=names[order],
    )  # fmt: skip
    assert measured(made("a", classes=names), other) == expected


def test_without_labels_there_is_agreement_alone(truth, made, measured, tmp_path):
    models, pairs = measured(made("a", labels=None), made("b", "b", labels=None))
    assert set(models["a"]) == {"model", "entropy_nats"}
    row = pairs["a", "b"]
    assert row["fidelity"] == metrics.top1_agreement(truth["logits_a"], truth["logits_b"])
    assert "cohen_kappa" in row
    assert not (tmp_path / "out" / "reliability.png").exists()
    _, labelled = measured(made("a"), made("b", "b"))
    of_labels = {"error_consistency", "fidelity_p_right", "fidelity_p_wrong", "only_p_right",
                 "only_q_right", "wrong_apart", "top1_q_minus_p_points"}  # fmt: skip
    assert set(labelled["a", "b"]) - set(row) == of_labels


def test_a_student_alone_is_refused(made, measured):
    with pytest.raises(UserError, match="--student a is the only model"):
        measured(made("a"), "--student", "a")


def test_stored_outputs_of_a_checkpoint_are_read(taught, measured):
    from evaluation import calculate_iou

    flags = ["--dataset", DATASET, "--output-dir", str(taught.folder), "--device", "cpu"]
    calculate_iou.main([*flags, "--group", "T_T", "--cells", "T1w_T2w_Sw", "--name", "of_two"])
    (row,) = json.loads((taught.folder / DATASET / "of_two.json").read_text())
    runs = [taught.run(f"T{k}w", 1) for k in (1, 2)]
    files = [f"T{k}={run.outputs / 'test-test.npz'}" for k, run in enumerate(runs, start=1)]
    _, pairs = measured(*files)
    assert pairs["T1", "T2"]["maps"] == "CAM"
    assert pairs["T1", "T2"]["iou"] == row["iou"]
    stored = [np.load(run.outputs / "test-test-features.npz")["values"] for run in runs]
    assert pairs["T1", "T2"]["linear_cka"] == metrics.linear_cka(*stored)


def test_names_tell_files_apart(tmp_path):
    for folder in ("x/s1", "y/s1"):
        (tmp_path / folder).mkdir(parents=True)
    paths = [tmp_path / "x/s1/out.npz", tmp_path / "y/s1/out.npz"]
    given = tuple(map(str, paths))
    assert list(named_files(given)) == ["x/s1/out", "y/s1/out"]
    assert named_files((f"net={paths[0]}", str(paths[1]))) == {"net": paths[0], "out": paths[1]}
    for twice in (
        (given[0], given[0]),
        ("n=a.npz", "n=b.npz"),
        ("out=a.npz", given[0]),
        ("x=a.npz", "x=a.npz", "y=b.npz"),
        ("x=a.npz", "y=a.npz"),
    ):
        with pytest.raises(UserError, match="NAME=FILE"):
            named_files(twice)


def broken(changes):
    return lambda truth: {"logits": truth["logits_a"], "labels": truth["labels"], **changes(truth)}


def at(array, place, value, dtype=None):
    changed = np.array(array, dtype)
    changed[place] = value
    return changed


REFUSED = {
    "nothing": (lambda t: {"logits": None, "x": np.zeros(3)}, "and neither logits nor prob"),
    "both": (lambda t: {"probabilities": softmax(t["logits_a"])}, "logits and probabilities"),
    "nan": (lambda t: {"logits": at(t["logits_a"], (7, 1), np.nan)}, "row 7 hold a NaN"),
    "overflow": (
        lambda t: {"logits": at(t["logits_a"], (3, 0), np.inf, np.float16)},
        "row 3 hold an infinity: save them in float32",
    ),
    "one class": (lambda t: {"logits": np.zeros((N, 1))}, "1 classes: too few"),
    "no images": (lambda t: {"logits": np.zeros((0, C)), "labels": None}, "0 images"),
    "integers": (lambda t: {"logits": np.zeros((N, C), int)}, "floating point"),
    "one row": (lambda t: {"logits": np.zeros(C)}, "floating point of shape"),
    "objects": (lambda t: {"logits": np.array([[1.0, {}]], object)}, "damaged .Object arrays"),
    "logits called probabilities": (
        lambda t: {"logits": None, "probabilities": t["logits_a"]}, "are negative: are they logits",
    ),
    "probabilities of 1.002": (
        lambda t: {"logits": None, "probabilities": 1.002 * softmax(t["logits_a"])},
        "row 0 add up to 1.002",
    ),
    "soft labels": (lambda t: {"labels": np.eye(C)[t["labels"]]}, "one class number an image"),
    "floating labels": (lambda t: {"labels": t["labels"] * 1.0}, "integers are needed"),
    "fewer labels": (lambda t: {"labels": t["labels"][1:]}, "119 for 120 rows"),
    "a label too high": (lambda t: {"labels": at(t["labels"], 0, C)}, "4 is none of .* 0 to 3"),
    "a negative label": (lambda t: {"labels": at(t["labels"], 0, -1)}, "-1 is none of"),
    "index twice": (lambda t: {"index": at(np.arange(N), 1, 0)}, "index: 0 stands twice"),
    "index of floats": (lambda t: {"index": np.arange(N) / 2}, "number or text each"),
    "short index": (lambda t: {"index": np.arange(9)}, "index: 9 for 120"),
    "classes twice": (lambda t: {"classes": np.array(list("abca"))}, "classes: 'a' stands twice"),
    "maps of classes": (lambda t: {"maps": np.zeros((N, C, 2, 2))}, "maps are float64 of shape"),
    "maps of NaN": (lambda t: {"maps": at(t["maps_a"], 5, np.nan)}, "maps of row 5 hold a NaN"),
    "features": (lambda t: {"features": np.zeros((N, 2), int)}, "features are int64 of shape"),
    "image_size": (lambda t: {"maps": t["maps_a"], "image_size": -1}, "image_size is -1"),
}  # fmt: skip


def test_labels_may_be_a_column(truth, made, measured):
    (column,) = measured(made("a", labels=truth["labels"][:, None]))[0].values()
    (row,) = measured(made("a"))[0].values()
    assert column == row


def test_arrays_of_other_names_are_told(truth, made, measured, capsys):
    measured(made("a", labels=None, targets=truth["labels"]))
    printed = capsys.readouterr().out
    assert "a.npz: not used: targets" in printed
    assert "no labels, so nothing is said of accuracy and calibration" in printed


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_unclear_is_refused(name, truth, made, measured, tmp_path):
    changes, words = REFUSED[name]
    file = made("bad", **changes(truth))
    with pytest.raises(UserError, match=words) as refusal:
        measured(file, made("b", "b"))
    assert "bad" in str(refusal.value)
    assert not (tmp_path / "out").exists()


OF_TWO = {
    "other labels": (lambda t: {"labels": (t["labels"] + 1) % C}, {}, "other labels"),
    "other order": (lambda t: {"labels": t["labels"][::-1]}, {}, "in another order"),
    "fewer images": (
        lambda t: {"logits": t["logits_b"][1:], "labels": None}, {}, "a 120, b 119: give each",
    ),
    "fewer classes": (
        lambda t: {"logits": t["logits_b"][:, 1:], "labels": None}, {}, "classes: a 4, b 3",
    ),
    "no index": (lambda t: {}, {"index": np.arange(N)}, "b has no index"),
    "index of another kind": (
        lambda t: {"index": np.arange(N).astype(str)}, {"index": np.arange(N)}, "text in some",
    ),
    "no image in common": (
        lambda t: {"index": np.arange(N) + N}, {"index": np.arange(N)}, "no image in common",
    ),
    "no classes": (lambda t: {}, {"classes": np.arange(C)}, "b has no classes"),
    "other classes": (
        lambda t: {"classes": np.array(list("abcx"))}, {"classes": np.array(list("abcd"))},
        "different classes: 'd'",
    ),
    "other sizes": (
        lambda t: {"maps": t["maps_b"], "image_size": 32},
        {"maps": np.zeros((N, 2, 2)), "image_size": 64}, "give --image-size",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_TWO)
def test_files_that_do_not_fit_each_other_are_refused(name, truth, made, measured, tmp_path):
    changes, of_first, words = OF_TWO[name]
    other = made("b", **{"logits": truth["logits_b"], **changes(truth)})
    with pytest.raises(UserError, match=words):
        measured(made("a", **of_first), other)
    assert not (tmp_path / "out").exists()


def test_nothing_of_other_models_is_left(truth, made, measured, tmp_path):
    """Of an earlier call into the same folder."""
    folder = tmp_path / "out"
    measured(made("a"), made("b", "b"), "--latex")
    assert {"reliability.png", "pairs.csv", "pairs.json", "pairs.tex", "models.tex"} <= {
        path.name for path in folder.iterdir()
    }
    unlabelled = tmp_path / "c.npz"
    np.savez(unlabelled, logits=truth["logits_a"])
    measured(unlabelled)
    assert {path.name for path in folder.iterdir()} == {"models.csv", "models.json"}


def test_names_of_images_may_be_bytes_and_a_key_ones_own(made, measured, tmp_path):
    names = np.array([f"é{k}".encode() for k in range(N)])
    maps = np.random.default_rng(0).random((N, 2, 2))
    files = [made(name, index=names, key=names, maps=maps) for name in "ab"]
    _, pairs = measured(*files)
    assert pairs["a", "b"]["iou"] == 1
    with pytest.raises(UserError, match="no UTF-8"):
        measured(made("c", index=np.array([bytes([200, k]) for k in range(N)])))


def test_labels_of_their_own_must_be_the_same(truth, made, measured, tmp_path):
    np.save(tmp_path / "y.npy", truth["labels"][::-1])
    with pytest.raises(UserError, match=r"y\.npy and a differ in"):
        measured(made("a"), "--labels", tmp_path / "y.npy")
    np.savez(tmp_path / "y.npz", labels=truth["labels"], index=np.arange(N) + 5)
    with pytest.raises(UserError, match=r"y\.npz has no label of some"):
        measured(made("a", index=np.arange(N)), "--labels", tmp_path / "y.npz")
    with pytest.raises(UserError, match=r"y\.npz has an index"):
        measured(made("a"), "--labels", tmp_path / "y.npz")


COMMANDS = {
    "": "name files of outputs",
    "gone.npz": "there is no file",
    ".": "is a folder",
    "a.pt": "name its outputs by one of the two",
    "text.npz": "neither an .npz nor an .npy",
    "cut.npz": "truncated or damaged",
    "a.npy": "--npy logits or --npy probabilities",
    "a.npz --student z": "--student z is none of a",
    "ensemble.npz": "name the file otherwise",
}


@pytest.mark.parametrize("words", COMMANDS)
def test_the_command_refuses_in_one_line(words, made, truth, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made("ensemble")
    whole = made("a").read_bytes()
    Path("cut.npz").write_bytes(whole[: len(whole) // 2])
    Path("text.npz").write_text("no zip")
    np.save("a.npy", truth["logits_a"])
    torch.save({"w": torch.ones(2)}, "a.pt")
    assert run_program(main, words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert COMMANDS[words] in error
    assert not Path("measured").exists()


def test_help_and_wrong_flags_load_no_torch():
    code = (
        "import sys; from common.errors import run_program; from evaluation.measure import main;"
        "print(run_program(main, ['a.npz', '--student']), 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "2 False\n", run.stderr
