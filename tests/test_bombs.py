"""Small files that ask for gigabytes or for ever: refused, within a limit of memory and of time."""

import functools
import gzip
import io
import struct
import subprocess
import sys
import tarfile
import textwrap
import zipfile
import zlib

import numpy as np
import pytest
import torch
from test_archive import REPOSITORY, emit, members
from test_fuzz_tensors import with_pickle

ROOM = 400 * 2**20  # bytes, besides what an import of torch takes
SECONDS = 60


def of_tar(name, kind):
    """A member whose name or pax record says that it has 2 GB, zeros, and 2 MB packed."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, 2 * 2**30
    packed = io.BytesIO()
    with gzip.open(packed, "wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            file.write(bytes(2**20))
    return packed.getvalue()


def of_tar_with(count, size=0):
    """So many members of zeros."""
    info = tarfile.TarInfo("cifar-100-python/x")
    info.size = size
    return count * (gzip.compress(info.tobuf(), 1) + gzip.compress(bytes(size), 1))


def of_pickle(content):
    """A CIFAR-100 archive whose file train is this pickle."""
    packed = members(train=content)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
        for name, member in packed.items():
            info = tarfile.TarInfo(name)
            info.size = len(member)
            tar.addfile(info, io.BytesIO(member))
    return file.getvalue()


def doubled(levels):
    """A tuple of a tuple twice, and so on: 2^levels steps to hash, compare or print."""
    return b")q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(levels))


@functools.cache
def of_zip():
    """A deflated member of 512 MiB of zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        target.writestr("logits.npy", bytes(2**29))
    return file.getvalue()


def of_npy(shape):
    file = io.BytesIO()
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    with zipfile.ZipFile(file, "w") as target:
        start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
        target.writestr("logits.npy", start + header)
    return file.getvalue()


def of_state(value, **kind):
    file = io.BytesIO()
    torch.save(value, file, **kind)
    return file.getvalue()


def of_header(**changes):
    header = {"arch": "resnet18", "num_classes": 10, "image_size": 32, "epoch": 1, **changes}
    return of_state({"header": header, "model": {}})


def of_png(width, height):
    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = zlib.compress(bytes(2**20), 9)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 9}]\n" for n in range(1, 12))

BOMBS = {
    "tar-name": ("archive", lambda: of_tar("././@LongLink", tarfile.GNUTYPE_LONGNAME)),
    "tar-link": ("archive", lambda: of_tar("././@LongLink", tarfile.GNUTYPE_LONGLINK)),
    "tar-pax": ("archive", lambda: of_tar("pax", tarfile.XHDTYPE)),
    "tar-pax-for-all": ("archive", lambda: of_tar("pax", tarfile.XGLTYPE)),
    "tar-solaris": ("archive", lambda: of_tar("pax", tarfile.SOLARIS_XHDTYPE)),
    "tar-many": ("archive", lambda: of_tar_with(20_000)),
    "tar-repeated": ("archive", lambda: of_tar_with(9, 2**27)),
    "pickle-memo": ("archive", lambda: of_pickle(b"\x80\x02}r\x00\xe1\xf5\x05.")),
    "pickle-memo-text": ("archive", lambda: of_pickle(b"\x80\x02}p4000000000\n.")),
    "pickle-nested": ("archive", lambda: of_pickle(b"\x80\x02}U\x0bfine_labels" + b"]" * 2**21)),
    "pickle-nested-in": (
        "archive",
        lambda: of_pickle(b"\x80\x02" + b"(" * 2**22 + b"l" * 2**22 + b"."),
    ),
    "pickle-claims": (
        "archive",
        lambda: of_pickle(b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x."),
    ),
    "pickle-label": (
        "archive",
        lambda: of_pickle(
            b"\x80\x02}(U\x04data"
            + emit(np.zeros((1, 3072), np.uint8))
            + b"U\x0bfine_labels](("
            + doubled(60)
            + b"teu."
        ),
    ),
    "yaml-laughs": ("recipe", lambda: LAUGHS.encode()),
    "yaml-nested": ("recipe", lambda: b"[" * 60_000),
    "yaml-nested-map": ("recipe", lambda: b"{a: " * 15_000),
    "yaml-nested-block": ("recipe", lambda: b"".join(b" " * n + b"a:\n" for n in range(300))),
    "yaml-long": ("recipe", lambda: b"a: " + b"x" * 2**26),
    "yaml-digits": ("recipe", lambda: b"common: {epochs: 1" + b"0" * 50_000 + b"}"),
    "yaml-hex": ("recipe", lambda: b"common: {epochs: 0x" + b"f" * 50_000 + b"}"),
    "yaml-sixties": ("recipe", lambda: b"common: {epochs: 1" + b":59" * 20_000 + b"}"),
    "epochs": ("recipe", lambda: b"common: {epochs: 1000000000}"),
    "list-line": ("list", lambda: b"x" * 2**26),
    "list-label": ("list", lambda: b"a.png " + b"1" * 5000),
    "json-nested": ("json", lambda: b"[" * 2**20),
    "json-digits": ("json", lambda: b"1" * 2**20),
    "json-long": ("json", lambda: b'"' + b" " * 2**26),
    "npz-deflated": ("npz", of_zip),
    "npz-claims": ("npz", lambda: of_npy((10**6, 10**6))),
    "npz-overflow": ("npz", lambda: of_npy((2**40, 2**40))),
    "npz-negative": ("npz", lambda: of_npy((-1, -(2**40)))),
    "pt-deflated": ("checkpoint", of_zip),
    "pt-memo": (
        "checkpoint",
        lambda: with_pickle(of_state({}), lambda _: b"\x80\x02}r\xff\xff\xff\x7f."),
    ),
    "pt-bytes": (
        "checkpoint",
        lambda: with_pickle(
            of_state({}),
            lambda _: b"\x80\x02c__builtin__\nbytearray\n\x8a\x06" + b"\0" * 5 + b"\x01\x85R.",
        ),
    ),
    "pt-classes": ("checkpoint", lambda: of_header(num_classes=10**9)),
    "pt-pixels": ("checkpoint", lambda: of_header(arch="vit_b_16", image_size=2**20)),
    "pt-repeated": (
        "checkpoint",
        lambda: of_state({"header": {}, "model": {"x": torch.zeros(1).expand(10**11)}}),
    ),
    "pt-legacy": (
        "checkpoint",
        lambda: of_state({"model": torch.zeros(3)}, _use_new_zipfile_serialization=False),
    ),
    "png": ("image", lambda: of_png(60_000, 60_000)),
    "png-large": ("image", lambda: of_png(12_000, 8_000)),
}

READERS = """
    import resource, sys
    from pathlib import Path
    from common.checked_zip import read_npz
    from dataloader.cifar import extract_archive, load_cifar100
    from common.errors import UserError
    from common.files import read_json
    from dataloader.images import read_rgb
    from dataloader.image_list import read_list
    from engine.checkpoint import load_model
    from engine.config import StudentConfig
    from engine.flags import resolve

    def archive(path):
        folder = path.with_suffix("") / "cifar-100-python"
        folder.parent.mkdir()
        extract_archive(path, folder)
        load_cifar100(folder.parent, "train")

    readers = {
        "archive": archive,
        "recipe": lambda path: resolve(StudentConfig, ["--cell", "Sw", "--recipe", str(path)]),
        "list": lambda path: read_list(path, 100),
        "json": read_json,
        "npz": lambda path: read_npz(path, {"logits": ("float32", 2)}),
        "checkpoint": load_model,
        "image": read_rgb,
    }
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + int(sys.argv[1]), resource.RLIM_INFINITY))
    for path in map(Path, sys.argv[2:]):
        try:
            readers[path.suffix[1:]](path)
        except UserError as error:
            print(path.stem, str(error).replace("\\n", "NEWLINE")[:300], sep="\\t", flush=True)
        else:
            print(path.stem, "LOADED", sep="\\t", flush=True)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What a process of little memory said of each bomb."""
    folder = tmp_path_factory.mktemp("bombs")
    paths = []
    for name, (reader, made) in BOMBS.items():
        paths.append(folder / f"{name}.{reader}")
        paths[-1].write_bytes(made())
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(READERS), str(ROOM), *map(str, paths)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(line.split("\t", 1) for line in done.stdout.splitlines())


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by Linux's means")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(answers, name):
    assert answers[name] != "LOADED"
    assert "NEWLINE" not in answers[name]
    assert "memory" not in answers[name].lower()  # refused by its claim, not by the limit
