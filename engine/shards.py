"""Which part of a grid is this job's, where many machines share it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dataloader.errors import UserError, shown
from engine.numbers import variable

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
