"""Nets from elsewhere on a folder of images: what the command says is what the functions say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATASET
from PIL import Image
from torch import nn

import metrics
from common.errors import UserError, run_program
from dataloader.folder import load_folder
from dataloader.views import IMAGENET_STATISTICS, imagenet_view
from evaluation.measure import main
from evaluation.nets import check_classifier
from metrics.attention import ClassMaps, forward_with_features
from metrics.gradient_maps import grad_cam
from models.registry import build_model

CLASSES, EACH, SIZE = 3, 4, 64


def net(arch, seed, classes=CLASSES):
    torch.manual_seed(seed)
    return build_model(arch, classes).eval()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of class folders, and the weights of four nets."""
    root, random = tmp_path_factory.mktemp("nets"), np.random.default_rng(0)
    for k in range(CLASSES * EACH):
        path = root / f"images/class{k // EACH}/{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (70, 80, 3), np.uint8)).save(path)
    for arch in ("resnet8", "mobilenet_v3_small"):
        for seed in range(2):
            name = f"{arch[0]}{seed}"
            torch.save({"state_dict": net(arch, seed).state_dict()}, root / f"{name}.pt")
    return root


@pytest.fixture
def measured(place, tmp_path, monkeypatch):
    """Runs the command in that folder; the rows of pairs by the models' names."""
    monkeypatch.chdir(place)

    def run(*words, images="images"):
        where = ["--images", images, "--image-size", SIZE, "--output-dir", tmp_path / "out"]
        main(["--models", *map(str, (*words, *where)), "--device", "cpu", "--workers", "0"])
        rows = json.loads((tmp_path / "out" / "pairs.json").read_text())
        return {(row["p"], row["q"]): row for row in rows}

    return run


def inputs(place):
    images, view = load_folder(place / "images"), imagenet_view("test", SIZE)
    seen = [view(images.image(k), torch.Generator()) for k in range(len(images))]
    return IMAGENET_STATISTICS.normalise(torch.stack(seen)), images.labels


def overlap(maps, size=SIZE):
    return metrics.set_overlap(maps, size).per_image.mean().item()


def test_class_maps_of_the_ensembles_class_are_compared(place, measured, tmp_path):
    row = measured("r0.pt:resnet8", "r1.pt:resnet8")["r0", "r1"]
    x, labels = inputs(place)
    nets = [net("resnet8", seed) for seed in range(2)]
    with torch.no_grad():
        logits = [own(x) for own in nets]
    target = metrics.ensemble_logits(torch.stack(logits)).argmax(1)
    maps = [metrics.class_activation_map(own, x, target=target) for own in nets]
    assert row["fidelity"] == metrics.top1_agreement(*logits)
    assert row["iou"] == pytest.approx(overlap(maps), abs=1e-3)
    assert row["maps"] == "CAM"
    means = [forward_with_features(own, x)[1].mean((2, 3)) for own in nets]
    assert row["linear_cka"] == pytest.approx(metrics.linear_cka(*means), abs=1e-5)
    models = json.loads((tmp_path / "out" / "models.json").read_text())
    assert models[0]["top1"] == metrics.top1_accuracy(logits[0], labels)


def test_nets_without_class_maps_are_compared_by_gradients(place, measured, capsys):
    words = [f"m{seed}.pt:mobilenet_v3_small" for seed in range(2)]
    pairs = measured(*words, "small=r0.pt:resnet8")
    assert pairs["m0", "m1"]["maps"] == "Grad-CAM"
    assert "iou" not in pairs["m0", "small"]
    assert "not compared: maps of m0 (Grad-CAM) and of small (CAM)" in capsys.readouterr().err
    pairs = measured(*words, "small=r0.pt:resnet8", "--grad-cam")
    x, _ = inputs(place)
    nets = [net("mobilenet_v3_small", 0), net("mobilenet_v3_small", 1), net("resnet8", 0)]
    with torch.no_grad():
        target = metrics.ensemble_logits(torch.stack([own(x) for own in nets])).argmax(1)
    before = ClassMaps("avgpool", None, before=True)
    maps = [grad_cam(own, x, target=target, source=before) for own in nets]
    assert pairs["m0", "small"]["maps"] == "Grad-CAM"
    assert pairs["m0", "small"]["iou"] == pytest.approx(overlap([maps[0], maps[2]]), abs=1e-3)


def test_nets_whose_classifier_is_not_found_are_named(place, measured, capsys):
    torch.save(net("squeezenet1_1", 0).state_dict(), place / "s.pt")
    pairs = measured("s.pt:squeezenet1_1", "r0.pt:resnet8", "again=r0.pt:resnet8")
    assert {pair for pair in pairs if "linear_cka" in pairs[pair]} == {("r0", "again")}
    assert pairs["r0", "again"]["linear_cka"] == pytest.approx(1)
    said = "no CKA: no linear layer is seen to make the logits of s\n"
    assert said in capsys.readouterr().err


def test_features_of_some_images_alone_are_kept(measured, monkeypatch):
    from evaluation import nets as module

    every = measured("r0.pt:resnet8", "r1.pt:resnet8")["r0", "r1"]["linear_cka"]
    monkeypatch.setattr(module, "MOST_FEATURES", 6)
    some = measured("r0.pt:resnet8", "r1.pt:resnet8")["r0", "r1"]["linear_cka"]
    assert some != every


def test_maps_of_some_images_alone_are_made(measured):
    words = ["r0.pt:resnet8", "r1.pt:resnet8", "--maps"]
    rows = [measured(*words, most)["r0", "r1"] for most in (0, 4)]
    assert "iou" not in rows[0]
    assert rows[1]["iou"] > 0


def test_files_of_outputs_join_nets_by_their_paths(place, measured, tmp_path):
    x, labels = inputs(place)
    with torch.no_grad():
        logits = net("resnet8", 1)(x).numpy()
    images = load_folder(place / "images")
    index = np.array([images.relative_path(k) for k in range(len(images))])
    np.savez(tmp_path / "file.npz", logits=logits[::-1], index=index[::-1], labels=labels[::-1])
    row = measured("r1.pt:resnet8", "--", tmp_path / "file.npz")
    assert row["file", "r1"]["fidelity"] == 1


def test_checkpoints_of_this_project_need_no_architecture(taught, measured):
    runs = [taught.run(cell, 1).checkpoint("last") for cell in ("Sw", "T1w_Sw")]
    pairs = measured(*(f"{k}={path}" for k, path in enumerate(runs)), "--views", "cifar")
    assert pairs["0", "1"]["maps"] == "CAM"
    assert DATASET in str(runs[0])


def test_without_as_many_class_folders_there_are_no_labels(place, measured, capsys):
    row = measured("r0.pt:resnet8", "r1.pt:resnet8", images="images/class0")["r0", "r1"]
    assert "error_consistency" not in row
    assert (
        "no labels: images/class0 has 1 class folders, the nets know 3" in capsys.readouterr().err
    )


class Unknown(nn.Module):
    """Whose maps are in no table."""

    def __init__(self, norm):
        super().__init__()
        self.body = nn.Conv2d(3, 6, 3, stride=16)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.norm = nn.LayerNorm(6) if norm else nn.Identity()
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(self.norm(self.pool(self.body(x)).flatten(1)))


def test_a_named_classifier_is_believed_where_it_makes_the_logits():
    torch.manual_seed(0)
    source = ClassMaps("body", "head")
    check_classifier("own", Unknown(norm=False), source, SIZE)
    with pytest.raises(UserError, match="leave --classifier out, for Grad-CAM"):
        check_classifier("own", Unknown(norm=True), source, SIZE)


@pytest.mark.parametrize(("flags", "kind"), [(["--classifier", "head"], "CAM"), ([], "Grad-CAM")])
def test_layers_of_nets_in_no_table_are_named(place, measured, monkeypatch, flags, kind):
    from evaluation import nets as module

    def read_given(text, size):
        torch.manual_seed(int(text))
        return text, Unknown(norm=False).eval()

    monkeypatch.setattr(module, "read_given", read_given)  # no such net can be named by a file
    row = measured("1", "2", "--map-layer", "body", *flags)["1", "2"]
    assert row["maps"] == kind
    with pytest.raises(UserError, match="--map-layer gone is no layer of 1: it has body, pool"):
        measured("1", "2", "--map-layer", "gone", *flags)
    if flags:
        with pytest.raises(UserError, match="body of 1 is no linear layer"):
            measured("1", "2", "--map-layer", "body", "--classifier", "body")


REFUSED = {
    "--models r0.pt:resnet8": "give both",
    "--images images": "name files of outputs",
    "--images images a.npz": "give both",
    "--models r0.pt:resnet8 --images gone": "gone is no folder",
    "--models gone.pt:resnet8 --images images": "no weights at gone.pt",
    "--models r0.pt --images images": "name the architecture of weights from elsewhere",
    "--models r0.pt:resnet9 --images images": "did you mean resnet8",
    "--models r0.pt:vgg11 --images images": "does not fit the architecture",
    "--models r0.pt:timm/resnet10t --images images": "pip install timm",
    "--models r0.pt:resnet8 x=r0.pt:resnet8 x=r1.pt:resnet8 --images images": "one name",
    "--models r0.pt:resnet8 --images images --map-layer x": "these look is known",
    "--models r0.pt:resnet8 --images images --classifier x": "give both",
    "--models r0.pt:resnet8 --images images --mean 0.5": "three numbers each",
    "--models r0.pt:resnet8 --images .": "holds no images",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_asked_is_refused_in_one_line(words, place, monkeypatch, capsys):
    if "timm" in words:
        monkeypatch.setitem(__import__("sys").modules, "timm", None)
    monkeypatch.chdir(place)
    Path("empty").mkdir(exist_ok=True)
    assert run_program(main, [*words.split(), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == error.count("\n") == 1
    assert REFUSED[words] in error


def test_nets_of_timm_are_measured(measured, place):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=CLASSES)
    torch.save(model.state_dict(), place / "t.pt")
    words = ["t.pt:timm/resnet10t", "again=t.pt:timm/resnet10t", "--map-layer", "layer4"]
    row = measured(*words, "--classifier", "fc")["t", "again"]
    assert (row["fidelity"], row["iou"], row["maps"]) == (1, 1, "CAM")
