"""What a run learns, by its settings."""

from __future__ import annotations

from engine.config import Config, StudentConfig, TeacherConfig
from losses.combination import Combination
from losses.objective import Objective, distilled, labels_only, map_held
from losses.registry import losses_of, map_correlation_of


def objective_of(config: Config) -> Objective:
    """The labels alone for those who hear no teacher."""
    smoothing = config.label_smoothing
    if not config.heard:
        return labels_only(label_smoothing=smoothing)
    if isinstance(config, TeacherConfig):
        return map_held(map_correlation_of(config), label_smoothing=smoothing)
    return distilled(
        losses_of(config),
        ce_weight=config.ce_weight,
        kd_weights=config.kd_weight,
        label_smoothing=smoothing,
    )


def combination_of(config: Config) -> Combination | None:
    """What several teachers make; None of one or none."""
    if not isinstance(config, StudentConfig) or len(config.heard) < 2:
        return None
    return Combination(config.combine, config.temperature)
