"""The names of the experiment grid, and the only code that takes them apart.

`T2s` is teacher number 2 trained on the strong view; `T1s_T2w_Ss` a student on the strong view
distilled from T1s and T2w; `Sw` and `Ss` the students without a teacher. A part may carry a
variant, the name of another setting: `T1w_Sw+T5` is another student of the plain teacher T1w,
`T1s+wd_Ss` a plain student of another teacher. Capitals count: of the variants `a` and `A` the
second finds the first one's folder on a disk to which they are the same, and is refused there, for
its settings have another name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from common.errors import UserError, shown
from dataloader.views import GRID_LETTERS, VIEW_LETTERS

TEACHER_NUMBERS = (1, 2, 3)  # of the groups; a name may have others
LARGEST_ENSEMBLE = 4
WEAK, STRONG = PAPER_LETTERS = ("w", "s")  # of the two views that the paper compares

LONGEST_NAME = 200  # of a folder, which may have 255 bytes, and of tables' files

_LETTER = f"([{''.join(VIEW_LETTERS)}])"
_VARIANT = r"(?:\+([A-Za-z0-9.-]+))?"
_TEACHER = re.compile(rf"T([1-9]){_LETTER}{_VARIANT}")
_STUDENT = re.compile(rf"S{_LETTER}{_VARIANT}")
_GROUP = re.compile(rf"(T|[0-{len(TEACHER_NUMBERS)}]T){_VARIANT}")


@dataclass(frozen=True)
class TeacherCell:
    """Teacher number `number` on the view of a letter, in its plain form or a variant."""

    number: int
    letter: str
    variant: str | None = None

    def __str__(self) -> str:
        return f"T{self.number}{self.letter}{_suffix(self.variant)}"

    @property
    def view(self) -> str:
        """Name of the view it is trained on."""
        return VIEW_LETTERS[self.letter]

    @property
    def letters(self) -> set[str]:
        """Of that view alone."""
        return {self.letter}

    @property
    def teachers(self) -> tuple[TeacherCell, ...]:
        """A teacher learns from labels alone."""
        return ()


@dataclass(frozen=True)
class StudentCell:
    """A student on the view `letter`, distilled from `teachers` (none: the baseline, 0T)."""

    teachers: tuple[TeacherCell, ...]
    letter: str
    variant: str | None = None

    def __str__(self) -> str:
        return "_".join([*map(str, self.teachers), f"S{self.letter}{_suffix(self.variant)}"])

    @property
    def view(self) -> str:
        """Name of the view that the student and its teachers see."""
        return VIEW_LETTERS[self.letter]

    @property
    def letters(self) -> set[str]:
        """Of the views on which it and its teachers were trained."""
        return {self.letter, *(teacher.letter for teacher in self.teachers)}

    @property
    def plain(self) -> StudentCell:
        """The same cell without variants."""
        teachers = tuple(replace(teacher, variant=None) for teacher in self.teachers)
        return StudentCell(teachers, self.letter)


Cell = TeacherCell | StudentCell


def parse_teacher(name: str) -> TeacherCell:
    """The teacher called `name`; UserError when it is no teacher's name."""
    _check_length(name)
    match = _TEACHER.fullmatch(name)
    if match is None:
        letters = " or ".join(VIEW_LETTERS)
        raise UserError(
            f"unknown teacher cell {shown(name)}: use T<number><{letters}>, such as T1w or T2s, "
            "with a variant T1w+name"
        )
    return TeacherCell(int(match[1]), *match.groups()[1:])


def parse_student(name: str) -> StudentCell:
    """The student called `name`; UserError when it is no student's name."""
    _check_length(name)
    *teachers, last = name.split("_")
    match = _STUDENT.fullmatch(last)
    if match is None or not all(map(_TEACHER.fullmatch, teachers)):
        raise UserError(
            f"unknown student cell {shown(name)}: use names such as Sw, T1w_Ss or T1s_T2w_Ss, "
            "with a variant T1w_Ss+name, of letters, digits, '.' and '-': '_' joins models"
        )
    cell = StudentCell(tuple(map(parse_teacher, teachers)), *match.groups())
    _check_teachers(cell)
    return cell


def parse_cell(name: str) -> Cell:
    """The teacher or student called `name`; UserError when it is neither."""
    return parse_teacher(name) if _TEACHER.fullmatch(name) else parse_student(name)


def views_of(name: str) -> set[str]:
    """Names of the views on which the models that `name` joins were trained: of a cell's, or of
    several teachers'."""
    parts = name.split("_")
    matches = [_TEACHER.fullmatch(part) or _STUDENT.fullmatch(part) for part in parts]
    letters = [match.groups()[-2] for match in matches if match]
    if len(letters) < len(parts):
        raise UserError(f"unknown cell {shown(name)}: use names such as T1w or T1s_T2w_Ss")
    return {VIEW_LETTERS[letter] for letter in letters}


def teacher_cells(variant: str | None = None) -> list[TeacherCell]:
    """All teachers of the grid (six, for two views), weak ones first."""
    return [TeacherCell(k, letter, variant) for letter in GRID_LETTERS for k in TEACHER_NUMBERS]


def student_cells(
    num_teachers: int, variant: str | None = None, *, letters: Iterable[str] = GRID_LETTERS
) -> list[StudentCell]:
    """The grid's students of `num_teachers` teachers: 2, 4, 8 and 16 cells for 0 to 3 of two
    views."""
    numbers = TEACHER_NUMBERS[:num_teachers]
    rows = itertools.product(letters, repeat=num_teachers + 1)
    return [StudentCell(tuple(map(TeacherCell, numbers, row)), row[-1], variant) for row in rows]


def expand(names: Iterable[str], read: Callable[[str], Cell] = parse_cell) -> list[Cell]:
    """Cells for names and groups: `T` is all teachers, `0T` to `3T` the students of so many;
    `2T+T5` the variants T5 of those students. `read` parses what is no group."""
    return [cell for name in names for cell in _cells_of(name, read)]


def _cells_of(name: str, read: Callable[[str], Cell]) -> Sequence[Cell]:
    match = _GROUP.fullmatch(name)
    if match is None:
        return [read(name)]
    group, variant = match.groups()
    return teacher_cells(variant) if group == "T" else student_cells(int(group[0]), variant)


def grid_order(cell: Cell) -> tuple[bool, int, str]:
    """Sort key: teachers first, then students by number of teachers, then by name."""
    return isinstance(cell, StudentCell), len(cell.teachers), str(cell)


def joined(teachers: Iterable[TeacherCell]) -> str:
    """The name of several teachers together, such as T1w_T2s."""
    return "_".join(map(str, teachers))


def _suffix(variant: str | None) -> str:
    return "" if variant is None else f"+{variant}"


def _check_length(name: str) -> None:
    if len(name) > LONGEST_NAME:
        raise UserError(
            f"unknown cell {shown(name)}: a name has at most {LONGEST_NAME} characters, so use "
            "shorter variants"
        )


def _check_teachers(cell: StudentCell) -> None:
    numbers = [teacher.number for teacher in cell.teachers]
    if numbers != sorted(set(numbers)) or len(numbers) > LARGEST_ENSEMBLE:
        raise UserError(
            f"unknown student cell {cell}: name at most {LARGEST_ENSEMBLE} different teachers "
            "(LARGEST_ENSEMBLE in engine/cells.py), in the order of their numbers"
        )
