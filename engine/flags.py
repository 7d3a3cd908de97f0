"""From a recipe and a command line to settings: every dataclass of `option` fields has flags."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from common.errors import DamagedError, OneLineParser, UserError, shown
from common.settings import (
    NO_YES,
    Settings,
    check_folder_name,
    flag_of,
    kind_of,
    read_as,
    read_yaml,
    typed,
)
from engine.cells import Cell, expand
from engine.config import StudentConfig, TeacherConfig, TrainConfig

RECIPE_FOLDER = Path(__file__).parent.parent / "script" / "recipes"
OWN_RECIPE = RECIPE_FOLDER / "folder.yaml"
ROLES = (TeacherConfig.role, StudentConfig.role)

Config = TypeVar("Config", TeacherConfig, StudentConfig)
Options = TypeVar("Options", bound=Settings)


def resolve(config_class: type[Config], argv: Sequence[str] | None) -> list[Config]:
    """Settings from the class's defaults, under the recipe's, under the flags of `argv`: of each
    cell with each seed that they name.

    Without `--recipe` the data set's own recipe is taken; the mean and standard deviation of a
    user's own images, where neither says them, are the run's or measured. UserError: unknown flag
    or key, a value of the wrong type or out of range, a recipe that is not there, a cell that does
    not parse.
    """
    about = (
        f"Train one {config_class.role} of the grid, or several in one process. Values come from "
        "the recipe; a flag overrides it."
    )
    flags = _one_or_several(
        _parser(config_class, about, repeated=("cell", "seed")), config_class, argv
    )
    cells = expand(flags.pop("cells"), config_class.read_cell)
    seeds = [{"seed": seed} for seed in flags.pop("seeds", ())] or [{}]
    recipe = Path(flags.get("recipe") or _default_recipe(flags))
    shared = read_recipe(recipe, config_class)
    variants = _read_variants(flags.get("variants", shared.get("variants")))
    of_cells = [
        {**shared, **variants(cell, config_class), **flags, "cell": str(cell)} for cell in cells
    ]
    configs = [
        _of_one_replicate(config_class, {**of_cell, **seed, "recipe": str(recipe)})
        for seed in seeds
        for of_cell in of_cells
    ]
    for config in configs:
        _ = config.parsed_cell  # a group may name cells of the other role
    return [_with_statistics(config) for config in configs]


def _of_one_replicate(config_class: type[Config], settings: dict[str, Any]) -> Config:
    """A student learns from the teachers of its seed, if from no others."""
    config = config_class(**settings)
    if isinstance(config, TeacherConfig) or "teacher_seed" in settings:
        return config
    return dataclasses.replace(config, teacher_seed=config.seed)


def _with_statistics(config: Config) -> Config:
    if config.views is None or config.mean:
        return config
    from engine.data import with_statistics  # reads images

    return with_statistics(config)


def _one_or_several(
    parser: OneLineParser, config_class: type[Config], argv: Sequence[str] | None
) -> dict[str, Any]:
    """The flags of `argv`, cells and seeds as lists, whether one or several were named."""
    several: dict[str, tuple[type, str]] = {
        "cells": (str, "several cells, or groups of them: T, 0T to 3T"),
        "seeds": (int, "several seeds of each cell"),
    }
    for name, (kind, help) in several.items():
        parser.add_argument(
            f"--{name}",
            nargs="+",
            action="extend",
            type=_reader(kind),
            metavar=kind.__name__.upper(),
            help=help,
        )
    flags = vars(parser.parse_args(argv))
    for name in several:
        one = name.removesuffix("s")
        if one in flags and name in flags:
            parser.error(f"use --{one} or --{name}, not both")
        if one in flags:
            flags[name] = flags.pop(one)
    if "cells" not in flags:
        parser.error("--cell is needed, or --cells for several")
    return flags


def parse(
    options_class: type[Options], argv: Sequence[str] | None, about: str, **defaults: Any
) -> Options:
    """Options from the class's defaults, under `defaults`, under the flags of `argv`."""
    flags = vars(_parser(options_class, about, defaults=defaults).parse_intermixed_args(argv))
    return options_class(**{**defaults, **flags})


def read_recipe(path: Path, config_class: type[TrainConfig]) -> dict[str, Any]:
    """The settings of a recipe for a role: its section `common`, then the role's own.

    A recipe is a mapping of the sections common, teacher and student, each a mapping of setting
    to value.
    """
    sections = _read_sections(path, "recipe", "whose sections are common, teacher, student")
    unknown = [shown(name) for name in sections if name not in ("common", *ROLES)]
    if unknown:
        raise UserError(f"{path}: unknown section {min(unknown)}: use common, teacher, student")
    merged = (sections.get("common") or {}) | (sections.get(config_class.role) or {})
    return {key: typed(config_class, key, value, path) for key, value in merged.items()}


def _read_variants(
    name: str | None,
) -> Callable[[Cell, type[TrainConfig]], dict[str, Any]]:
    """What the file of `--variants` says of a cell in a role, by the variant in its name; nothing
    of a plain one, or without a file. UserError for a variant that it does not have."""
    if name is None:
        return lambda cell, role: {}
    path = Path(name)
    sections = _read_sections(path, "file of variants", "a mapping of settings for each")

    def variant_of(cell: Cell, role: type[TrainConfig]) -> dict[str, Any]:
        if cell.variant is None:
            return {}
        if cell.variant not in sections:
            raise UserError(f"{path} has no variant {cell.variant}, which {cell} names: add it")
        section = sections[cell.variant] or {}
        return {key: typed(role, key, value, path) for key, value in section.items()}

    return variant_of


def _parser(
    options_class: type[Settings],
    about: str,
    *,
    defaults: dict[str, Any] | None = None,
    repeated: Sequence[str] = (),
) -> OneLineParser:
    """A flag for each setting; those `repeated` collect what each time gives, of the other single
    values the last counts."""
    parser = OneLineParser(description=about, argument_default=argparse.SUPPRESS)
    hints = typing.get_type_hints(options_class)
    for setting in dataclasses.fields(options_class):
        kind, many = kind_of(hints[setting.name])
        default = (defaults or {}).get(setting.name, setting.default)
        choices = setting.metadata["choices"]
        positional = setting.metadata["positional"]
        parser.add_argument(
            setting.name if positional else flag_of(setting.name),
            nargs="*" if many else "?" if choices == NO_YES else None,
            const="yes" if choices == NO_YES else None,
            choices=choices or None,
            action=_TupleAction if many else "append" if setting.name in repeated else "store",
            help=setting.metadata["help"] + _shown(default),
            type=_reader(kind),
            metavar=None if choices else kind.__name__.upper(),
        )
    return parser


def _reader(kind: type) -> Callable[[str], Any]:
    """How argparse reads a value of that type."""

    def read(text: str) -> Any:
        try:
            return read_as(kind, text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


class _TupleAction(argparse.Action):
    """Lists add up: `--milestones 3 --milestones 5` is `--milestones 3 5`."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest, ()), *values))


def _shown(default: Any) -> str:
    if default in (None, "", ()):
        return ""
    text = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f" ({text})".replace("%", "%%")


def _default_recipe(flags: Mapping[str, Any]) -> Path:
    """The data set's own recipe; without one, that for images of the user's own."""
    dataset = flags.get("dataset", TrainConfig.dataset)
    check_folder_name("--dataset", dataset)
    path = RECIPE_FOLDER / f"{dataset.lower()}.yaml"
    if path.is_file():
        return path
    if "views" in flags:
        return OWN_RECIPE
    known = ", ".join(sorted(recipe.stem for recipe in RECIPE_FOLDER.glob("*.yaml")))
    raise UserError(
        f"--dataset {dataset} has no recipe of its own, {path}: name one with --recipe "
        f"(in that folder are {known}); images of your own need --views"
    )


def _read_sections(path: Path, kind: str, form: str) -> dict[Any, Any]:
    """The mappings of a file of some kind and form by name, None for an empty one."""
    try:
        sections = read_yaml(path)
    except FileNotFoundError:
        raise UserError(f"no {kind} at {path}: give an existing file") from None
    except DamagedError as error:
        raise UserError(f"{error}: it is no {kind}, {form}") from None
    for name, section in sections.items():
        if not isinstance(section, dict | None):
            raise UserError(f"{path}: section {name} is no mapping of setting to value")
    return sections
