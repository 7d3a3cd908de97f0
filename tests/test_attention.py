"""Attention maps: a net whose map is known, the softmax's blind spot, rollout by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer, resnet18

from metrics.attention import (
    ClassMaps,
    attention_rollout,
    class_activation_map,
    class_maps,
    forward_with_features,
    has_maps,
    maps_from_features,
    roll_out,
    select_maps,
)
from metrics.overlap import binarize, intersection_over_union
from models.registry import build_model


class ChannelNet(nn.Module):
    """Its features are the image's own channels, so its class maps can be written down."""

    def __init__(self, classes=4):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(3, classes)

    def forward(self, images):
        return self.fc(self.avgpool(images).flatten(1))


def randn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def channel_net():
    net = ChannelNet()
    with torch.no_grad():
        net.fc.weight.copy_(randn(0, 4, 3))
        net.fc.bias.copy_(randn(1, 4))
    return net


@pytest.fixture
def small_resnet():
    torch.manual_seed(0)
    return resnet18(num_classes=5)


@pytest.fixture
def tiny_vit():
    torch.manual_seed(0)
    net = VisionTransformer(
        image_size=32,
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
        num_classes=10,
        dropout=0.5,
        attention_dropout=0.5,
    )
    for block in net.encoder.layers:  # the initial attention is too even to tell layers apart
        nn.init.normal_(block.self_attention.in_proj_weight)
    return net


def hooks_of(model):
    return [
        hook
        for module in model.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]


# --- class activation maps ----------------------------------------------------------------------


def test_a_detector_of_one_channel_lights_up_where_that_channel_is():
    net = ChannelNet(classes=3)
    with torch.no_grad():
        net.fc.weight.copy_(torch.eye(3))
        net.fc.bias.zero_()
    images = torch.zeros(2, 3, 4, 4)
    images[0, 1, 2, 3] = images[1, 2, 0, 1] = 9.0
    maps = class_activation_map(net, images, target="predicted")
    assert maps.flatten(1).argmax(dim=1).tolist() == [2 * 4 + 3, 1]
    assert maps[0, 2, 3] == pytest.approx(9 * (1 - 1 / 3))
    assert binarize(maps, 4).sum() == 2
    other_class = class_activation_map(net, images, target=torch.tensor([0, 0]))
    assert other_class[0, 2, 3] == pytest.approx(9 * (0 - 1 / 3))


def test_maps_by_hand_for_every_target(channel_net):
    images, weight = randn(2, 5, 3, 6, 7), channel_net.fc.weight.detach()
    labels = torch.tensor([0, 3, 2, 1, 3])
    predicted = channel_net(images).argmax(dim=1)
    for target, rows in (
        (labels, weight[labels] - weight.mean(dim=0)),
        ("predicted", weight[predicted] - weight.mean(dim=0)),
        ("class_sum", weight.sum(dim=0).expand(5, -1)),
    ):
        expected = (images * rows[:, :, None, None]).sum(dim=1)
        found = class_activation_map(channel_net, images, target=target)
        torch.testing.assert_close(found, expected)


def test_the_mean_of_a_class_map_is_its_logit_without_bias(small_resnet):
    logits, features = forward_with_features(small_resnet, randn(3, 2, 3, 64, 64))
    assert features.shape == (2, 512, 2, 2)
    assert not logits.requires_grad
    assert not features.requires_grad
    maps = class_maps(features, small_resnet.fc.weight)
    expected = (logits - small_resnet.fc.bias).detach()
    torch.testing.assert_close(maps.mean(dim=(2, 3)).float(), expected, rtol=1e-4, atol=1e-5)


def test_one_forward_pass_gives_every_map(small_resnet):
    images, labels = randn(4, 2, 3, 64, 64), torch.tensor([4, 1])
    logits, features = forward_with_features(small_resnet, images)
    stored = class_maps(features, small_resnet.fc.weight)
    for given, common in ((labels, labels), ("predicted", logits.argmax(1)), ("class_sum",) * 2):
        direct = class_activation_map(small_resnet, images, target=given)
        assert torch.equal(select_maps(stored, common), direct)
        assert torch.equal(maps_from_features(features, small_resnet.fc.weight, common), direct)


def test_a_vector_added_to_every_classifier_row_changes_the_class_sum_alone(small_resnet):
    """The softmax cannot see the vector; a map of attention should not either."""
    images = randn(5, 4, 3, 96, 96)
    targets = ("predicted", torch.tensor([0, 1, 2, 3]), "class_sum")

    def masks_and_probabilities():
        maps = [class_activation_map(small_resnet, images, target=target) for target in targets]
        logits, _ = forward_with_features(small_resnet, images)
        return [binarize(each, 96) for each in maps], logits.softmax(dim=1)

    before, probabilities = masks_and_probabilities()
    with torch.no_grad():
        small_resnet.fc.weight += randn(6, 512) / 5
    after, same_probabilities = masks_and_probabilities()
    torch.testing.assert_close(same_probabilities, probabilities, rtol=0, atol=1e-5)
    overlaps = [
        intersection_over_union(torch.stack(pair)) for pair in zip(before, after, strict=True)
    ]
    assert overlaps[0] > 0.999
    assert overlaps[1] > 0.999
    assert overlaps[2] < 0.9


def test_centred_maps_add_up_to_zero_over_classes(channel_net):
    stored = class_maps(randn(7, 2, 3, 4, 4), channel_net.fc.weight)
    total = sum(select_maps(stored, torch.full((2,), label)) for label in range(4))
    torch.testing.assert_close(total, torch.zeros(2, 4, 4), rtol=0, atol=1e-5)


# --- attention rollout --------------------------------------------------------------------------


def attention_by_hand(block, tokens):
    """softmax(Q K' / sqrt(d)) of each head, averaged, from the projection's own weights."""
    attention, (batch, count, width) = block.self_attention, tokens.shape
    projected = block.ln_1(tokens) @ attention.in_proj_weight.T + attention.in_proj_bias
    query, key, _ = projected.view(batch, count, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
    return (query @ key.transpose(2, 3) / math.sqrt(width // 2)).softmax(dim=3).mean(dim=1)


def test_rollout_by_hand(tiny_vit):
    images = randn(8, 3, 3, 32, 32)
    tiny_vit.eval()
    with torch.no_grad():
        patches = tiny_vit.conv_proj(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([tiny_vit.class_token.expand(3, 1, -1), patches], dim=1)
        tokens = tokens + tiny_vit.encoder.pos_embedding
        first, second = tiny_vit.encoder.layers
        lower = attention_by_hand(first, tokens)
        upper = attention_by_hand(second, first(tokens))
    identity = torch.eye(17)
    rollout = ((upper + identity) / 2) @ ((lower + identity) / 2)
    found = attention_rollout(tiny_vit, images)
    assert found.shape == (3, 4, 4)
    torch.testing.assert_close(found, rollout[:, 0, 1:].reshape(3, 4, 4), rtol=1e-4, atol=1e-6)
    swapped = ((lower + identity) / 2) @ ((upper + identity) / 2)
    assert (found - swapped[:, 0, 1:].reshape(3, 4, 4)).abs().max() > 1e-3  # the order matters


def test_rollout_of_even_attention_is_even():
    even = torch.full((3, 1, 5, 5), 1 / 5)
    rollout = roll_out(even)
    assert rollout.sum(dim=-1).tolist()[0] == pytest.approx([1] * 5)
    assert rollout[0, 0, 0].item() == pytest.approx(1 / 8 + (1 - 1 / 8) / 5)
    assert torch.equal(roll_out(torch.eye(5)[None, None]), torch.eye(5, dtype=torch.float64)[None])


def test_a_transformers_map_is_its_rollout_whatever_the_target(tiny_vit):
    images = randn(9, 2, 3, 32, 32)
    expected = attention_rollout(tiny_vit, images)
    for target in ("predicted", "class_sum", torch.tensor([1, 2])):
        assert torch.equal(class_activation_map(tiny_vit, images, target=target), expected)


# --- what a measurement leaves behind -----------------------------------------------------------


@pytest.mark.parametrize("fixture", ["small_resnet", "tiny_vit"])
def test_the_model_and_its_input_come_out_as_they_went_in(fixture, request):
    model = request.getfixturevalue(fixture).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    images = randn(10, 2, 3, 32, 32)
    kept = images.clone()
    maps = class_activation_map(model, images, target="predicted")
    assert not maps.requires_grad
    assert hooks_of(model) == []
    assert torch.equal(images, kept)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("fixture", ["small_resnet", "tiny_vit"])
def test_maps_are_those_of_eval_mode(fixture, request):
    model, images = request.getfixturevalue(fixture), randn(10, 2, 3, 32, 32)
    in_training = class_activation_map(model.train(), images, target="class_sum")
    in_eval = class_activation_map(model.eval(), images, target="class_sum")
    assert torch.equal(in_training, in_eval)


def test_mixed_modes_are_restored_module_by_module(small_resnet):
    small_resnet.train()
    small_resnet.layer2.eval()
    modes = [module.training for module in small_resnet.modules()]
    class_activation_map(small_resnet, randn(11, 1, 3, 32, 32), target="class_sum")
    assert [module.training for module in small_resnet.modules()] == modes
    assert set(modes) == {True, False}


def test_a_failing_forward_leaves_no_hook_and_no_mode_behind(channel_net):
    class Broken(nn.Module):
        def forward(self, features):
            raise RuntimeError("broken")

    channel_net.train().avgpool = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        class_activation_map(channel_net, randn(12, 1, 3, 4, 4), target="class_sum")
    assert channel_net.training
    assert hooks_of(channel_net) == []


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("label", "target"),
        (torch.tensor([0]), "target: expected shape"),
        (torch.tensor([0, 4]), r"0\.\.3"),
        (torch.tensor([0.0, 1.0]), "integer"),
    ],
)
def test_bad_targets_are_refused(channel_net, target, message):
    with pytest.raises(ValueError, match=message):
        class_activation_map(channel_net, randn(13, 2, 3, 4, 4), target=target)


class MapsAlone(nn.Module):
    """Ends in a map for each class, and says nowhere how many there are."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 4, 1)

    def forward(self, images):
        return self.head(images).mean((2, 3))


def test_a_net_that_ends_in_maps_shows_them():
    model, images = MapsAlone(), randn(0, 2, 3, 5, 5)
    labels = torch.tensor([3, 1])
    raw = model.head(images).detach()
    expected = raw[torch.arange(2), labels] - raw.mean(dim=1)
    found = class_activation_map(model, images, target=labels, source=ClassMaps("head", None))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("arch", "size", "whether"),
    [("resnet18", 32, False), ("resnet18", 33, True), ("resnet18_small_stem", 32, True),
     ("resnet8", 8, True), ("mobilenet_v2", 32, False),
     ("vit_b_16", 16, False), ("vit_b_16", 32, True), ("vgg11", 224, False)],
)  # fmt: skip
def test_maps_of_one_position_are_none(arch, size, whether):
    with torch.device("meta"):
        model = build_model(arch, 10, image_size=size)
    assert has_maps(model, torch.empty(1, 3, size, size, device="meta")) is whether


@pytest.mark.parametrize("shape", [(3, 4, 4), (0, 3, 4, 4), (1, 1, 4, 4)])
def test_bad_images_are_refused(channel_net, tiny_vit, shape):
    for model in (channel_net, tiny_vit):
        with pytest.raises(ValueError, match="images"):
            class_activation_map(model, torch.zeros(shape), target="predicted")


def test_other_bad_input_is_refused(channel_net, tiny_vit):
    weight = channel_net.fc.weight
    with pytest.raises(ValueError, match="avgpool"):
        class_activation_map(nn.Flatten(), randn(14, 1, 3, 4, 4), target="class_sum")
    with pytest.raises(ValueError, match="NaN"):
        class_activation_map(channel_net, torch.full((1, 3, 4, 4), math.nan), target="class_sum")
    with pytest.raises(ValueError, match="NaN"):
        attention_rollout(tiny_vit, torch.full((1, 3, 32, 32), math.nan))
    with pytest.raises(ValueError, match="weight"):
        maps_from_features(randn(15, 1, 5, 2, 2), weight, "class_sum")
    with pytest.raises(ValueError, match="features"):
        maps_from_features(randn(15, 1, 3), weight, "class_sum")
    with pytest.raises(ValueError, match="target"):
        maps_from_features(randn(15, 1, 3, 2, 2), weight, "predicted")
