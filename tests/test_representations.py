"""Linear CKA: the estimator by its kernels, what it does not notice, and unrelated features; and
where the features before a classifier are."""

import numpy as np
import pytest
import torch
from torch import nn

from metrics import linear_cka
from metrics.attention import collected
from metrics.representations import before_classifier
from models.registry import build_model
from models.rehearsal import rehearsal


def features(seed, count=60, size=8):
    return np.random.default_rng(seed).normal(size=(count, size))


def hsic(k, el):
    """Song et al. 2012, equation 5, from kernels."""
    n = len(k)
    k, el = (own - np.diag(np.diag(own)) for own in (k, el))
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ el @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ el) + middle - 2 / (n - 2) * (one @ k @ el @ one)) / (n * (n - 3))


def by_kernels(x, y):
    k, el = x @ x.T, y @ y.T
    return hsic(k, el) / np.sqrt(hsic(k, k) * hsic(el, el))


def test_it_is_the_estimator_by_kernels():
    x = features(0)
    y = x[:, :5] @ features(1, 5, 11) + 0.5 * features(2, 60, 11)
    assert linear_cka(x, y) == pytest.approx(by_kernels(x, y), abs=1e-12)
    assert linear_cka(x + 100, y.astype(np.float32)) == pytest.approx(by_kernels(x, y), abs=1e-6)


def test_rotation_scale_and_place_change_nothing():
    x, y = features(0), features(0) + features(1)
    rotation = np.linalg.qr(features(2, 8))[0]
    assert linear_cka(x, 7 * y @ rotation + 3) == pytest.approx(linear_cka(x, y))
    assert linear_cka(x, x) == pytest.approx(1)
    assert linear_cka(x, y) == pytest.approx(linear_cka(y, x))


def test_unrelated_features_have_none_on_average():
    """The biased estimator has about 1/2 here: as many features as samples."""
    values = [linear_cka(features(2 * k, 30, 30), features(2 * k + 1, 30, 30)) for k in range(40)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(40)


@pytest.mark.parametrize(
    ("x", "y", "word"),
    [
        (features(0), features(1)[1:], "expected N"),
        (features(0, 3), features(1, 3), "N >= 4"),
        (features(0)[0], features(1), "N, D"),
        (features(0), features(1) * np.nan, "NaN"),
        (np.ones((9, 2)), features(1, 9), "no samples apart"),
        (features(1, 9), np.tile(features(0, 1), (9, 1)), "no samples apart"),  # means round
    ],
)
def test_what_has_no_meaning_is_refused(x, y, word):
    with pytest.raises(ValueError, match=word):
        linear_cka(x, y)


@pytest.mark.parametrize(
    ("arch", "layer"),
    [
        ("resnet8", "fc"),
        ("mobilenet_v3_small", "classifier.3"),
        ("vit_lite_8", "heads.head"),
        ("shuffle_v2", "linear"),
    ],
)
def test_the_classifier_makes_the_logits_of_the_features(arch, layer):
    model, images = build_model(arch, 5, image_size=32), torch.randn(2, 3, 32, 32)
    place = before_classifier(model.train(), images)
    assert place.features == layer
    assert model.training and not any(own._forward_hooks for own in model.modules())
    with torch.no_grad(), collected(model.eval(), place) as seen:
        logits = model(images)
    assert torch.equal(model.get_submodule(layer)(seen[-1]), logits)
    assert before_classifier(*rehearsal(model, 32)) == place


class Scaled(nn.Module):
    """Whose logits no layer gives as they are."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 3)

    def forward(self, images):
        return 2 * self.fc(images.flatten(1))


@pytest.mark.parametrize("model", [Scaled(), nn.Flatten(), nn.Conv2d(3, 3, 1)])
def test_a_net_whose_last_linear_layer_makes_no_logits_has_none(model):
    assert before_classifier(model, torch.zeros(1, 3, 2, 2)) is None
