"""TensorBoard is optional: one that does not work is left out, in one line."""

import sys

import pytest

from engine import progress as tensorboard
from engine.progress import Scalars

RECORD = {"epoch": 1, "lr": 0.1, "gap_points": 0.0, "train": {"loss": 1.0}, "validation": {}}


@pytest.fixture(autouse=True)
def not_imported():
    """Neither before a test nor, where that imported one of its own, after it."""
    forget()
    yield
    forget()


def forget():
    for name in [*sys.modules]:
        if name.partition(".")[0] == "tensorboard" or name.startswith("torch.utils.tensorboard"):
            del sys.modules[name]
    writer_class.cache_clear()


writer_class = tensorboard._writer_class


def write(folder):
    for run in ("seed1", "seed2"):
        scalars = Scalars(folder / run, first_epoch=1)
        scalars.write(RECORD)
        scalars.close()


@pytest.mark.parametrize(
    "content",
    [
        "",  # any folder of that name
        "raise ImportError('built for another protobuf\\nwas it not')",
        "import no_such_package",
        "raise TypeError('Descriptors cannot be created directly.')",
        "__version__ = '1.0'",
        "__version__ = 'none'",
    ],
)
def test_what_cannot_be_imported_is_left_out(tmp_path, monkeypatch, capsys, content):
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "__init__.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("TensorBoard is left out, training goes on (")


def test_without_it_nothing_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    write(tmp_path)
    assert capsys.readouterr().err == ""


class Writer:
    """A SummaryWriter for which something is wrong."""

    def __init__(self, folder, *, purge_step):
        if "seed2" in folder:
            raise FileExistsError(f"{folder} is no folder")

    def add_scalar(self, *args):
        raise OSError("disk full")

    def close(self):
        raise AssertionError("it was left out")


def test_one_that_cannot_write_is_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tensorboard, "_writer_class", lambda: Writer)
    write(tmp_path)
    assert len(capsys.readouterr().err.splitlines()) == 2
