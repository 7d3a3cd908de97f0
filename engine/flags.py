"""From a recipe and a command line to settings: every dataclass of `option` fields has flags."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from dataloader.errors import DamagedError, OneLineParser, UserError, shown
from engine.config import Settings, StudentConfig, TeacherConfig, TrainConfig, flag_of
from engine.typed import kind_of, typed
from engine.yaml_file import read_yaml

RECIPE_FOLDER = Path(__file__).parent.parent / "script" / "recipes"
ROLES = (TeacherConfig.role, StudentConfig.role)

Config = TypeVar("Config", TeacherConfig, StudentConfig)
Options = TypeVar("Options", bound=Settings)


def resolve(config_class: type[Config], argv: Sequence[str] | None) -> Config:
    """Settings from the class's defaults, under the recipe's, under the flags of `argv`.

    Without `--recipe` the data set's own recipe is taken. UserError: unknown flag or key, a value
    of the wrong type or out of range, a recipe that is not there, a cell that does not parse.
    """
    about = (
        f"Train one {config_class.role} of the grid. Values come from the recipe; a flag "
        "overrides it."
    )
    flags = vars(_parser(config_class, about, required=("cell",)).parse_args(argv))
    recipe = Path(flags.get("recipe") or _default_recipe(flags.get("dataset", TrainConfig.dataset)))
    settings = read_recipe(recipe, config_class)
    config = config_class(**{**settings, **flags, "recipe": str(recipe)})
    _ = config.parsed_cell  # a wrong name is told before anything is loaded
    return config


def parse(
    options_class: type[Options], argv: Sequence[str] | None, about: str, **defaults: Any
) -> Options:
    """Options from the class's defaults, under `defaults`, under the flags of `argv`."""
    flags = vars(_parser(options_class, about, defaults=defaults).parse_args(argv))
    return options_class(**{**defaults, **flags})


def read_recipe(path: Path, config_class: type[TrainConfig]) -> dict[str, Any]:
    """The settings of a recipe for a role: its section `common`, then the role's own.

    A recipe is a mapping of the sections common, teacher and student, each a mapping of setting
    to value.
    """
    sections = _read_sections(path)
    unknown = [shown(name) for name in sections if name not in ("common", *ROLES)]
    if unknown:
        raise UserError(f"{path}: unknown section {min(unknown)}: use common, teacher, student")
    merged: dict[str, Any] = {}
    for name in ("common", config_class.role):
        section = sections.get(name) or {}
        if not isinstance(section, dict):
            raise UserError(f"{path}: section {name} is no mapping of setting to value")
        merged |= section
    return {key: typed(config_class, key, value, path) for key, value in merged.items()}


def _parser(
    options_class: type[Settings],
    about: str,
    *,
    required: Sequence[str] = (),
    defaults: dict[str, Any] | None = None,
) -> OneLineParser:
    parser = OneLineParser(description=about, argument_default=argparse.SUPPRESS)
    hints = typing.get_type_hints(options_class)
    for setting in dataclasses.fields(options_class):
        kind, many = kind_of(hints[setting.name])
        default = (defaults or {}).get(setting.name, setting.default)
        choices = setting.metadata["choices"]
        parser.add_argument(
            flag_of(setting.name),
            type=kind,
            nargs="*" if many else None,
            choices=choices or None,
            action=_TupleAction if many else "store",
            metavar=None if choices else kind.__name__.upper(),
            required=setting.name in required,
            help=setting.metadata["help"] + _shown(default),
        )
    return parser


class _TupleAction(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, tuple(values))


def _shown(default: Any) -> str:
    if default in (None, "", ()):
        return ""
    text = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f" ({text})".replace("%", "%%")


def _default_recipe(dataset: str) -> Path:
    path = RECIPE_FOLDER / f"{dataset.lower()}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in RECIPE_FOLDER.glob("*.yaml")))
        raise UserError(
            f"--dataset {dataset} has no recipe of its own, {path}: name one with --recipe "
            f"(in that folder are {known})"
        )
    return path


def _read_sections(path: Path) -> dict[Any, Any]:
    try:
        return read_yaml(path)
    except FileNotFoundError:
        raise UserError(f"no recipe at {path}: give an existing file with --recipe") from None
    except DamagedError as error:
        raise UserError(
            f"{error}: it is no recipe, whose sections are common, teacher, student"
        ) from None
