"""Which teachers are asked for a run, and about what."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from engine.cells import TeacherCell
from engine.config import OWN_VIEW, TEACHERS_SEE, TRAINED, Config


def parts_heard(teachers_see: str, teachers: Sequence[TeacherCell]) -> dict[TeacherCell, str]:
    """Which part of the images each of a run's teachers is asked about."""
    return dict(zip(teachers, itertools.cycle(TEACHERS_SEE[teachers_see]), strict=False))


def questions_of(config: Config) -> dict[str, tuple[TeacherCell, str]]:
    """The teachers that are asked for a run, and about which part of the images, by a text that
    says both, and their view where it is not the run's."""
    heard = parts_heard(config.teachers_see, config.heard)
    return {_question(config, *asked): asked for asked in heard.items()}


def _question(config: Config, cell: TeacherCell, part: str) -> str:
    view = _other_view(config, cell)
    return f"{cell}" + (f" {part}" if part != TRAINED else "") + (f" {view}" if view else "")


def _other_view(config: Config, cell: TeacherCell) -> str | None:
    is_other = config.teachers_see == OWN_VIEW and cell.view != config.parsed_cell.view
    return cell.view if is_other else None


def views_of(config: Config) -> dict[str, str]:
    """Of the questions of a run those about another view of the images, and that view."""
    views = {text: _other_view(config, cell) for text, (cell, _) in questions_of(config).items()}
    return {text: view for text, view in views.items() if view}
