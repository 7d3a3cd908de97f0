"""Which runs are trained side by side, how a grid is shared out to jobs, and one group after the
other."""

from __future__ import annotations

import bisect
import dataclasses
import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from common.errors import DivergedError, UserError, shown, signals_wait
from common.settings import variable
from engine.config import Config, OneRole
from engine.questions import questions_of

if TYPE_CHECKING:
    from engine.processes import Ranks


def side_by_side(configs: Iterable[OneRole]) -> list[list[OneRole]]:
    """Runs that see the same images in the same order, and differ in nothing but their teachers and
    what they learn from them, make a group, at most `--together` of them; a run that is named twice
    is in it once."""
    alike: dict[Hashable, list[OneRole]] = {}
    for config in dict.fromkeys(configs):
        alike.setdefault(_shared(config), []).append(config)
    return [
        runs[start : start + runs[0].together]
        for runs in alike.values()
        for start in range(0, len(runs), runs[0].together)
    ]


def cost(configs: Iterable[Config]) -> int:
    """Time that runs take one group after the other, in passes of one student over its images.

    A group costs one pass for each run and one for each teacher of any of them, for in the
    published nets an answer of ResNet-50 (4.1 GFLOP an image) costs about as much as a step of
    ResNet-18 (5.4).
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
    """What the runs of a group have in common: of the name the view and what the weights, order and
    views are drawn from, and all settings but those of each task."""
    shared = [
        getattr(config, setting.name)
        for setting in dataclasses.fields(config)
        if setting.name != "cell" and not setting.metadata["per_task"]
    ]
    return config.parsed_cell.view, config.stream, *shared


def _teachers(group: Sequence[Config]) -> set[str]:
    return {question for config in group for question in questions_of(config)}


def _cut(row: Sequence[Config], bound: int) -> list[list[Config]]:
    """The row in pieces, each as long as it can be at a cost of at most `bound`, or one run."""
    pieces: list[list[Config]] = [[]]
    for config in row:
        if pieces[-1] and cost([*pieces[-1], config]) > bound:
            pieces.append([])
        pieces[-1].append(config)
    return pieces


WHOLE = (1, 1)  # the first part of one
MOST_SHARDS = 10**6


def own_shard(variables: Mapping[str, str]) -> tuple[int, int]:
    """(k, n): this job's part is the k-th, from 1, of n. By SHARD=k/n, else by the variables of
    Slurm's job array, whatever number it begins at; (1, 1) without both. UserError otherwise."""
    if text := variables.get("SHARD", "").strip():
        return _of_text(text)
    return _of_slurm(variables) if variables.get("SLURM_ARRAY_TASK_ID") else WHOLE


def _of_text(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MOST_SHARDS:
        raise UserError(
            f"SHARD is {shown(text)}: use 1/8 to 8/8 for the eight parts of a grid, of which there "
            f"are at most {MOST_SHARDS}"
        )
    return int(match[1]), int(match[2])


def _of_slurm(variables: Mapping[str, str]) -> tuple[int, int]:
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "COUNT", "MIN", "MAX")]
    if not all(variables.get(name) for name in names):
        raise UserError("SLURM_ARRAY_TASK_ID is set but not all that goes with it: set SHARD=k/n")
    number, count, first, last = (variable(variables, name, 0) for name in names)
    step = variable(variables, "SLURM_ARRAY_TASK_STEP", 1, at_least=1)
    place, rest = divmod(number - first, step)
    if rest or first + (count - 1) * step != last or not 0 <= place < count <= MOST_SHARDS:
        raise UserError("the tasks of Slurm's array have gaps: set SHARD=k/n for each")
    return place + 1, count


def train_each(
    groups: Sequence[Sequence[OneRole]], train: Callable[[Sequence[OneRole], Ranks], None]
) -> None:
    """Train group after group. DivergedError at the end names the runs whose loss was no longer
    finite; any other error stops all at once."""
    if not groups:
        return
    _check_threads()
    with signals_wait():
        from engine.processes import joined  # torch only when there is work to do

    reasons = []
    with joined() as ranks:
        for group in groups:
            try:
                train(group, ranks)
            except DivergedError as error:
                reasons.append(str(error))
        if reasons:
            raise DivergedError("; ".join(reasons))


def train_together(group: Sequence[Config], ranks: Ranks) -> None:
    """Train the runs of a group, which `side_by_side` has made."""
    from engine.loop import train_group  # torch only when there is work to do

    train_group(group, ranks)


def _check_threads() -> None:
    """UserError where OMP_NUM_THREADS is nonsense: torch's OpenMP would take all cores instead."""
    for text in os.environ.get("OMP_NUM_THREADS", "").split(","):
        variable({"OMP_NUM_THREADS": text}, "OMP_NUM_THREADS", 1, at_least=1, at_most=10_000)
