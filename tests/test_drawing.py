"""Figures are the same whatever settings of matplotlib a user has."""

import hashlib
import os
import subprocess
import sys

from test_archive import REPOSITORY

from evaluation.figures import Figure, own_style, rendered

ODD = """
text.usetex: True
font.family: No Such Font
font.size: 30
figure.facecolor: red
savefig.bbox: tight
axes.grid: True
backend: module://nowhere
image.cmap: none_such
"""
DRAW = """
import hashlib, os
from evaluation.figures import Figure, own_style, rendered
@own_style()
def drawn():
    figure = Figure(figsize=(3, 2), layout="constrained")
    figure.add_subplot().set_title("T1w_Sw $")
    return figure
print(hashlib.sha256(rendered(drawn(), "png", 50)).hexdigest(), os.environ.get("MPLBACKEND"))
"""


@own_style()
def drawn():
    figure = Figure(figsize=(3, 2), layout="constrained")
    figure.add_subplot().set_title("T1w_Sw $")
    return figure


def run(folder, **environment):
    inherited = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    return subprocess.run(
        [sys.executable, "-c", DRAW],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
    )


def test_settings_and_backend_of_the_user_change_nothing(tmp_path):
    (tmp_path / "matplotlibrc").write_text(ODD)
    done = run(tmp_path, MPLBACKEND="module://matplotlib_inline.backend_inline")
    assert done.returncode == 0, done.stderr
    expected = hashlib.sha256(rendered(drawn(), "png", 50)).hexdigest()
    assert done.stdout.split() == [expected, "module://matplotlib_inline.backend_inline"]


def test_a_figure_is_the_same_bytes_on_any_day(monkeypatch):
    made = []
    for day in ("0", "86400"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", day)
        figure = drawn()
        made.append([rendered(figure, kind, 50) for kind in ("png", "pdf", "svg")])
    assert made[0] == made[1]


def test_one_file_alone_imports_matplotlib():
    lines = {
        path.name: path.read_text().splitlines()
        for path in REPOSITORY.glob("*/*.py")
        if path.parent.name != "tests"
    }
    importing = "import matplotlib", "from matplotlib"
    found = [
        name for name, own in lines.items() for line in own if line.strip().startswith(importing)
    ]
    assert set(found) == {"figures.py"}


def test_a_settings_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")
    assert "UserError: matplotlib cannot read its settings" in run(tmp_path).stderr


def test_the_users_settings_stay_as_they_are():
    import matplotlib

    with matplotlib.rc_context({"font.size": 31}):
        rendered(drawn(), "png", 50)
        assert matplotlib.rcParams["font.size"] == 31
