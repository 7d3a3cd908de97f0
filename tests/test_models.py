import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from metrics.attention import (
    Rollout,
    class_maps,
    classifier_weight,
    forward_with_features,
    source_of,
)
from models.frozen_teachers import FrozenTeachers
from models.registry import architectures, build_model
from models.rehearsal import rehearsal
from models.small_resnet import BasicBlock


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("arch", "classes", "count"),
    [  # torchvision's published counts; the small nets' by adding up their layers
        ("resnet18", 1000, 11_689_512),
        ("resnet34", 1000, 21_797_672),
        ("resnet50", 1000, 25_557_032),
        ("resnet18_small_stem", 1000, 11_689_512 - 64 * 3 * (49 - 9)),
        ("resnet34_small_stem", 1000, 21_797_672 - 64 * 3 * (49 - 9)),
        ("resnet50_small_stem", 1000, 25_557_032 - 64 * 3 * (49 - 9)),
        ("resnet8", 10, 75_290),
        ("resnet20", 10, 269_722),
        ("resnet32", 10, 464_154),
        ("resnet56", 10, 853_018),
        ("vit_b_16", 1000, 86_567_656),
        ("vit_b_32", 1000, 88_224_232),
    ],
)
def test_parameter_counts(arch, classes, count):
    assert parameters(build_model(arch, classes)) == count


LIGHT = """
import sys
import evaluation.claims_page, evaluation.overlap_table, evaluation.report
from engine.checkpoint import build
from metrics.attention import has_maps
from models.rehearsal import rehearsal
assert has_maps(*rehearsal(build("resnet8", 10, 32), 32))
assert not {"scipy.stats", "torchvision"} & set(sys.modules)
"""


def test_what_is_slow_to_import_is_not_imported_for_small_nets():
    """Together they take as long as torch."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", LIGHT], env=environment, check=True)


def test_a_net_of_timm_that_cannot_take_the_images_is_refused():
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match="cannot be built for 256 pixels"):
        build_model("timm/vit_tiny_patch16_224", 10, image_size=256)


SMALLEST = (  # of each family that torchvision has
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5", "squeezenet1_1",
    "swin_t", "vit_b_16", "resnet8", "resnet18_small_stem", "resnet8x4", "wrn_16_1", "vgg8",
    "mobilenet_v2_half", "shuffle_v1", "shuffle_v2",
)  # fmt: skip


def test_every_net_of_torchvision_has_its_name():
    assert set(torchvision.models.list_models(torchvision.models)) < set(architectures())


@pytest.mark.parametrize("arch", SMALLEST)
def test_the_mean_of_a_class_map_is_the_logit_or_there_is_none(arch):
    torch.manual_seed(0)
    model = build_model(arch, 7, image_size=64).eval()
    images, source = torch.randn(2, 3, 64, 64), source_of(model)
    if arch in ("alexnet", "convnext_tiny", "mobilenet_v3_small", "vit_b_16"):
        assert source == (Rollout() if arch == "vit_b_16" else None)
        with pytest.raises(ValueError, match="no class maps"):
            forward_with_features(model, images)
        with torch.no_grad():
            assert model(images).shape == (2, 7)
        return
    logits, features = forward_with_features(model, images)
    maps = class_maps(features, classifier_weight(model, features))
    bias = 0 if source.classifier is None else model.get_submodule(source.classifier).bias
    torch.testing.assert_close(maps.mean((2, 3)).float() + bias, logits, atol=1e-4, rtol=1e-3)
    assert maps.flatten(2).std(2).max() > 0


@pytest.mark.parametrize(("patch", "count"), [(4, 3_195_146), (8, 3_219_722)])
def test_vit_lite(patch, count):
    """Six layers of width D = 256, MLP of 2 D: 8 D^2 + 11 D each; then patches, positions, class
    token, the last norm and the head. Its logits differ from the first step on."""
    model = build_model(f"vit_lite_{patch}", 10, image_size=32)
    width, tokens = 256, (32 // patch) ** 2 + 1
    layers = 6 * (8 * width**2 + 11 * width)
    ends = 3 * patch**2 * width + width + (tokens + 1) * width + 2 * width + 10 * width + 10
    assert parameters(model) == layers + ends == count
    with torch.no_grad():
        assert model.eval()(torch.randn(2, 3, 32, 32)).std(dim=1).min() > 0


def test_small_nets_answer_at_32_pixels():
    for arch in ("resnet8", "resnet20", "resnet18", "resnet50_small_stem", "vit_b_16"):
        with torch.no_grad():
            model = build_model(arch, 7, image_size=32)
            logits = model.eval()(torch.zeros(2, 3, 32, 32))
        assert logits.shape == (2, 7), arch


def test_small_nets_keep_the_resolution_that_small_images_need():
    for arch, side in (("resnet18_small_stem", 4), ("resnet20", 8), ("resnet18", 1)):
        model = build_model(arch, 10).eval()
        seen = []
        model.avgpool.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        model(torch.zeros(1, 3, 32, 32))
        assert seen[0].shape[-2:] == (side, side), arch


def test_a_shortcut_is_a_slice_whose_gradient_keeps_the_layout():
    """A strided slice's own gradient does not, and what reads it after that is slow."""
    channels_last = torch.channels_last
    x = torch.randn(2, 4, 6, 6).to(memory_format=channels_last).requires_grad_()
    out = BasicBlock(4, 8, stride=2)._shortcut(x)
    sliced = torch.cat([x[:, :, ::2, ::2], torch.zeros(2, 4, 3, 3)], dim=1)
    assert torch.equal(out, sliced)
    weight = torch.randn(2, 8, 3, 3).to(memory_format=channels_last)
    (ours,), (slices,) = (torch.autograd.grad((y * weight).sum(), x) for y in (out, sliced))
    assert torch.equal(ours, slices)
    assert ours.is_contiguous(memory_format=channels_last)
    assert not slices.is_contiguous(memory_format=channels_last)


def test_a_vision_transformer_needs_whole_patches():
    with pytest.raises(ValueError, match=r"vit_b_16 cannot be built for 40 pixels: .*indivisible"):
        build_model("vit_b_16", 10, image_size=40)


@pytest.mark.parametrize(
    ("arch", "too_small", "enough"),
    [("alexnet", 32, 64), ("vgg11", 16, 32), ("squeezenet1_1", 16, 32),
     ("convnext_tiny", 16, 32), ("googlenet", 8, 16), ("vit_b_16", 8, 32), ("maxvit_t", 32, 224)],
)  # fmt: skip
def test_images_that_a_net_cannot_take_are_refused_when_it_is_built(arch, too_small, enough):
    with torch.device("meta"):  # what is drawn would take most of the time
        with pytest.raises(ValueError, match=f"{arch} cannot be built for {too_small} pixels: "):
            build_model(arch, 10, image_size=too_small)
        build_model(arch, 10, image_size=enough)


class Counting(nn.Module):
    """Looks at its numbers, so that shapes alone do not do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 5)

    def forward(self, x):
        return self.conv(x).mean((2, 3)) if x.sum() == 0 else x


def test_a_net_that_needs_numbers_is_rehearsed_with_some():
    model, image = rehearsal(Counting(), 96)
    assert (image.device.type, model(image).shape) == ("cpu", (1, 4))
    with pytest.raises(ValueError, match="of that size"):
        rehearsal(Counting(), 4)


@pytest.mark.parametrize("size", [32, 96])
def test_a_rehearsal_leaves_the_model_as_it_was(size):
    model = build_model("resnet8", 10).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    outline, image = rehearsal(model, size)
    assert outline(image).shape == (1, 10)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_unknown_architecture():
    with pytest.raises(ValueError, match=r"unknown architecture 'resnet19'.*resnet20"):
        build_model("resnet19", 10)


class TestFrozenTeachers:
    def teachers(self):
        return [build_model("resnet8", 5), build_model("resnet20", 5)]

    def test_logits_are_stacked_in_order(self):
        models = self.teachers()
        images = torch.randn(3, 3, 32, 32)
        logits = FrozenTeachers(models)(images)
        assert logits.shape == (2, 3, 5)
        torch.testing.assert_close(logits[1], models[1].eval()(images))

    def test_by_batch_they_answer_as_in_training_mode_while_they_teach(self):
        models, images = self.teachers(), 5 + torch.randn(8, 3, 32, 32)
        in_training = [copy.deepcopy(model).train()(images) for model in models]
        in_eval = [model.eval()(images).clone() for model in models]
        teachers = FrozenTeachers(models, by_batch=True)
        before = {name: value.clone() for name, value in teachers.state_dict().items()}
        for _ in range(2):
            torch.testing.assert_close(teachers(images, teaching=True)[1], in_training[1])
        torch.testing.assert_close(teachers(images)[1], in_eval[1])
        teachers(images * torch.inf, teaching=True)  # such as fp16 makes of a large number
        torch.testing.assert_close(teachers(images)[1], in_eval[1])
        for name, value in teachers.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_nothing_unfreezes_them(self):
        teachers = FrozenTeachers(self.teachers())
        before = {name: value.clone() for name, value in teachers.state_dict().items()}
        nn.Sequential(teachers).train()
        teachers.train(True).requires_grad_(True)
        teachers.teachers[0].train()  # BatchNorm would follow the batch from here on
        logits = teachers(5 + torch.randn(8, 3, 32, 32))
        assert not logits.requires_grad
        assert not any(p.requires_grad for p in teachers.parameters())
        assert not any(module.training for module in teachers.modules())
        for name, value in teachers.state_dict().items():
            assert torch.equal(value, before[name]), name
