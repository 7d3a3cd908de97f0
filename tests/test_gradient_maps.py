"""Grad-CAM: the formula by another route, what it is where class maps exist, and what it leaves."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from metrics.attention import ClassMaps, class_activation_map
from metrics.gradient_maps import LAST_FEATURES, grad_cam, last_features
from models.registry import build_model

CLASSES = 4


def images(count=2, size=64):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


class Tail(nn.Module):
    """Features, then layers that no class map explains."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 5, 3, stride=8, padding=1)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, CLASSES)
        )

    def forward(self, x):
        return self.head(self.features(x))


def by_differences(model, x, classes):
    """The gradients by central differences of the score: one channel, one position at a time."""
    features = model.features(x).detach().double()
    head = model.head.double()
    weights = torch.zeros(features.shape[:2], dtype=torch.float64)
    for channel in range(features.shape[1]):
        for place in np.ndindex(*features.shape[2:]):
            step = torch.zeros_like(features)
            step[:, channel, *place] = 1e-4
            up, down = (_score(head(features + sign * step), classes) for sign in (1, -1))
            weights[:, channel] += (up - down) / 2e-4
    weights /= features[0, 0].numel()
    return (weights[:, :, None, None] * features).sum(1).clamp(min=0)


def _score(logits, classes):
    return logits[torch.arange(len(classes)), classes] - logits.mean(1)


def test_it_is_the_formula():
    torch.manual_seed(0)
    model, x, classes = Tail(), images(), torch.tensor([0, 3])
    found = grad_cam(model, x, target=classes, source=ClassMaps("features", None))
    expected = by_differences(model, x, classes)
    assert expected.max() > 0
    assert torch.allclose(found.double(), expected, atol=1e-6)


def test_where_a_net_has_class_maps_it_is_their_positive_part():
    torch.manual_seed(0)
    model, x = build_model("resnet8", CLASSES), images()
    classes = torch.tensor([1, 2])
    found = grad_cam(model, x, target=classes, source=ClassMaps("avgpool", None, before=True))
    expected = class_activation_map(model, x, target=classes).clamp(min=0)
    positions = expected[0].numel()  # the mean over positions spreads a logit's slope
    assert torch.allclose(found * positions, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "side"),
    [("vgg11", 2), ("alexnet", 1), ("mobilenet_v3_small", 2), ("convnext_tiny", 2)],
)
def test_nets_of_the_table_have_their_last_features(arch, side):
    torch.manual_seed(0)
    model = build_model(arch, CLASSES)
    assert grad_cam(model, images(1), target=torch.tensor([0])).shape == (1, side, side)


def test_a_max_vit_has_them_too():
    model = models.MaxVit(
        input_size=(32, 32), stem_channels=4, partition_size=2, block_channels=[8, 8],
        block_layers=[1, 1], head_dim=4, stochastic_depth_prob=0.0, num_classes=CLASSES,
    )  # fmt: skip
    assert grad_cam(model, images(1, 32), target=torch.tensor([0])).shape == (1, 4, 4)


def test_the_table_is_of_nets_without_class_maps():
    from metrics.attention import TABLE

    assert set(LAST_FEATURES) == {name for name, source in TABLE.items() if source is None}
    assert all(issubclass(getattr(models, name), nn.Module) for name in TABLE)
    assert last_features(nn.Linear(2, 2)) is None


def test_one_number_added_to_all_logits_changes_nothing():
    torch.manual_seed(0)
    model, x, classes = Tail(), images(), torch.tensor([0, 3])
    source = ClassMaps("features", None)
    before = grad_cam(model, x, target=classes, source=source)
    common = torch.randn(8)
    with torch.no_grad():
        model.head[4].weight += common
    assert torch.allclose(grad_cam(model, x, target=classes, source=source), before, atol=1e-6)


def test_nothing_stays_behind():
    model = Tail().train()
    for weight in model.parameters():
        weight.requires_grad_(False)
    x = images()
    with torch.no_grad():
        maps = grad_cam(model, x, target=torch.tensor([0, 1]), source=ClassMaps("features", None))
    assert model.training and not x.requires_grad and not maps.requires_grad
    assert all(weight.grad is None for weight in model.parameters())
    assert not model.features._forward_hooks


@pytest.mark.parametrize(
    ("model", "target", "source", "word"),
    [
        (Tail(), [0, 1], None, "source=ClassMaps"),
        (Tail(), [0, 4], ClassMaps("features", None), "0..3"),
        (Tail(), [0], ClassMaps("features", None), "target"),
        (Tail(), [0, 1], ClassMaps("head.2", None), "expected .B, D, h, w."),
    ],
)
def test_what_has_no_map_is_refused(model, target, source, word):
    with pytest.raises(ValueError, match=word):
        grad_cam(model, images(), target=torch.tensor(target), source=source)


def test_it_is_what_the_package_computes():
    """Where pytorch-grad-cam is installed; its score is the logit, whose common part cancels where
    the mean over classes does not depend on the features."""
    package = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    torch.manual_seed(0)
    model, x = Tail().eval(), images()
    with torch.no_grad():
        model.head[4].weight -= model.head[4].weight.mean(0)
        model.head[4].bias -= model.head[4].bias.mean()
    with package.GradCAM(model=model, target_layers=[model.features]) as cam:
        wanted = cam(x, targets=[targets.ClassifierOutputTarget(k) for k in (0, 3)])
    own = grad_cam(model, x, target=torch.tensor([0, 3]), source=ClassMaps("features", None))
    own = nn.functional.interpolate(own[:, None], wanted.shape[1:], mode="bilinear")[:, 0]
    scaled = [m - m.min() for m in own]
    scaled = torch.stack([m / m.max() for m in scaled])
    assert np.allclose(scaled, wanted, atol=1e-3)
