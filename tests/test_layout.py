"""The floors of the house: what a folder may import, read from the files themselves."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {
    "common": -1,
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
    "examples": 4,
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


PROGRAMS = [  # that people call by their file; the rest of script/ has a shell script in front
    path.relative_to(ROOT)
    for path in FILES
    if room_of(path) in ("Affinity", "dataloader", "evaluation")
    and "if __name__ ==" in path.read_text()
]


SCRIPTS = [path for path in sorted((ROOT / "script").glob("*.sh")) if path.name != "common.sh"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_has_help(script):
    done = subprocess.run(["bash", script, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"script/{script.name}" in done.stdout and not done.stderr


def test_packages_that_are_missing_are_named():
    done = subprocess.run(
        [sys.executable, "-S", "train_teacher.py", "--dataset", "synthetic", "--cell", "T1w"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    line = r"error: this Python has no \w+: pip install -r requirements.txt, or use .*\n"
    assert re.fullmatch(line, done.stderr)


def run_from(folder, program, **environment):
    """Its --help in a Python whose own site-packages are all that is on the path."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, program, "--help"],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_programs_run_from_a_plain_checkout(program, tmp_path):
    """From elsewhere too, and where another checkout's packages stand on the path."""
    other = tmp_path / "other"
    for room in ("common", "dataloader", "engine", "evaluation", "Affinity"):
        (other / room).mkdir(parents=True)
        (other / room / "__init__.py").write_text("raise ImportError('another checkout')")
    for run in (
        run_from(ROOT, program),
        run_from(tmp_path, ROOT / program, PYTHONPATH=str(other)),
    ):
        assert run.returncode == 0, run.stderr
        assert "usage" in run.stdout


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = "|".join(
    [*filter(lambda room: (ROOT / room).is_dir(), FLOORS), "docs", "results", "tests"]
)
PATH = re.compile(rf"(?<![\w./-])(?:(?:{FOLDERS})/[\w./*-]*|\w+\.(?:py|toml))")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
EXAMPLES = {
    "script/recipes/birds.yaml",
    "losses/logits.py",
    "script/recipes/colours.yaml",
    "dataloader/colours.py",
}


def missing_of(text, folder):
    """The paths in a page's text, and the links from its folder, that lead nowhere. Files of a
    page's blocks of code are a user's own, and tests are named without their folder."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    paths = {
        found.rstrip(".") for found in PATH.findall(prose)
    } - EXAMPLES  # that a user would write
    here = {path for path in paths if not any([*ROOT.glob(path), *ROOT.glob(f"tests/{path}")])}
    return here | {link for link in LINK.findall(prose) if not (folder / link).exists()}


def test_a_path_that_leads_nowhere_is_seen():
    text = (
        "`engine/cells.py`, `engine/gone.py`, `test_layout.py`, [text](docs/gone.md), metrics/*.py"
    )
    assert missing_of(text, ROOT) == {"engine/gone.py", "docs/gone.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_the_docs_name_exist(page):
    assert not missing_of(page.read_text(), page.parent)


def test_ruff_is_of_one_version():
    hook = re.search(r"rev: v(\S+)", (ROOT / ".pre-commit-config.yaml").read_text())[1]
    assert f"ruff=={hook} " in (ROOT / "requirements-dev.txt").read_text()
