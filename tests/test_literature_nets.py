"""The literature's nets for small images, weights as it publishes them, and teachers that were
normalised in another way than their student."""

import itertools
import shutil

import pytest
import torch
from conftest import DATASET, Bench
from test_objectives import FEW
from torch import nn

import train_teacher
from common.errors import run_program
from dataloader.views import CIFAR_STATISTICS, LITERATURE_STATISTICS
from engine.checkpoint import load_model
from engine.maps import with_maps
from engine.renormalised import renormalised
from evaluation.options import MeasureOptions
from evaluation.outputs import OutputStore
from losses.loss import FEATURE_MAPS
from models.pretrained import architecture_of
from models.registry import build_model, of_literature

LITERATURE = [
    *("--mean", *map(str, LITERATURE_STATISTICS.mean)),
    *("--std", *map(str, LITERATURE_STATISTICS.std)),
]
CLASSES = 100
COUNTS = {  # of 100 classes, as the published code has them
    "resnet20_conv": 278_324,
    "resnet32_conv": 472_756,
    "resnet44_conv": 667_188,
    "resnet56_conv": 861_620,
    "resnet110": 1_736_564,
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    "wrn_16_2": 703_284,
    "wrn_40_1": 569_780,
    "wrn_40_2": 2_255_156,
    "vgg8": 3_965_028,
    "vgg13_small": 9_462_180,
    "mobilenet_v2_half": 812_836,
    "shuffle_v1": 949_258,
    "shuffle_v2": 1_355_528,
}


@pytest.mark.parametrize("arch", COUNTS)
def test_parameter_counts(arch):
    with torch.device("meta"):
        assert sum(p.numel() for p in build_model(arch, CLASSES).parameters()) == COUNTS[arch]


def of_convolution(into, out, size=3):
    """With BatchNorm."""
    return into * out * size**2 + 2 * out


@pytest.mark.parametrize("depth", [20, 110])
def test_resnets_counted_by_hand(depth):
    blocks, total = (depth - 2) // 6, of_convolution(3, 16)
    for into, out in ((16, 16), (16, 32), (32, 64)):
        total += of_convolution(into, out) + (2 * blocks - 1) * of_convolution(out, out)
        total += of_convolution(into, out, 1) if into != out else 0
    assert COUNTS.get(f"resnet{depth}_conv", COUNTS["resnet110"]) == total + 64 * 100 + 100


def test_a_wide_one_counted_by_hand():
    """wrn_16_1: its BatchNorms stand before the convolutions."""
    total = 3 * 16 * 9 + 2 * 64
    for into, out in ((16, 16), (16, 32), (32, 64)):
        total += into * out * 9 + 2 * into + 3 * out * out * 9 + 3 * 2 * out
        total += into * out if into != out else 0
    model = build_model("wrn_16_1", CLASSES)
    assert sum(p.numel() for p in model.parameters()) == total + 64 * 100 + 100


def norm(name):
    return [
        f"{name}.{key}"
        for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]


def weights(names, biased=False):
    return [f"{name}.{key}" for name in names for key in ("weight", "bias")[: 1 + biased]]


def block_of_resnet(k, i, shortcut):
    at = f"layer{k}.{i}"
    parts = [f"{at}.conv1", f"{at}.conv2", *[f"{at}.downsample.0"] * shortcut]
    norms = [f"{at}.bn1", f"{at}.bn2", *[f"{at}.downsample.1"] * shortcut]
    return weights(parts) + list(itertools.chain(*map(norm, norms)))


def block_of_wide(k, i, shortcut):
    at = f"block{k}.layer.{i}"
    parts = [f"{at}.conv1", f"{at}.conv2", *[f"{at}.convShortcut"] * shortcut]
    return weights(parts) + norm(f"{at}.bn1") + norm(f"{at}.bn2")


def named(arch):
    """The names of a published file of weights."""
    head, stem = weights(["fc"], True), weights(["conv1"]) + norm("bn1")
    blocks = itertools.product((1, 2, 3), range(2))
    if arch == "resnet14_conv":
        return sum((block_of_resnet(k, i, k > 1 and i == 0) for k, i in blocks), stem + head)
    if arch == "wrn_16_1":
        return sum((block_of_wide(k, i, k > 1 and i == 0) for k, i in blocks), stem + head)
    convolutions = [f"block{k}.{i}" for k in range(5) for i in (0, 3)]
    norms = [norm(f"block{k}.{i}") for k in range(5) for i in (1, 4)]
    return weights([*convolutions, "classifier"], True) + list(itertools.chain(*norms))


@pytest.mark.parametrize("arch", ["resnet14_conv", "wrn_16_1", "vgg13_small"])
def test_names_of_weights_are_the_published_ones(arch):
    with torch.device("meta"):
        assert set(build_model(arch, CLASSES).state_dict()) == set(named(arch))


@pytest.mark.parametrize(
    ("arch", "some"),
    [  # first, shortcut or middle, last, as in the files
        ("mobilenet_v2_half", ["conv1.0.weight", "blocks.5.2.conv.7.bias", "classifier.0.weight"]),
        ("shuffle_v1", ["conv1.weight", "layer2.7.bn3.running_var", "linear.bias"]),
        (
            "shuffle_v2",
            ["bn1.weight", "layer3.0.conv5.weight", "layer3.3.bn3.bias"],
        ),
        ("resnet8x4", ["layer1.0.downsample.1.weight", "layer3.0.conv2.weight"]),
    ],
)
def test_names_of_the_others(arch, some):
    with torch.device("meta"):
        assert set(some) <= set(build_model(arch, CLASSES).state_dict())


@pytest.mark.parametrize(
    ("arch", "stages"),
    [
        ("resnet8x4", [(64, 32), (128, 16), (256, 8)]),
        ("wrn_16_2", [(32, 32), (64, 16), (128, 8)]),
        ("vgg8", [(128, 16), (256, 8), (512, 4), (512, 4)]),
        ("mobilenet_v2_half", [(12, 16), (16, 8), (48, 4), (160, 2)]),
        ("shuffle_v1", [(240, 16), (480, 8), (960, 4)]),
        ("shuffle_v2", [(116, 16), (232, 8), (464, 4)]),
    ],
)
def test_stages_are_those_that_the_literature_compares(arch, stages):
    model = build_model(arch, 7, image_size=32).eval()
    images = torch.randn(2, 3, 32, 32)
    _, (maps,) = with_maps([model], {FEATURE_MAPS}, lambda: model(images))
    assert [tuple(each.shape[1:]) for each in maps.features] == [(c, s, s) for c, s in stages]
    if arch == "vgg8":
        assert all(each.min() == 0 for each in maps.features)  # after the ReLU


def test_torchvisions_nets_keep_their_names():
    assert type(build_model("vgg13", 7, image_size=32)).__module__ == "torchvision.models.vgg"
    assert of_literature("vgg13_small") and not of_literature("vgg13")
    for arch in ("wrn_40_2", "resnet56_conv", "shuffle_v1"):
        with torch.device("meta"):
            assert architecture_of(build_model(arch, CLASSES).state_dict()) == arch


class Identity(nn.Module):
    """Sees what it is given."""

    def forward(self, images):
        return images


class TestOwnNormalisation:
    def test_it_sees_its_own(self):
        pixels = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
        given = CIFAR_STATISTICS.normalise(pixels)
        model = renormalised(Identity(), CIFAR_STATISTICS, LITERATURE_STATISTICS)
        torch.testing.assert_close(model(given), LITERATURE_STATISTICS.normalise(pixels))
        assert not model.state_dict()

    def test_nothing_is_done_where_they_are_equal(self):
        model = renormalised(Identity(), CIFAR_STATISTICS, CIFAR_STATISTICS)
        assert not model._forward_pre_hooks

    @pytest.fixture
    def bench(self, taught, tmp_path):
        """T1w, finished, and a published file of weights."""
        source = taught.run("T1w", 1).path.parent
        shutil.copytree(source, tmp_path / f"runs/{DATASET}/T1w")
        torch.manual_seed(0)
        state = build_model("wrn_16_1", 10).state_dict()
        file = {"epoch": 240, "model": state, "best_acc": torch.tensor(72.3)}
        torch.save({**file, "optimizer": {"state": {}, "param_groups": []}}, tmp_path / "wrn.pth")
        return Bench(tmp_path / "runs", taught.recipe)

    def adopt(self, bench, *flags):
        file = bench.folder.parent / "wrn.pth"
        adopting = ("--arch", "wrn_16_1", "--pretrained", file, "--epochs", 0)
        return bench.flags("T2w", *adopting, *FEW[:4], *flags)

    def test_published_weights_teach_beside_a_teacher_of_ours(self, bench, capsys):
        train_teacher.main(self.adopt(bench, *LITERATURE))
        assert "warning" not in capsys.readouterr().err
        run = bench.student("T1w_T2w_Sw", *FEW)
        assert run.is_finished()
        teacher = bench.run("T2w", 1)
        assert teacher.saved_settings()["mean"] == LITERATURE_STATISTICS.mean
        _, model = load_model(teacher.checkpoint("last"))
        published = torch.load(bench.folder.parent / "wrn.pth", weights_only=True)["model"]
        assert all(torch.equal(w, published[name]) for name, w in model.state_dict().items())

    def test_it_is_measured_as_it_taught(self, bench):
        """Asked about a student's inputs, which are normalised otherwise."""
        train_teacher.main(self.adopt(bench, *LITERATURE))
        teacher, student = bench.run("T2w", 1), bench.student("T1w_T2w_Sw", *FEW)
        store = OutputStore(
            MeasureOptions(dataset=DATASET, output_dir=str(bench.folder), workers=0)
        )
        own, heard = store.answers(teacher), store.answers(teacher, like=student)
        torch.testing.assert_close(heard.logits, own.logits, rtol=1e-3, atol=1e-3)
        own_maps, maps = store.maps(teacher), store.maps(teacher, like=student)
        torch.testing.assert_close(maps.class_sum, own_maps.class_sum, rtol=1e-3, atol=1e-3)
        again = OutputStore(store.options)
        again.answers(teacher, like=student)
        assert len(store.forward_passes) == 2 and not again.forward_passes

    def test_a_warning_names_the_literatures_mean(self, bench, capsys):
        assert run_program(train_teacher.main, self.adopt(bench)) == 0
        said = capsys.readouterr().err
        assert "--mean 0.5071 0.4867 0.4408 --std 0.2675 0.2565 0.2761, which were not" in said
