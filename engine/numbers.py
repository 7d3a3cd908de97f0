"""Text as a value of a setting: the same in flags, files and environment variables.

Numbers are decimal, in the digits 0 to 9: what Python or YAML reads besides (`1_000`, `0x10`,
`1:30`, other scripts' digits) is refused, so that no number means another than was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dataloader.bounds import LARGEST_INTEGER
from dataloader.errors import UserError, shown

NEEDED = {
    int: "a whole number is needed, such as 10",
    float: "a number is needed, such as 0.1 or 5e-4",
    str: "a word is needed",
}
_INTEGER = re.compile(r"[+-]?[0-9]+")
_FORMS = {
    int: _INTEGER,
    float: re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"),
    str: re.compile(r"(?s).*"),
}


def read_as(kind: type, text: Any) -> Any:
    """The value of type `kind` (int, float or str) that `text` writes; ValueError if it writes
    none, or is no text."""
    if not isinstance(text, str) or not _FORMS[kind].fullmatch(text):
        raise ValueError(f"{shown(text)}: {NEEDED[kind]}")
    return kind(text)


def variable(
    variables: Mapping[str, str],
    name: str,
    default: int,
    *,
    at_least: int = 0,
    at_most: int = LARGEST_INTEGER,
) -> int:
    """The whole number in an environment variable; `default` where it is not set, or empty.
    UserError names the variable when it holds anything else."""
    text = variables.get(name, "").strip()
    if not text:
        return default
    # No more digits than the largest has: Python reads no number of 5,000.
    if len(text) <= 20 and _INTEGER.fullmatch(text) and at_least <= int(text) <= at_most:
        return int(text)
    raise UserError(
        f"{name} is {shown(text)}: a whole number from {at_least} to {at_most} is needed"
    )
