"""Checkpoints and stored arrays, damaged: what was written, or refused in a line."""

import io
import zipfile

import numpy as np
import pytest
import torch
from conftest import learner_of
from fuzzing import damaged, fuzzed, read_or_refused
from hypothesis import given
from hypothesis import strategies as st

from common.checked_zip import read_npz
from engine import checkpoint
from engine.checkpoint import Header
from engine.learner import restore
from models.registry import build_model

ARRAYS = {
    "key": np.array("all of it"),
    "index": np.arange(4),
    "logits": np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3),
    "maps": np.ones((1, 2, 2, 2), np.float16),
}
KINDS = {"key": ("U", 0), "index": ("int64", 1), "logits": ("float32", 2), "maps": ("float16", 4)}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "file"


def learner():
    return learner_of(build_model("resnet8", 10))


def trained():
    """A learner after one step, so that it has momentum."""
    made = learner()
    made.step(made.model(torch.ones(2, 3, 32, 32)).square().mean())
    return made


class Saved:
    """A checkpoint's bytes, which a failing test does not print."""

    def __init__(self, path):
        state = trained().state_dict() | {"best_epoch": 1}
        checkpoint.save(path, Header("resnet8", 10, 32, 2), state)
        self.content = path.read_bytes()
        self.state = torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def saved(path):
    return Saved(path)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def momenta(state):
    return {i: s["momentum_buffer"] for i, s in state["optimizer"]["state"].items()}


def test_a_damaged_checkpoint_is_what_was_saved_or_refused(path, saved):
    _, whole = read_or_refused(checkpoint.load, path, saved.content)

    @fuzzed(150)
    @given(damaged(saved.content))
    def check(content):
        loaded = read_or_refused(checkpoint.load, path, content)
        if loaded is not None:
            assert loaded[0] == Header("resnet8", 10, 32, 2)
            assert same(loaded[1]["model"], whole["model"])
            assert same(momenta(loaded[1]), momenta(whole))

    check()


def with_pickle(saved, change):
    """The checkpoint's zip file with another pickle in it, and all checksums right."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved)) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            is_pickle = member.filename.endswith("data.pkl")
            new.writestr(member.filename, change(content) if is_pickle else content)
    return target.getvalue()


def test_a_checkpoint_whose_pickle_was_changed(path, saved):
    """Someone's own: every checksum is right."""
    with zipfile.ZipFile(io.BytesIO(saved.content)) as file:
        original = file.read(next(n for n in file.namelist() if n.endswith("data.pkl")))

    def restored(path):
        header, state = checkpoint.load(path)
        return restore(learner(), header, state, path)

    @fuzzed(120)
    @given(damaged(original))
    def check(content):
        read_or_refused(restored, path, with_pickle(saved.content, lambda _: content))

    check()


VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 3), inner, max_size=3)
    ),
    max_leaves=5,
)
TENSORS = st.sampled_from(
    [
        torch.ones(3),
        torch.ones(1).expand(10**12),
        torch.full((2,), torch.nan),
        torch.ones(2, dtype=torch.complex64),
        torch.eye(3).to_sparse(),
        torch.ones(2, 2).t(),
        torch.empty(0),
        torch.ones((), dtype=torch.bool),
    ]
)


@fuzzed(100)
@given(
    st.dictionaries(
        st.sampled_from(["header", "model", "optimizer", "best_epoch"]),
        VALUES | TENSORS | st.dictionaries(st.text(max_size=3), TENSORS | VALUES, max_size=3),
    ),
    st.booleans(),
)
def test_checkpoints_of_anything(path, saved, content, is_legacy):
    for state in (content, {**saved.state, **content}):
        made = io.BytesIO()
        torch.save(state, made, _use_new_zipfile_serialization=not is_legacy)
        loaded = read_or_refused(checkpoint.load, path, made.getvalue())
        if loaded is not None:
            read_or_refused(lambda p, x=loaded: restore(learner(), *x, p), path, b"")
        read_or_refused(
            lambda p: checkpoint.read_pretrained(build_model("resnet8", 10), p),
            path,
            made.getvalue(),
        )


def of_numpy(arrays):
    made = io.BytesIO()
    np.savez(made, **arrays)
    return made.getvalue()


@fuzzed(400)
@given(damaged(of_numpy(ARRAYS)))
def test_damaged_arrays_are_what_was_written_or_refused(path, content):
    read = read_or_refused(lambda p: read_npz(p, KINDS), path, content)
    if read is not None:
        assert read.keys() == ARRAYS.keys()
        assert all(np.array_equal(read[name], ARRAYS[name]) for name in ARRAYS)


@fuzzed(200)
@given(
    st.sampled_from(sorted(ARRAYS)),
    st.sampled_from(["O", "f4", "f8", "i8", "U3", "c8", "S2", "V4", "M8[s]"]),
    st.lists(st.integers(-(2**70), 2**70), max_size=4),
    st.booleans(),
)
def test_an_array_that_says_it_is_another(path, name, dtype, shape, is_fortran):
    """Its header is written by hand; numpy would allocate what it says."""
    header = f"{{'descr': '{dtype}', 'fortran_order': {is_fortran}, 'shape': {tuple(shape)}}}\n"
    member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(96)
    made = io.BytesIO(of_numpy({n: a for n, a in ARRAYS.items() if n != name}))
    with zipfile.ZipFile(made, "a") as file:
        file.writestr(f"{name}.npy", member)
    read = read_or_refused(lambda p: read_npz(p, KINDS), path, made.getvalue())
    if read is not None:
        assert read[name].nbytes <= 96


def test_objects_are_not_unpickled(path):
    made = of_numpy({**ARRAYS, "index": np.array([print], object)})
    assert read_or_refused(lambda p: read_npz(p, KINDS), path, made) is None
