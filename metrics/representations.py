"""How alike two models represent the same samples, whatever the axes of their features, and where
the features before a classifier are found."""

from __future__ import annotations

import math
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from metrics.arrays import takes_arrays
from metrics.attention import ClassMaps, in_eval_mode
from metrics.conventions import LEAST_VARIATION
from metrics.validation import check_finite

FEWEST = 4  # samples, which the unbiased estimator divides by n - 3


@takes_arrays
def linear_cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment of two models' features, up to 1. (N, D), (N, D') -> float.

    Kornblith et al. 2019, "Similarity of neural network representations revisited", with the
    unbiased estimator of HSIC (Song et al. 2012, equation 5), as Nguyen et al. 2021 take it: of
    unrelated features it is 0 on average, where the biased one grows with D / N, and it may be a
    little below. Rotations and one factor of all features change nothing.

    Raises:
        ValueError: other shapes, fewer than 4 samples, NaN or infinity, or features that are the
            same for all samples.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(linear_cka(x, 3 * x[:, ::-1]), 6), abs(linear_cka(x, x[::-1])) < 0.2
    (1.0, True)
    """
    x, y = _centred(x, name="x"), _centred(y, name="y")
    if len(x) != len(y) or len(x) < FEWEST:
        raise ValueError(f"x and y: expected N >= {FEWEST} samples each, got {len(x)} and {len(y)}")
    norms = [_independence(each, each) for each in (x, y)]
    if min(norms) <= 0:
        raise ValueError("x or y: the features tell no samples apart")
    return _independence(x, y) / math.sqrt(norms[0] * norms[1])


def before_classifier(model: nn.Module, images: Tensor) -> ClassMaps | None:
    """Where the features (B, D) before the model's classifier are found: what its last linear layer
    is given, where the logits are this layer's output; None where they are not.

    Images are (B, 3, H, W); only their shape matters, and they may be on the meta device.

    >>> from torchvision.models import resnet18
    >>> before_classifier(resnet18(num_classes=3), torch.zeros(1, 3, 64, 64)).features
    'fc'
    """
    last: list[tuple[str, Tensor]] = []

    def called(name: str, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        last[:] = [(name, output)]

    with in_eval_mode(model), torch.no_grad(), ExitStack() as hooks:
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Linear):
                hooks.enter_context(layer.register_forward_hook(partial(called, name)))
        logits = model(images)
    found = (ClassMaps(name, None, before=True) for name, output in last if output is logits)
    return next(found, None)


def _centred(features: Tensor, *, name: str) -> Tensor:
    if features.ndim != 2:
        raise ValueError(f"{name}: expected (N, D), got {tuple(features.shape)}")
    check_finite(features, name=name)
    features = features.detach().double()
    centred = features - features.mean(dim=0)
    if centred.square().sum() <= LEAST_VARIATION * features.square().sum():
        raise ValueError(f"{name}: the features tell no samples apart")
    return centred


def _independence(x: Tensor, y: Tensor) -> float:
    """n (n - 3) times the unbiased HSIC of linear kernels K and L, whose diagonals count as 0; from
    features, so that no (N, N) kernel is made."""
    count = len(x)
    diagonals = [each.square().sum(dim=1) for each in (x, y)]
    sums = [e @ e.sum(dim=0) - d for e, d in zip((x, y), diagonals, strict=True)]  # of rows
    trace = (x.T @ y).square().sum() - diagonals[0] @ diagonals[1]
    means = sums[0].sum() * sums[1].sum() / ((count - 1) * (count - 2))
    return (trace + means - 2 * (sums[0] @ sums[1]) / (count - 2)).item()
