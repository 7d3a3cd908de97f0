"""A state_dict as the world saves it: inside a checkpoint, its names under what wrapped the net."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import takewhile
from typing import TypeGuard

import torch

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
    weights: Weights, own: Collection[str], needed: Collection[str]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """`weights` under a net's own names, and what was done for it.

    own: the net's names; needed: those that tell it. What stands before the names goes: of the
    net's entries, all of which must have it; other entries are left out. ValueError when the
    needed ones stand there more than once.
    """
    plain = {_plain(name, own): tensor for name, tensor in weights.items()}
    if len(plain) < len(weights):
        raise ValueError("holds entries twice, wrapped and not: save the state_dict of one model")
    prefix = _prefix(plain, own, needed)
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


def _plain(name: str, own: Collection[str]) -> str:
    """The name without what stands in its middle, and as it is called today."""
    name = WRAPPED.sub("", name)
    for pattern, today in FORMER:
        name = pattern.sub(today, name)
    return name


def _prefix(weights: Weights, own: Collection[str], needed: Collection[str]) -> str:
    """What stands before the net's names: the one before all that are needed, else before most."""
    found: Counter[str] = Counter()
    for name in weights:
        cuts = [0, *(match.end() for match in re.finditer(r"\.", name))]
        found.update(name[:cut] for cut in cuts if name[cut:] in own)
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
