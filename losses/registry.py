"""The losses by name, and their settings as those of a student, or of a teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import UserError
from common.settings import PLUS, SumsOf, option
from losses.attention_transfer import AttentionTransfer
from losses.class_map import ClassMap
from losses.decoupled import DecoupledKL
from losses.dist import Dist
from losses.hard_label import TeacherLabel
from losses.kl import SoftenedKL
from losses.logit_mse import LogitMSE
from losses.loss import Loss
from losses.map_correlation import MapCorrelation
from losses.standardised import StandardisedKL

LOSSES: dict[str, type[Loss]] = {
    "kl": SoftenedKL,
    "standardised": StandardisedKL,
    "decoupled": DecoupledKL,
    "dist": Dist,
    "logit_mse": LogitMSE,
    "hard_label": TeacherLabel,
    "attention": AttentionTransfer,
    "class_map": ClassMap,
}
DEFAULT = "kl"  # the published one


def losses_of(config: Any) -> dict[str, Loss]:
    """The losses by name that a student's settings choose, with their own settings among them."""
    return {name: _made(LOSSES[name], config) for name in config.loss.split(PLUS)}


def check_weights(loss: str, kd_weight: Sequence[float]) -> None:
    """UserError unless there is one for each of the losses, or none."""
    if len(kd_weight) not in (0, loss.count(PLUS) + 1):
        raise UserError(
            f"--kd-weight has {len(kd_weight)} numbers and --loss {loss} needs "
            f"{loss.count(PLUS) + 1}: one for each loss, in this order, or none"
        )


def map_correlation_of(config: Any) -> Loss:
    """What holds the maps of a teacher, with its settings among the teacher's."""
    return _made(MapCorrelation, config)


def _made(kind: type[Loss], config: Any) -> Loss:
    return kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)})


def settings_class(losses: Mapping[str, type[Loss]]) -> type:
    """A dataclass of `loss`, which names one of the losses, and of the settings of all of them.
    Several may have one in common; ValueError where they mean different things by its name."""
    help = "what is learnt from the teachers, or a sum of several: kl+class_map"
    choice = option(DEFAULT, help, choices=SumsOf(losses))
    fields: dict[str, tuple[Any, Any]] = {"loss": ("str", choice)}
    for name, kind in losses.items():
        for setting in dataclasses.fields(kind):
            _, known = fields.setdefault(setting.name, (setting.type, setting))
            if (known.default, known.metadata) != (setting.default, setting.metadata):
                raise ValueError(f"loss {name}: another loss has a setting {setting.name} too")
    return _settings("LossSettings", fields)


def _settings(name: str, fields: Mapping[str, tuple[Any, Any]]) -> type:
    return dataclasses.make_dataclass(
        name,
        [(name, kind, _of_task(setting)) for name, (kind, setting) in fields.items()],
        frozen=True,
        kw_only=True,
    )


def _of_task(setting: dataclasses.Field) -> Any:
    """The setting as one that models who learn side by side may differ in."""
    metadata = {**setting.metadata, "per_task": True}
    return dataclasses.field(default=setting.default, metadata=metadata)


LossSettings = settings_class(LOSSES)
MapSettings = _settings(
    "MapSettings", {field.name: (field.type, field) for field in dataclasses.fields(MapCorrelation)}
)
