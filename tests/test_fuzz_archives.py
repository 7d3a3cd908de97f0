"""CIFAR archives and pickles, made up and damaged: read, or refused in a line."""

import gzip
import io
import pickle
import shutil
import tarfile

import numpy as np
import pytest
from fuzzing import damaged, fuzzed, read_or_refused
from hypothesis import given
from hypothesis import strategies as st
from test_archive import members, py2_pickle, write_tar

from dataloader.cifar import extract_archive, load_cifar100, read_pickle

SMALL = {
    b"filenames": [b"a.png", b"b.png"],
    b"fine_labels": [3, 99],
    b"data": np.arange(12, dtype=np.uint8).reshape(2, 6),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "file"


INSTRUCTIONS = st.sampled_from(
    [bytes([code]) for code in range(256)]
    + [b"K\x00", b"q\x00", b"h\x00", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"U\x02u1", b"\x85R"]
    + [b"cnumpy.core.multiarray\n_reconstruct\n", b"cos\nsystem\n", b"r\xff\xff\xff\x7f"]
)


@fuzzed(400)
@given(
    st.lists(INSTRUCTIONS, max_size=30).map(b"".join)
    | damaged(py2_pickle(SMALL))
    | damaged(pickle.dumps({"data": SMALL[b"data"], "x": [1, (2, 3.5)]}, protocol=4))
)
def test_pickles(path, content):
    read_or_refused(read_pickle, path, content)
    read_or_refused(read_pickle, path, b"\x80\x02}(" + content + b"u.")


def unpacked(archive):
    folder = archive.with_name("cifar-100-python")
    shutil.rmtree(folder, ignore_errors=True)
    extract_archive(archive, folder)
    return load_cifar100(folder.parent, "train"), load_cifar100(folder.parent, "test")


def plain_tar(tmp_path_factory, kind):
    """The bytes of a small archive, before compression."""
    path = tmp_path_factory.mktemp("tar") / "a.tar.gz"
    if kind == tarfile.GNU_FORMAT:
        write_tar(path, members())
    else:
        with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
            for name, content in members().items():
                info = tarfile.TarInfo(name)
                info.size, info.pax_headers = len(content), {"mtime": "1.5", "comment": "x" * 300}
                tar.addfile(info, io.BytesIO(content))
    return gzip.decompress(path.read_bytes())


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_damaged_archives(path, tmp_path_factory, kind):
    content = plain_tar(tmp_path_factory, kind)
    headers = content[:2048]

    @fuzzed(120)
    @given(damaged(gzip.compress(content)), damaged(headers))
    def check(packed, start):
        read_or_refused(unpacked, path, packed)
        read_or_refused(unpacked, path, gzip.compress(start + content[len(headers) :], 1))

    check()


@fuzzed(100)
@given(
    st.dictionaries(
        st.sampled_from(["size", "path", "mtime", "GNU.sparse.size", "GNU.sparse.map", "uid"]),
        st.sampled_from(["-1", "9" * 30, "9" * 5000, "nan", "1,2", "inf", "../../x", "0", "x"]),
        min_size=1,
    ),
    st.booleans(),
)
def test_pax_records_of_anything(path, headers, is_sparse):
    if is_sparse:
        headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", **headers}
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("cifar-100-python/train")
        info.size, info.pax_headers = 1024, headers
        tar.addfile(info, io.BytesIO(b"9\n" * 512))
    read_or_refused(unpacked, path, path.read_bytes())
