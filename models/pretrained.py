"""Start a model from another's weights, such as ImageNet's `resnet50.pt`, whatever wrapped them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby, takewhile
from typing import TypeGuard

import torch
from torch import nn

from models.registry import architectures, outline

Weights = Mapping[str, torch.Tensor]

ENTRIES = (  # where checkpoints keep it; the first that is there is taken
    "state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module",
    "ema", "ema_state_dict", "state_dict_ema", "model_ema",
)  # fmt: skip
# What torch.compile, FSDP and activation checkpoints put anywhere in a name.
WRAPPED = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Names in torchvision's older files, of DenseNets and of vision transformers.
FORMER = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)


def weights_in(content: object) -> tuple[Weights, str]:
    """The state_dict in what a file holds, and the name of its entry ("" if it is the whole).

    ValueError when there is none.
    """
    if _is_state_dict(content):
        return content, ""
    entries = content if isinstance(content, Mapping) else {}
    for name in ENTRIES:
        if _is_state_dict(entry := entries.get(name)):
            return entry, name
    found = ", ".join(f"{name:.40}" for name in entries if type(name) is str)
    raise ValueError(
        f"is no state_dict{f' (it holds {found:.120})' if found else ''}: "
        "save it with torch.save(model.state_dict(), ...)"
    )


def under_own_names(
    weights: Weights, names: Collection[str], needed: Collection[str]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """`weights` under the names of a net, and what was done for it.

    names: the net's; needed: those that tell it. What stands before the names goes: of the
    net's entries, all of which must have it; other entries are left out. ValueError when the
    needed ones stand there more than once.
    """
    plain = {_plain(name): tensor for name, tensor in weights.items()}
    if len(plain) < len(weights):
        raise ValueError("holds entries twice, wrapped and not: save the state_dict of one model")
    prefix = _prefix(plain, names, needed)
    named = {name.removeprefix(prefix): plain[name] for name in plain if name.startswith(prefix)}
    done = sorted({match[1] for name in weights for match in WRAPPED.finditer(name)})
    done = [f"{part}." for part in done] + [prefix] * bool(prefix)
    others = [name for name in plain if not name.startswith(prefix)]
    said = [f"{' and '.join(done)} taken off its names"] if done else []
    return named, said + ([f"left out {listed(others)}"] if others else [])


def listed(names: Collection[str], most: int = 3) -> str:
    """The first of the names, and how many more there are."""
    first = ", ".join(f"{name:.200}" for name in list(names)[:most])
    return first + (f" and {len(names) - most} more" if len(names) > most else "")


def _is_state_dict(content: object) -> TypeGuard[Weights]:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(type(name) is str and torch.is_tensor(t) for name, t in content.items())
    )


def _plain(name: str) -> str:
    """The name without what stands in its middle, and as it is called today."""
    name = WRAPPED.sub("", name)
    for pattern, today in FORMER:
        name = pattern.sub(today, name)
    return name


def _prefix(weights: Weights, names: Collection[str], needed: Collection[str]) -> str:
    """What stands before the net's names: the one before all that are needed, else before most."""
    found: Counter[str] = Counter()
    for name in weights:
        cuts = [0, *(match.end() for match in re.finditer(r"\.", name))]
        found.update(name[:cut] for cut in cuts if name[cut:] in names)
    whole = [prefix for prefix in found if all(prefix + name in weights for name in needed)]
    if len(whole) > 1:
        raise ValueError(
            f"holds {len(whole)} such nets, at {listed([p or 'its top' for p in whole])}: "
            "save the state_dict of one"
        )
    if whole:
        return whole[0]
    return found.most_common(1)[0][0] if found else _common(weights)


def _common(names: Collection[str]) -> str:
    """What all names begin with, up to a dot."""
    columns = zip(*(name.split(".")[:-1] for name in names), strict=False)
    alike = takewhile(lambda column: len(set(column)) == 1, columns)
    return "".join(f"{column[0]}." for column in alike)


COUNTER = "num_batches_tracked"  # of BatchNorm; weights older than torch 0.4.1 lack it
FEWEST = 16  # weights and biases of a net: AlexNet's

Shapes = Mapping[str, tuple[int, ...]]


def final_layer(model: nn.Module) -> list[str]:
    """Keys of the last linear layer, or convolution: the one with an output for each class."""
    kinds = (nn.Linear, nn.Conv2d)
    *_, name = (name for name, part in model.named_modules() if isinstance(part, kinds))
    return [f"{name}.{key}" for key in model.get_submodule(name).state_dict()]


def architecture_of(weights: Mapping[str, torch.Tensor]) -> str | None:
    """The architecture that has weights of these names and shapes, whatever the classes."""
    shapes = _shapes(weights)
    if len(shapes) < FEWEST:
        return None
    first = next(iter(shapes))
    for _, names in groupby(architectures(), _family):
        family = list(names)
        if first in _anatomy(family[0])[0]:  # to build them all would take ten seconds
            for name in family:
                if _is_of(shapes, name):
                    return name
    return None


def _family(name: str) -> str:
    return re.split(r"[\d_]", name)[0]


def _is_of(shapes: Shapes, name: str) -> bool:
    expected, final = _anatomy(name)
    body = {key: shape for key, shape in expected.items() if key not in final}
    return body == {key: shape for key, shape in shapes.items() if key not in final}


@cache
def _anatomy(name: str) -> tuple[Shapes, list[str]]:
    """Of an architecture: the shape of each of its weights, and the keys of its final layer."""
    try:
        model = outline(name)
    except NotImplementedError:  # RegNets do arithmetic on tensors while they are built
        return {}, []
    return _shapes(model.state_dict()), final_layer(model)


def _shapes(weights: Mapping[str, torch.Tensor]) -> Shapes:
    return {key: tuple(w.shape) for key, w in weights.items() if not key.endswith(COUNTER)}


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Start:
    """Weights as a model takes them. has_new_layer: its final layer stays as it is, for other
    classes; said: what was left out or renamed for it; num_classes: of the weights' own final
    layer, None where they have none."""

    weights: dict[str, torch.Tensor]
    has_new_layer: bool
    said: tuple[str, ...]
    num_classes: int | None


def fitted(model: nn.Module, weights: Weights) -> Start:
    """A state_dict from elsewhere, made to fit `model`.

    What wrappers put before its names is taken off, the entries of parts that the model is built
    without (auxiliary heads) are left out, counters that are missing stay at 0, and numbers get
    the model's precision. The final layer stays as initialised where the class count differs.
    ValueError, as `load_weights`, for any other key that does not fit.
    """
    expected = model.state_dict()
    final = final_layer(model)
    needed = [key for key in expected if key not in final and not key.endswith(COUNTER)]
    named, said = under_own_names(weights, expected, needed)
    heads = [key for key in named if getattr(model, key.split(".")[0], model) is None]
    said += [f"left out the auxiliary {listed(heads)}"] if heads else []
    counters = {key: expected[key] for key in expected if key.endswith(COUNTER)}
    kept = counters | {key: named[key] for key in named if key not in heads}
    num_classes = (_shape(kept, final[0]) or (None,))[0]
    has_new_layer = any(_shape(kept, key) != _shape(expected, key) for key in final)
    if has_new_layer:
        kept |= {key: expected[key] for key in final}
    if problems := _problems(kept, expected):
        other = architecture_of(named) if _shapes(kept) != _shapes(expected) else None
        advice = f"; it fits --arch {other}" if other else ""
        raise ValueError(f"does not fit the architecture: {problems}{advice}")
    precise = {key: value.to(expected[key].dtype) for key, value in kept.items()}
    return Start(precise, has_new_layer, tuple(said), num_classes)


def load_weights(model: nn.Module, weights: Weights) -> None:
    """Copy a state_dict into `model`; ValueError names the first keys that are missing, unexpected
    or of another shape or type."""
    expected = model.state_dict()  # and with it the versions of its parts, which a file may lack
    if problems := _problems(weights, expected):
        raise ValueError(f"does not fit the architecture: {problems}")
    expected.update(weights)
    model.load_state_dict(expected)


def _problems(weights: Weights, expected: Weights) -> str:
    """What does not fit, the first few of each kind; "" where all does."""
    both = [key for key in expected if key in weights]
    kinds = [
        [f"{key:.80} is missing" for key in expected if key not in weights],
        [f"{key:.80} is unexpected" for key in weights if key not in expected],
        [
            f"{key:.80} has shape {_shape(weights, key)}, needed {_shape(expected, key)}"
            for key in both
            if _shape(weights, key) != _shape(expected, key)
        ],
        [
            f"{key:.80} is of {weights[key].dtype}, needed floating point"
            for key in both
            if expected[key].is_floating_point() and weights[key].dtype not in FLOATS
        ],
    ]
    return "; ".join(listed(kind) for kind in kinds if kind)


def _shape(weights: Weights, key: str) -> tuple[int, ...] | None:
    return tuple(weights[key].shape) if key in weights else None
