"""YAML as recipes and saved settings need it: small, flat, and nothing that code could hide in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dataloader.errors import DamagedError
from dataloader.files import read_text

MOST_BYTES = 64 * 2**10
DEEPEST = 8  # a section, its settings, a list of numbers


def read_yaml(path: Path) -> dict[Any, Any]:
    """The mapping that a YAML file holds. DamagedError when it holds none, is no YAML, nests or
    repeats itself by aliases (a kilobyte of them unfolds into gigabytes); OSError when it cannot
    be read."""
    import yaml  # not needed for --help, which works where nothing is installed

    text = read_text(path, most_bytes=MOST_BYTES)
    try:
        _check_structure(yaml.parse(text, Loader=yaml.SafeLoader))
        content = yaml.safe_load(text)
    # ValueError and the rest: `2001-99-99`, `0b_`, `!!int abc`, a number of 5,000 digits
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedError(f"{path} is no YAML file: {error}") from None
    if not isinstance(content, dict):
        raise DamagedError(f"{path} holds no mapping of names to values")
    return content


def _check_structure(events: Any) -> None:
    """ValueError at the first alias, or level too deep: before anything is made of them."""
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("an alias (*name), write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels")
