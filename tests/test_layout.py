"""The floors of the house: what a folder may import, read from the files themselves."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {
    "metrics": 0,
    "losses": 0,
    "models": 0,
    "dataloader": 0,
    "engine": 1,
    "train_teacher": 2,
    "train_student": 2,
    "evaluation": 2,
    "Affinity": 3,
    "script": 4,
}
FILES = sorted(
    path for path in [*ROOT.glob("*/*.py"), *ROOT.glob("*.py")] if path.stem != "__init__"
)


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def runs_up(room, other):
    return other in FLOORS and other != room and FLOORS[other] >= FLOORS[room]


def test_an_import_that_runs_up_is_seen():
    source = "import metrics.overlap\nif True:\n    from engine.cells import expand"
    assert [room for room in imported_rooms(source) if runs_up("dataloader", room)] == [
        "metrics",
        "engine",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_down(path):
    room = room_of(path)
    if room in FLOORS:
        wrong = [other for other in imported_rooms(path.read_text()) if runs_up(room, other)]
        assert not wrong


def test_no_file_edits_the_import_path():
    needle = "sys." + "path"
    assert not [path for path in FILES if needle in path.read_text()]
