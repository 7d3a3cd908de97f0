"""What a run learns, by its settings."""

from __future__ import annotations

from engine.config import Config, TeacherConfig
from losses.objective import Objective, distilled, labels_only, map_held
from losses.registry import loss_of, map_correlation_of


def objective_of(config: Config) -> Objective:
    """The labels alone for those who hear no teacher."""
    if not config.heard:
        return labels_only()
    if isinstance(config, TeacherConfig):
        return map_held(map_correlation_of(config))
    return distilled(loss_of(config), ce_weight=config.ce_weight)
