"""A value from a file in the type of the setting that it is for."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataloader.errors import UserError, shown
from engine.config import NO_YES, Settings, check_value
from engine.numbers import NEEDED, read_as

SWITCH = {"no": "no", "off": "no", "false": "no", "yes": "yes", "on": "yes", "true": "yes"}


def typed(settings_class: type[Settings], key: Any, value: Any, where: Path) -> Any:
    """What a file says (`read_yaml`) in its field's type; UserError when the key is none of the
    settings', or the value none of the key's."""
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
    try:
        read = tuple(read_as(kind, item) for item in values)
    except ValueError:
        needed = NEEDED[kind] + (", or a list of such" if many else "")
        said = "empty" if value is None else shown(value)
        raise UserError(f"{where}: {key} is {said}: {needed}") from None
    return read if many else _chosen(settings[key].metadata["choices"], read[0], key, where)


def _chosen(choices: Sequence[str], value: Any, key: str, where: Path) -> Any:
    if choices == NO_YES:
        value = SWITCH.get(value.lower(), value)
    if choices and value not in choices:
        raise UserError(f"{where}: {key} is {shown(value)}: use {' or '.join(choices)}")
    return value


def known_settings(
    settings_class: type[Settings], saved: Mapping[Any, Any], where: Path
) -> dict[str, Any]:
    """Of `saved` the settings that the class has, typed and in range; a newer or older version of
    this project may have had others."""
    settings = {setting.name: setting for setting in dataclasses.fields(settings_class)}
    known = {key: typed(settings_class, key, saved[key], where) for key in settings.keys() & saved}
    for name, value in known.items():
        try:
            check_value(settings[name], value)
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
