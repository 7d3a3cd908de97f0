"""Settings: frozen dataclasses whose fields say which values they admit, read from text.

The same text means the same in flags, YAML and environment variables. Numbers are decimal, in the
digits 0 to 9: what Python or YAML reads besides (`1_000`, `0x10`, `1:30`, other scripts' digits) is
refused, so that no number means another than was written. Imports nothing heavy."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import DamagedError, UserError, shown
from common.files import read_text

LARGEST_INTEGER = 10**9  # no count or seed here needs more
SMALLEST = 1e-30  # but for 0: float32, which the numbers are computed in, ends not far below


@dataclass(frozen=True)
class Bounds:
    """Limits of a number, those that it has; any number is finite, any integer at most 10^9, any
    number but 0 at least 1e-30 in size."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def check(self, name: str, value: float) -> None:
        """UserError, which calls the number `name`, when it is not finite or out of bounds."""
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise UserError(f"{name} has more digits than any count or seed needs")
        if not math.isfinite(value):
            raise UserError(f"{name} is {value}: a finite number is needed")
        if 0 < abs(value) < SMALLEST:
            raise UserError(f"{name} is {value}, too small to be told from 0: at least {SMALLEST}")
        if not self._admit(value):
            raise UserError(f"{name} is {value}: {self._needed()}")

    def _admit(self, value: float) -> bool:
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def _needed(self) -> str:
        limits = {
            "at least": self.at_least,
            "above": self.above,
            "at most": self.at_most,
            "under": self.below,
        }
        return " and ".join(f"{how} {limit}" for how, limit in limits.items() if limit is not None)


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


NO_YES = ("no", "yes")
PLUS = "+"


class SumsOf(tuple[str, ...]):
    """Words as the choices of a setting that takes sums of different ones too: `a+b`."""

    def __contains__(self, text: object) -> bool:
        words = str(text).split(PLUS)
        return len(set(words)) == len(words) and set(words) <= set(self)


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] = (),
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    names_folder: bool = False,
    operational: bool = False,
    per_task: bool = False,
    positional: bool = False,
) -> Any:
    """A setting, with the values that it may have; `choices` is asked what it contains. One that
    `names_folder` leads nowhere else; `positional` ones are given without a flag's name.
    `operational` ones (where and how fast) may change when a run is resumed; runs that differ in
    those `per_task` alone, or in their teachers, learn side by side."""
    meta = {"help": help, "choices": choices, "operational": operational}
    meta |= {"names_folder": names_folder, "per_task": per_task, "positional": positional}
    meta["bounds"] = Bounds(at_least, above, at_most, below)
    return field(default=default, metadata=meta)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A frozen dataclass of `option` fields: the values are checked when it is made."""

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):
            check_value(setting, getattr(self, setting.name))

    @classmethod
    @functools.cache
    def types(cls) -> dict[str, Any]:
        """The fields' types: to evaluate 40 annotations takes longer than to read a file."""
        return typing.get_type_hints(cls)


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def check_value(setting: dataclasses.Field, value: Any) -> None:
    """UserError when a number, or one of several, is not finite or out of its setting's bounds, or
    a text is none that a file could hold or, where it names one, a folder could be called."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, int | float) and not isinstance(item, bool):
            setting.metadata["bounds"].check(flag_of(setting.name), item)
        if isinstance(item, str):
            _check_text(setting, item)


def _check_text(setting: dataclasses.Field, text: str) -> None:
    if "\0" in text or text.encode(errors="replace").decode() != text:
        raise UserError(f"{flag_of(setting.name)} is {shown(text)}: use UTF-8, without NUL")
    if setting.metadata["names_folder"]:
        check_folder_name(flag_of(setting.name), text)


def check_folder_name(flag: str, name: str) -> None:
    """UserError for a name that leads elsewhere, or is no folder's on some system, also with what
    is added to it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UserError(
            f"{flag} is {shown(name)}, which names a folder: use letters, digits, '.', '_' and "
            "'-', first a letter or a digit, at most 100"
        )


SWITCH = {"no": "no", "off": "no", "false": "no", "yes": "yes", "on": "yes", "true": "yes"}


def typed(settings_class: type[Settings], key: Any, value: Any, where: Path) -> Any:
    """What a file says (`read_yaml`) in its field's type; UserError when the key is none of the
    settings', or the value none of the key's."""
    hints = settings_class.types()
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


MOST_BYTES = 64 * 2**10
NOTHING = ("", "~", "null", "Null", "NULL")
DEEPEST = 8  # a section, its settings, a list of numbers


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds: text, None where nothing stands, lists and mappings.

    What a text means is its setting's to say: YAML itself would read `010` as 8, `1:30` as 90 and
    `5e-4` as no number. DamagedError when the file holds no mapping, is no YAML,
    has tags, nests or repeats itself by aliases (a kilobyte of them unfolds into gigabytes);
    UserError when a name stands twice; OSError when it cannot be read.
    """
    return copy.deepcopy(_parsed(read_text(path, most_bytes=MOST_BYTES), path))


@functools.lru_cache(maxsize=1024)
def _parsed(text: str, path: Path) -> dict[str, Any]:
    """The same of the file's text, taken apart once: a report asks for each run's some 20 times."""
    import yaml  # not needed for --help, which works where nothing is installed

    try:
        _check_structure(yaml.parse(text, Loader=yaml.BaseLoader))
        content = yaml.compose(text, Loader=yaml.BaseLoader)
    # ValueError: the escape "\\U00110000" is no character's
    except (yaml.YAMLError, ValueError) as error:
        raise DamagedError(f"{path} is no YAML file: {error}") from None
    if not isinstance(content, yaml.MappingNode):
        raise DamagedError(f"{path} holds no mapping of names to values")
    return _value(content, path)


def _check_structure(events: Any) -> None:
    """ValueError at the first alias, tag, or level too deep: before anything is made of them."""
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("an alias (*name), write the value out")
        if getattr(event, "tag", None) is not None:
            raise ValueError("a tag (!name), leave it out")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels")


def _value(node: Any, path: Path) -> Any:
    import yaml

    if isinstance(node, yaml.SequenceNode):
        return [_value(item, path) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        return None if node.style is None and node.value in NOTHING else node.value
    values: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise DamagedError(f"{path} is no YAML file: line {line} has a name that is no word")
        if key.value in values:
            raise UserError(f"{path}: {shown(key.value)} stands twice (line {line}): keep one")
        values[key.value] = _value(value, path)
    return values
