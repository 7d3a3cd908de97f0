"""The losses by name, and their settings as those of a student, or of a teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from common.settings import option
from losses.kl import SoftenedKL
from losses.loss import Loss
from losses.map_correlation import MapCorrelation

LOSSES: dict[str, type[Loss]] = {
    "kl": SoftenedKL,
}
DEFAULT = "kl"  # the published one


def loss_of(config: Any) -> Loss:
    """The loss that a student's settings choose, with its own settings among them."""
    return _made(LOSSES[config.loss], config)


def map_correlation_of(config: Any) -> Loss:
    """What holds the maps of a teacher, with its settings among the teacher's."""
    return _made(MapCorrelation, config)


def _made(kind: type[Loss], config: Any) -> Loss:
    return kind(**{own.name: getattr(config, own.name) for own in dataclasses.fields(kind)})


def settings_class(losses: Mapping[str, type[Loss]]) -> type:
    """A dataclass of `loss`, which names one of the losses, and of the settings of all of them.
    Several may have one in common; ValueError where they mean different things by its name."""
    choice = option(DEFAULT, "what is learnt from the teachers", choices=tuple(losses))
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
        [(own, kind, _of_task(setting)) for own, (kind, setting) in fields.items()],
        frozen=True,
        kw_only=True,
    )


def _of_task(setting: dataclasses.Field) -> Any:
    """The setting as one that models who learn side by side may differ in."""
    metadata = {**setting.metadata, "per_task": True}
    return dataclasses.field(default=setting.default, metadata=metadata)


LossSettings = settings_class(LOSSES)
MapSettings = _settings(
    "MapSettings", {own.name: (own.type, own) for own in dataclasses.fields(MapCorrelation)}
)
