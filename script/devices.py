"""What GPUS names: devices to spread cells over, and how a trainer is kept on the one it is given.

"0", "0,1" (for NPROC processes that train together), a GPU's or a MIG instance's UUID, or "cpu".
Where CUDA_VISIBLE_DEVICES is set already (by Slurm, say), numbers count within it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from common.errors import UserError, shown

CPU = "cpu"
_NUMBER = re.compile(r"[0-9]{1,3}")
_UUID = re.compile(r"(?:GPU|MIG)-[A-Za-z0-9/-]+")


def visible(device: str, processes: int, variables: Mapping[str, str]) -> str:
    """The CUDA_VISIBLE_DEVICES of a device, with a GPU for each of `processes`. UserError for what
    is no such device."""
    if device == CPU:
        return ""
    names = device.split(",")
    if not all(_NUMBER.fullmatch(name) or _UUID.fullmatch(name) for name in names):
        raise UserError(
            f"GPUS names {shown(device)}: use numbers such as 0, UUIDs such as GPU-8a56a4bc, or "
            "cpu, with spaces between devices, and commas between those that train a cell together"
        )
    found = [_within(name, variables.get("CUDA_VISIBLE_DEVICES")) for name in names]
    if len(set(found)) < len(found):
        raise UserError(f"GPUS names {device}: one GPU twice for processes that train together")
    if len(found) != processes:
        raise UserError(
            f"GPUS names {device} but NPROC is {processes}: a GPU is needed for each process, "
            'GPUS="0,1" for NPROC=2; spaces are between devices that train cells of their own'
        )
    return ",".join(found)


def _within(name: str, outer: str | None) -> str:
    """A GPU's number among those that are visible already, as the number that it has there."""
    if outer is None or not _NUMBER.fullmatch(name):
        return str(int(name)) if _NUMBER.fullmatch(name) else name
    listed = [each.strip() for each in outer.split(",") if each.strip()]
    if int(name) >= len(listed):
        raise UserError(
            f"GPUS names {name} but CUDA_VISIBLE_DEVICES is {shown(outer)}, which leaves "
            f"{len(listed)} GPUs: GPUS counts within it, from 0"
        )
    return listed[int(name)]


def flags(device: str | None) -> list[str]:
    """The flags by which a trainer takes a device or refuses: it would fall back on the CPU."""
    if device is None:
        return []
    return ["--device", "cpu" if device == CPU else "cuda"]
