"""The settings of a run: frozen, resolved once from defaults, a recipe and flags, then saved.

Each field below is a flag, a recipe key and a line of config.yaml; nothing else names settings.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from engine.cells import StudentCell, TeacherCell, parse_student, parse_teacher
from engine.errors import RunError
from engine.schedule import SCHEDULES

ON_BAD_IMAGE = ("error", "skip")
FIRST_STUDENT_STREAM = 1000
RECIPE_FOLDER = Path(__file__).parent.parent / "script" / "recipes"


def option(
    default: Any, help: str, *, choices: Sequence[str] = (), operational: bool = False
) -> Any:
    """A setting. `operational` ones (where and how fast) may change when a run is resumed."""
    meta = {"help": help, "choices": tuple(choices), "operational": operational}
    return field(default=default, metadata=meta)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What a teacher and a student have in common."""

    dataset: str = option("CIFAR100", "data set: CIFAR100, CIFAR100_imb100, synthetic, ...")
    cell: str = option("", "cell of the grid: T1w for a teacher, T1s_T2w_Ss for a student")
    recipe: str | None = option(None, "YAML file of settings", operational=True)

    data_path: str = option("data", "folder with the data sets", operational=True)
    train_list: str | None = option(None, "list file (`path label` a line) of training images")
    list_path: str | None = option(None, "folder of ImageNet-LT's lists, if not the data's")
    on_bad_image: str = option("error", "an image that cannot be read", choices=ON_BAD_IMAGE)
    holdout_fraction: float = option(0.0, "share of the training set that selects the best epoch")
    image_size: int = option(224, "height and width of the views, pixels")

    arch: str = option("resnet18", "architecture, a name of models/registry.py")
    pretrained: str = option("none", "state_dict file to start from, or none")

    epochs: int = option(200, "passes over the training set")
    batch_size: int = option(128, "images a step")
    lr: float = option(0.1, "base learning rate")
    momentum: float = option(0.9, "momentum of SGD")
    weight_decay: float = option(0.0, "weight decay of SGD")
    schedule: str = option("multistep", "decay of the learning rate", choices=SCHEDULES)
    milestones: tuple[int, ...] = option((), "epochs of the multi-step decay")
    decay: float = option(0.1, "factor at each milestone")
    warmup_epochs: int = option(8, "epochs of linear warm-up, 0 for none")

    amp: str = option("none", "mixed precision", choices=("none", "bf16"))
    device: str = option("auto", "auto, cpu, cuda or cuda:N", operational=True)
    workers: int = option(2, "processes that compute views", operational=True)
    output_dir: str = option("runs", "folder that holds the runs", operational=True)
    resume: str = option(
        "auto", "auto: go on; never: start anew", choices=("auto", "never"), operational=True
    )

    def __post_init__(self) -> None:
        for name, ok, need in self._rules():
            if not ok:
                raise RunError(f"{_flag(name)} is {getattr(self, name)}: {need}")

    def _rules(self) -> list[tuple[str, bool, str]]:
        return [
            ("image_size", self.image_size >= 8, "at least 8 pixels"),
            ("holdout_fraction", 0 <= self.holdout_fraction < 1, "at least 0 and under 1"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 2, "at least 2"),
            ("lr", self.lr > 0, "above 0"),
            ("momentum", 0 <= self.momentum < 1, "at least 0 and under 1"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("warmup_epochs", self.warmup_epochs >= 0, "at least 0"),
            ("workers", self.workers >= 0, "at least 0"),
        ]


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(TrainConfig):
    """Settings of `train_teacher.py`."""

    @property
    def parsed_cell(self) -> TeacherCell:
        """The cell's parts."""
        return parse_teacher(self.cell)

    @property
    def seed(self) -> int:
        """A teacher's number is its seed: T1w and T2w differ in nothing else."""
        return self.parsed_cell.number

    @property
    def stream(self) -> int:
        """What its weights, order and views are drawn from."""
        return self.seed


@dataclass(frozen=True, kw_only=True)
class StudentConfig(TrainConfig):
    """Settings of `train_student.py`."""

    seed: int = option(1, "seed of initial weights, order and views")
    temperature: float = option(3.0, "softens teacher and student alike")
    ce_weight: float = option(0.6, "weight of the labels' cross-entropy; distillation has the rest")
    teacher_checkpoint: str = option(
        "last", "epoch of the teachers to learn from", choices=("last", "best")
    )

    @property
    def parsed_cell(self) -> StudentCell:
        """The cell's parts."""
        return parse_student(self.cell)

    @property
    def stream(self) -> int:
        """What its weights, order and views are drawn from: never a teacher's stream, for a
        student that starts from its teacher's own weights would agree with it by birth."""
        return FIRST_STUDENT_STREAM + self.seed

    def _rules(self) -> list[tuple[str, bool, str]]:
        return [
            *super()._rules(),
            ("seed", self.seed >= 0, "at least 0"),
            ("temperature", self.temperature > 0, "above 0"),
            ("ce_weight", 0 <= self.ce_weight <= 1, "between 0 and 1"),
        ]


Config = TypeVar("Config", TeacherConfig, StudentConfig)
ROLES = {TeacherConfig: "teacher", StudentConfig: "student"}


def resolve(config_class: type[Config], argv: Sequence[str] | None) -> Config:
    """Settings from the class's defaults, under the recipe's, under the flags of `argv`.

    Without `--recipe` the data set's own recipe is taken. RunError: unknown flag or key, a value
    of the wrong type or out of range, a recipe that is not there, a cell that does not parse.
    """
    flags = vars(_parser(config_class).parse_args(argv))
    recipe = Path(flags.get("recipe") or _default_recipe(flags.get("dataset", TrainConfig.dataset)))
    settings = read_recipe(recipe, ROLES[config_class], config_class)
    config = config_class(**{**settings, **flags, "recipe": str(recipe)})
    _ = config.parsed_cell  # a wrong name is told before anything is loaded
    return config


def read_recipe(path: Path, role: str, config_class: type[TrainConfig]) -> dict[str, Any]:
    """The settings for `role` ("teacher" or "student") in a recipe: `common`, then the role's.

    A recipe is a mapping of those three sections, each a mapping of setting to value.
    """
    sections = _read_yaml(path)
    unknown = set(sections) - {"common", *ROLES.values()}
    if unknown:
        raise RunError(f"{path}: unknown section {min(unknown)!r}: use common, teacher, student")
    merged: dict[str, Any] = {}
    for name in ("common", role):
        section = sections.get(name) or {}
        if not isinstance(section, dict):
            raise RunError(f"{path}: section {name} is no mapping of setting to value")
        merged |= section
    return {key: _typed(config_class, key, value, path) for key, value in merged.items()}


def to_yaml(config: TrainConfig) -> str:
    """The resolved settings as YAML, in the order of the fields."""
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in _values(config).items()}
    return yaml.safe_dump(values, sort_keys=False)


def changed_settings(saved: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """The settings that make `config` another experiment than the `saved` one, as sentences."""
    now = yaml.safe_load(to_yaml(config))
    fields = [f for f in dataclasses.fields(config) if not f.metadata["operational"]]
    # A run older than a setting was made with what is now that setting's default.
    before = {f.name: saved.get(f.name, f.default) for f in fields}
    return [
        f"{_flag(name)} was {value}, now {now[name]}"
        for name, value in before.items()
        if value != now[name]
    ]


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> typing.NoReturn:
        raise RunError(f"{message} (--help lists the flags)")


def _parser(config_class: type[TrainConfig]) -> argparse.ArgumentParser:
    parser = _OneLineParser(
        description=f"Train one {ROLES[config_class]} of the grid. Values come from the recipe; "
        "a flag overrides it.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    hints = typing.get_type_hints(config_class)
    for setting in dataclasses.fields(config_class):
        kind, many = _kind(hints[setting.name])
        parser.add_argument(
            _flag(setting.name),
            type=kind,
            nargs="*" if many else None,
            choices=setting.metadata["choices"] or None,
            action=_TupleAction if many else "store",
            metavar=None if setting.metadata["choices"] else kind.__name__.upper(),
            required=setting.name == "cell",
            help=setting.metadata["help"],
        )
    return parser


class _TupleAction(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, tuple(values))


def _kind(hint: Any) -> tuple[type, bool]:
    """The scalar type of a field, and whether it holds several."""
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True
    if isinstance(hint, types.UnionType):
        return typing.get_args(hint)[0], False
    return hint, False


def _typed(config_class: type[TrainConfig], key: str, value: Any, where: Path) -> Any:
    """A recipe's value in its field's type; RunError when the key or the type is wrong."""
    hints = typing.get_type_hints(config_class)
    if key not in hints:
        close = difflib.get_close_matches(key, hints, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise RunError(f"{where}: unknown setting {key!r}{hint}")
    kind, many = _kind(hints[key])
    if value is None and isinstance(hints[key], types.UnionType):
        return None
    values = value if many and isinstance(value, list) else [value]
    if not all(_is_a(item, kind) for item in values):
        raise RunError(f"{where}: {key} is {value!r}, which is not {kind.__name__}")
    choices = {f.name: f.metadata["choices"] for f in dataclasses.fields(config_class)}[key]
    if choices and value not in choices:
        raise RunError(f"{where}: {key} is {value!r}: use {' or '.join(choices)}")
    return tuple(map(kind, values)) if many else kind(value)


def _is_a(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _default_recipe(dataset: str) -> Path:
    path = RECIPE_FOLDER / f"{dataset.lower()}.yaml"
    if not path.is_file():
        raise RunError(f"no recipe of that name for --dataset {dataset}: give one with --recipe")
    return path


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise RunError(f"no recipe at {path}: give an existing file with --recipe") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is no YAML file: {error}") from None
    if not isinstance(content, dict):
        raise RunError(f"{path} is no recipe: it needs the sections common, teacher, student")
    return content


def _values(config: TrainConfig) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
