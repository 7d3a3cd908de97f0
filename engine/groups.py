"""Which runs are trained side by side, and how the runs of a grid are shared out.

From settings to lists of settings: nothing is read, started or loaded.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Hashable, Iterable, Sequence

from engine.config import Config


def side_by_side(configs: Iterable[Config]) -> list[list[Config]]:
    """Runs that see the same images in the same order and differ in their teachers alone make a
    group, at most `--together` of them; a run that is named twice is in it once."""
    alike: dict[Hashable, list[Config]] = {}
    for config in dict.fromkeys(configs):
        alike.setdefault(_shared(config), []).append(config)
    return [
        runs[start : start + runs[0].together]
        for runs in alike.values()
        for start in range(0, len(runs), runs[0].together)
    ]


def cost(configs: Iterable[Config]) -> int:
    """Time that runs take one group after the other, in passes of one student over its images.

    Each run of a group has its own, and each teacher of any of them one more: of the published
    nets ResNet-50's answer takes 4.1 GFLOP an image, ResNet-18's step 5.4.
    """
    return sum(
        max(config.epochs for config in group) * (len(group) + len(_teachers(group)))
        for group in side_by_side(configs)
    )


def share_out(configs: Iterable[Config], parts: int) -> list[list[Config]]:
    """`parts` lists of runs, the most costly of which costs as little as it can.

    The runs stand in a row, group after group, and the row is cut: so a group is in two parts only
    where that pays. The last lists are empty where there is nothing left for them.
    """
    row = [config for group in side_by_side(configs) for config in group]
    whole = cost(row)
    bound = bisect.bisect_left(
        range(whole), True, lo=whole // parts, key=lambda bound: len(_cut(row, bound)) <= parts
    )
    pieces = _cut(row, bound)
    return [*pieces, *([] for _ in range(parts - len(pieces)))]


def _shared(config: Config) -> Hashable:
    """What the runs of a group have in common: all but the name, of which the view and what the
    weights, order and views are drawn from."""
    names = [setting.name for setting in dataclasses.fields(config) if setting.name != "cell"]
    return config.parsed_cell.view, config.stream, *(getattr(config, name) for name in names)


def _teachers(group: Sequence[Config]) -> set[str]:
    return {str(teacher) for config in group for teacher in config.parsed_cell.teachers}


def _cut(row: Sequence[Config], bound: int) -> list[list[Config]]:
    """The row in pieces, each as long as it can be at a cost of at most `bound`, or one run."""
    pieces: list[list[Config]] = [[]]
    for config in row:
        if pieces[-1] and cost([*pieces[-1], config]) > bound:
            pieces.append([])
        pieces[-1].append(config)
    return pieces
