"""Names, recipes, settings, records and lists, made up and damaged: read, or refused in a line."""

import json
import string

import pytest
from fuzzing import damaged, fuzzed, read_or_refused
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.settings import known_settings, read_yaml
from dataloader.image_list import read_list
from engine.cells import expand, parse_cell
from engine.config import StudentConfig, TeacherConfig
from engine.flags import RECIPE_FOLDER, resolve
from engine.records import read_environment, read_epochs, read_metrics, write_epochs, write_metrics

FIGURES = {"loss": 1.5, "top1": 0.25, "fidelity_ensemble": 0.5}
EPOCH = {
    "lr": 0.1,
    "train": FIGURES,
    "validation": FIGURES,
    "gap_points": 1.0,
    "skipped_images": {"train": 0, "validation": 0},
    "seconds": 1.5,
}
RECORDS = [{"epoch": number, **EPOCH} for number in (1, 2, 3)]
METRICS = {
    "cell": "T1w",
    "seed": 1,
    "selected_on": "test",
    "last": {"epoch": 3, "gap_points": 1.0, "test": FIGURES},
    "best": {"epoch": 2, "gap_points": 1.0, "test": FIGURES},
}
ENVIRONMENT = {
    "teachers": {"T1w": {"file": "last.pt", "sha256": "00"}},
    "view": "weak",
    "sessions": [{"threads": 1}],
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "file"


@fuzzed(300)
@given(st.one_of(st.text(max_size=30), st.text("T123S0ws_+.-a", max_size=30)))
def test_a_cells_name_is_itself_or_refused(name):
    try:
        cell = parse_cell(name)
    except UserError:
        return
    assert str(cell) == name
    assert cell in expand([name])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
NAMES = st.sampled_from([*StudentConfig.__dataclass_fields__, "common", "teacher", "student", ""])


@fuzzed(200)
@given(
    st.dictionaries(
        NAMES | st.integers(), st.dictionaries(NAMES | st.floats(), VALUES, max_size=4) | VALUES
    )
)
def test_a_recipe_of_anything(path, content):
    def read(path):
        return resolve(StudentConfig, ["--cell", "T1w_Sw", "--recipe", str(path)])

    read_or_refused(read, path, json.dumps(content).encode())


@pytest.mark.parametrize("role", [TeacherConfig, StudentConfig])
def test_damaged_recipes_and_settings(path, role):
    whole = (RECIPE_FOLDER / "cifar100.yaml").read_bytes()

    @fuzzed(150)
    @given(damaged(whole))
    def check(content):
        cell = "T1w" if role is TeacherConfig else "T1w_Sw"
        read_or_refused(
            lambda p: resolve(role, ["--cell", cell, "--recipe", str(p)]), path, content
        )
        read_or_refused(lambda p: known_settings(role, read_yaml(p), p), path, content)

    check()


@fuzzed(200)
@given(st.binary(max_size=200) | damaged(b"a/b.png 0\nc d.png 12\n\n  e.png 99\n" * 3))
def test_lists(path, content):
    for name, label in read_or_refused(lambda p: read_list(p, 100), path, content) or ():
        assert name
        assert 0 <= label < 100


def of(write, value, path):
    write(path, value)
    return path.read_bytes()


def test_damaged_records_are_what_was_written_or_refused(path):
    epochs, metrics = of(write_epochs, RECORDS, path), of(write_metrics, METRICS, path)

    @fuzzed(300)
    @given(damaged(epochs), damaged(metrics))
    def check(damaged_epochs, damaged_metrics):
        read = read_or_refused(lambda p: read_epochs(p, 3), path, damaged_epochs) or []
        if damaged_epochs.count(b'"crc32": ') == 3:  # without it, it is an older run's
            assert read == RECORDS[: len(read)]
        read = read_or_refused(read_metrics, path, damaged_metrics)
        if b'"crc32": ' in damaged_metrics:
            assert read in (None, METRICS)

    check()


@fuzzed(150)
@given(damaged(json.dumps(ENVIRONMENT).encode()) | VALUES.map(lambda v: json.dumps(v).encode()))
def test_environments(path, content):
    saved = read_or_refused(read_environment, path, content)
    for teacher in (saved or {"teachers": {}})["teachers"].values():
        assert type(teacher["sha256"]) is str


@fuzzed(150)
@given(VALUES)
def test_records_of_anything(path, value):
    for read in (read_metrics, lambda p: read_epochs(p, 1)):
        read_or_refused(read, path, json.dumps(value).encode())
