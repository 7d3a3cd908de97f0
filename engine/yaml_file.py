"""YAML as recipes and saved settings need it: small, flat, and nothing that code could hide in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dataloader.errors import DamagedError, UserError, shown
from dataloader.files import read_text

MOST_BYTES = 64 * 2**10
NOTHING = ("", "~", "null", "Null", "NULL")
DEEPEST = 8  # a section, its settings, a list of numbers


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds: text, None where nothing stands, lists and mappings.

    What a text means is its setting's to say (`engine.typed`): YAML itself would read `010` as 8,
    `1:30` as 90 and `5e-4` as no number. DamagedError when the file holds no mapping, is no YAML,
    has tags, nests or repeats itself by aliases (a kilobyte of them unfolds into gigabytes);
    UserError when a name stands twice; OSError when it cannot be read.
    """
    import yaml  # not needed for --help, which works where nothing is installed

    text = read_text(path, most_bytes=MOST_BYTES)
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
