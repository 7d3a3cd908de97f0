"""What nets make of a batch on their way to the logits, for the losses that need it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from common.errors import UserError
from losses.loss import CLASS_MAPS, FEATURE_MAPS, FIXED_CLASSIFIER, Maps
from metrics.attention import ClassMaps, classifier_weight, collected, source_of

Answer = TypeVar("Answer")


def with_maps(
    models: Sequence[nn.Module], needs: Collection[str], forward: Callable[[], Answer]
) -> tuple[Answer, tuple[Maps, ...]]:
    """What `forward` returns, and the maps that each of the models makes meanwhile, as far as they
    are needed and there are any, with their gradients where the models have some. Hooks are gone
    at the end."""
    with ExitStack() as hooks:

        def collect(model: nn.Module, sources: Sequence[ClassMaps]) -> list[list[torch.Tensor]]:
            return [hooks.enter_context(collected(model, source)) for source in sources]

        stages = [
            collect(model, _stages(model) if FEATURE_MAPS in needs else []) for model in models
        ]
        last = [collect(model, _last(model) if CLASS_MAPS in needs else []) for model in models]
        answer = forward()
    maps = partial(_maps, fixed=FIXED_CLASSIFIER in needs)
    return answer, tuple(map(maps, models, stages, last))


def check_maps(model: nn.Module, needs: Collection[str], whose: str) -> None:
    """UserError where a net has no maps and a loss needs some."""
    if needs and not isinstance(source_of(model), ClassMaps):
        wanted = " and ".join(sorted({*needs} - {FIXED_CLASSIFIER})).replace("_", " ")
        raise UserError(
            f"{whose} has a net without {wanted}, which --loss needs: take another --arch or --loss"
        )


def _stages(model: nn.Module) -> list[ClassMaps]:
    """Those that a net names as its `stages`, a residual net's (`layer1`, `layer2`, ...); of
    another net what its classifier sees."""
    layers = [name for name, _ in model.named_children() if re.fullmatch(r"layer[0-9]+", name)]
    names = getattr(model, "stages", layers)
    return [ClassMaps(name, None) for name in names] or _last(model)


def _last(model: nn.Module) -> list[ClassMaps]:
    source = source_of(model)
    return [source] if isinstance(source, ClassMaps) else []


def _maps(
    model: nn.Module,
    stages: Sequence[list[torch.Tensor]],
    last: Sequence[list[torch.Tensor]],
    *,
    fixed: bool,
) -> Maps:
    features = tuple(features.float() for (features,) in stages)
    classes = [_class_maps(seen, _weight(model, seen, fixed)) for (seen,) in last]
    return Maps(features, *classes)


def _weight(model: nn.Module, features: torch.Tensor, fixed: bool) -> torch.Tensor:
    weight = classifier_weight(model, features)
    return weight.detach() if fixed else weight


def _class_maps(features: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Of every class, (B, C, h, w) float32; features (B, D, h, w), weight (C, D)."""
    with torch.autocast(features.device.type, enabled=False):
        return torch.einsum("bdhw,cd->bchw", features.float(), weight.float())
