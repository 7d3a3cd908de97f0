"""A value from a file in the type of the setting that it is for."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataloader.errors import UserError, shown
from engine.config import Settings, check_number

LARGEST_EXPONENT = 1023  # of a float


def typed(settings_class: type[Settings], key: Any, value: Any, where: Path) -> Any:
    """The value in its field's type; UserError when the key, the type or the range is wrong."""
    hints = _hints(settings_class)
    settings = {setting.name: setting for setting in dataclasses.fields(settings_class)}
    if key not in settings:
        close = difflib.get_close_matches(str(key)[:80], settings, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise UserError(f"{where}: unknown setting {shown(key)}{hint}")
    kind, many = kind_of(hints[key])
    if value is None and isinstance(hints[key], types.UnionType):
        return None
    values = value if many and isinstance(value, list) else [value]
    if not all(_is_a(item, kind) for item in values):
        raise UserError(f"{where}: {key} is {shown(value)}, which is not {kind.__name__}")
    choices = settings[key].metadata["choices"]
    if choices and value not in choices:
        raise UserError(f"{where}: {key} is {shown(value)}: use {' or '.join(choices)}")
    return tuple(map(kind, values)) if many else kind(value)


def known_settings(
    settings_class: type[Settings], saved: Mapping[Any, Any], where: Path
) -> dict[str, Any]:
    """Of `saved` the settings that the class has, typed and in range; a newer or older version of
    this project may have had others."""
    settings = {setting.name: setting for setting in dataclasses.fields(settings_class)}
    known = {key: typed(settings_class, key, saved[key], where) for key in settings.keys() & saved}
    for name, value in known.items():
        for number in value if isinstance(value, tuple) else (value,):
            try:
                check_number(settings[name], number)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
    return known


def kind_of(hint: Any) -> tuple[type, bool]:
    """The scalar type of a field, and whether it holds several."""
    if isinstance(hint, types.UnionType):
        return kind_of(typing.get_args(hint)[0])
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True
    return hint, False


@functools.cache
def _hints(settings_class: type[Settings]) -> dict[str, Any]:
    """The fields' types: to evaluate 40 annotations takes longer than to read a file."""
    return typing.get_type_hints(settings_class)


def _is_a(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return False
    if kind is float and isinstance(value, int):
        return value.bit_length() <= LARGEST_EXPONENT
    return isinstance(value, kind)
