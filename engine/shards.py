"""Which part of a grid is this job's, where many machines share it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dataloader.errors import UserError

WHOLE = (1, 1)  # the first part of one


def own_shard(variables: Mapping[str, str]) -> tuple[int, int]:
    """(k, n): this job's part is the k-th, from 1, of n. By SHARD=k/n, else by the variables of
    Slurm's job array, whatever number it begins at; (1, 1) without both. UserError otherwise."""
    if text := variables.get("SHARD"):
        return _of_text(text)
    return _of_slurm(variables) if "SLURM_ARRAY_TASK_ID" in variables else WHOLE


def _of_text(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"SHARD is {text!r}: use 1/8 to 8/8 for the eight parts of a grid")
    return int(match[1]), int(match[2])


def _of_slurm(variables: Mapping[str, str]) -> tuple[int, int]:
    names = ("ID", "COUNT", "MIN", "MAX")
    values = {name: variables.get(f"SLURM_ARRAY_TASK_{name}", "") for name in names}
    step = variables.get("SLURM_ARRAY_TASK_STEP", "1")
    if not all(value.isdecimal() for value in (*values.values(), step)) or step == "0":
        raise UserError("SLURM_ARRAY_TASK_ID is set but not all that goes with it: set SHARD=k/n")
    number, count, first, last = map(int, values.values())
    place, rest = divmod(number - first, int(step))
    if rest or first + (count - 1) * int(step) != last or not 0 <= place < count:
        raise UserError("the tasks of Slurm's array have gaps: set SHARD=k/n for each")
    return place + 1, count
