from __future__ import annotations

import gzip
import io
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError, run_program
from dataloader.cifar import FOLDER, load_cifar100, read_pickle
from dataloader.dealWith_cifar_dataset import image_files, main

REPOSITORY = Path(__file__).resolve().parents[1]


def emit(value: object) -> bytes:
    """The opcodes that Python 2 wrote at protocol 2, byte strings and old numpy names included."""
    if isinstance(value, bytes):
        short = len(value) < 256
        return (b"U%c" % len(value) if short else b"T" + struct.pack("<i", len(value))) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(emit, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(emit(key) + emit(item) for key, item in value.items()) + b"u"
    return emit_array(value, b"u1", value.tobytes("A"))


def emit_array(array: np.ndarray, dtype: bytes, content: bytes) -> bytes:
    """An array with a 2-tuple shape; Fortran order is kept where the array has it."""
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    shape = b"".join(map(emit, array.shape)) + b"\x86"
    kind = b"cnumpy\ndtype\n" + emit(dtype) + b"K\x00K\x01\x87R(K\x03U\x01|NNN"
    kind += b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    order = b"\x89" if array.flags.c_contiguous else b"\x88"
    return empty + b"(K\x01" + shape + kind + order + emit(content) + b"tb"


def py2_pickle(value: object) -> bytes:
    return b"\x80\x02" + emit(value) + b"."


def batch(count: int, *, seed: int = 0) -> dict[bytes, object]:
    data = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    return {
        b"filenames": [b"bos_taurus_s_%06d.png" % index for index in range(count)],
        b"batch_label": b"training batch 1 of 1",
        b"fine_labels": [(19 + 40 * index) % 100 for index in range(count)],
        b"coarse_labels": [0] * count,
        b"data": data,
    }


def members(**changes: bytes) -> dict[str, bytes]:
    names = {b"fine_label_names": [b"class_%d" % c for c in range(100)]}
    standard = {
        "train": py2_pickle(batch(7)),
        "test": py2_pickle(batch(4, seed=1)),
        "meta": py2_pickle(names),
    }
    return {f"{FOLDER}/{name}": content for name, content in {**standard, **changes}.items()}


def write_tar(path: Path, contents: dict[str, bytes], *extra: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return path


def special(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def prepare(source: Path, data: Path, *flags: str) -> int:
    return run_program(main, ["--source", str(source), "--data-path", str(data), *flags])


@pytest.fixture
def archive(tmp_path):
    return write_tar(tmp_path / "cifar.tar.gz", members())


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def refused(data, capsys):
    """Check that a source is refused in one line that says why, and that nothing is left."""

    def check(source: Path, reason: str) -> None:
        assert prepare(source, data) == 2
        out, err = capsys.readouterr()
        assert reason in err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in out + err
        assert not data.exists() or not list(data.iterdir())

    return check


def test_round_trip(archive, data):
    assert prepare(archive, data) == 0
    for split, count, seed in (("train", 7, 0), ("test", 4, 1)):
        expected = batch(count, seed=seed)
        loaded = load_cifar100(data, split)
        assert loaded.images.shape == (count, 32, 32, 3)
        assert loaded.images.dtype == np.uint8
        assert loaded.images[3, 5, 9, 2] == expected[b"data"][3, 2 * 1024 + 5 * 32 + 9]
        assert loaded.labels.dtype == np.int64
        assert loaded.labels.tolist() == expected[b"fine_labels"]
        assert loaded.class_names[19] == "class_19"
        assert loaded.num_classes == 100


def test_only_the_three_members_are_written(tmp_path, data):
    source = write_tar(tmp_path / "a.tar.gz", {**members(), f"{FOLDER}/file.txt~": b"x", "y": b"z"})
    assert prepare(source, data) == 0
    assert [path.name for path in data.iterdir()] == [FOLDER]
    assert sorted(path.name for path in (data / FOLDER).iterdir()) == ["meta", "test", "train"]


def test_other_checksums_are_reported_as_a_warning(archive, data, capsys):
    assert prepare(archive, data) == 0
    out, err = capsys.readouterr()
    assert out.count("MD5 ") == 4
    assert err.startswith("warning: not the published CIFAR-100")


def test_fortran_order_and_native_pickles_load_alike(tmp_path):
    values = batch(3)[b"data"]
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(py2_pickle({b"data": np.asfortranarray(values)}))
    new.write_bytes(pickle.dumps({b"data": values}, protocol=4))
    assert np.array_equal(read_pickle(old)[b"data"], values)
    assert np.array_equal(read_pickle(new)[b"data"], values)


def test_second_run_changes_nothing(archive, data, capsys):
    def state():
        return {p: p.stat().st_mtime_ns for p in [data, *data.rglob("*")]}

    assert prepare(archive, data, "--images") == 0
    before = state()
    capsys.readouterr()
    assert prepare(archive, data, "--images") == 0
    out, err = capsys.readouterr()
    assert state() == before
    assert out.count("nothing to do") == 3
    assert err == ""


def test_extracted_folder_is_copied(tmp_path, data):
    for name, content in members().items():
        path = tmp_path / "downloads" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    source = tmp_path / "downloads" / FOLDER
    assert prepare(source, data) == 0
    assert len(load_cifar100(data, "train")) == 7
    assert prepare(data / FOLDER, data) == 0


@pytest.mark.parametrize("folder", ["data", "data/CIFAR100", "."])
def test_archive_is_found_without_a_flag(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_tar(Path(folder) / f"{FOLDER}.tar.gz", members())
    assert run_program(main, []) == 0
    assert len(load_cifar100(Path("data"), "test")) == 4


def write_plain_tar(path: Path, contents: dict[str, bytes]) -> Path:
    packed = write_tar(path.with_name("packed"), contents)
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    return path


def test_an_archive_that_a_browser_has_unpacked(tmp_path, data, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_plain_tar(tmp_path / f"{FOLDER}.tar", members())
    assert run_program(main, []) == 0
    assert len(load_cifar100(data, "test")) == 4
    assert capsys.readouterr().out.count("MD5 ") == 3  # the packed archive's is not asked for


def test_a_plain_archive_is_known_by_its_content(tmp_path, data, archive):
    assert prepare(write_plain_tar(tmp_path / "misnamed.tar.gz", members()), data) == 0
    shutil.rmtree(data)
    assert prepare(archive.rename(tmp_path / "misnamed.tar"), data) == 0


def test_damaged_plain_archives_are_refused(tmp_path, refused):
    whole = write_plain_tar(tmp_path / "whole.tar", members()).read_bytes()
    cut = tmp_path / "cut.tar"
    for size in [0, 1, 100, 700, len(whole) // 2]:
        cut.write_bytes(whole[:size])
        refused(cut, str(cut))
    name = special("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=2**31)
    cut.write_bytes(name.tobuf(tarfile.GNU_FORMAT) + bytes(2**21))
    refused(cut, "it holds a name or a record of")
    cut.write_bytes(special(f"{FOLDER}/train", size=2**40).tobuf(tarfile.GNU_FORMAT))
    refused(cut, "has 1099511627776 bytes")


def test_images_equal_the_arrays_and_are_listed_in_order(archive, data):
    assert prepare(archive, data, "--images") == 0
    for split in ("train", "test"):
        loaded = load_cifar100(data, split)
        lines = (data / "CIFAR100" / f"{split}.txt").read_text().splitlines()
        assert lines[0] == f"CIFAR100/{split}/19/bos_taurus_s_000000.png 19"
        assert [int(line.split()[1]) for line in lines] == loaded.labels.tolist()
        for line, image in zip(lines, loaded.images, strict=True):
            assert np.array_equal(np.asarray(Image.open(data / line.split()[0])), image)


def test_lost_list_is_rewritten_alike_and_lost_image_is_told(archive, data, capsys):
    assert prepare(archive, data, "--images") == 0
    listed = data / "CIFAR100" / "train.txt"
    text = listed.read_bytes()
    listed.unlink()
    assert prepare(archive, data, "--images") == 0
    assert listed.read_bytes() == text
    (data / "CIFAR100/train/19/bos_taurus_s_000000.png").unlink()
    assert prepare(archive, data, "--images") == 2
    assert "lacks 19/bos_taurus_s_000000.png" in capsys.readouterr().err


def test_image_files_are_safe_and_unique():
    names = ["../../etc/a.png", "a.png", "A.png", "a_2.png", "..", "C:\\x y.png", "a.png", "\n"]
    assert image_files(names, [1, 1, 1, 1, 1, 1, 2, 1]) == [
        "1/a.png",
        "1/a_2.png",
        "1/A_3.png",
        "1/a_2_2.png",
        "1/image.png",
        "1/x_y.png",
        "2/a.png",
        "1/_.png",
    ]


@pytest.mark.parametrize("name", ["os", "posix", "nt"])
def test_malicious_pickle_is_refused_and_not_run(tmp_path, data, refused, name):
    mark = tmp_path / "mark"
    command = emit(f"echo > {mark}".encode())
    attack = b"\x80\x02c%b\nsystem\n" % name.encode() + command + b"\x85R."
    refused(write_tar(tmp_path / "a.tar.gz", members(test=attack)), f"global '{name}.system'")
    assert not mark.exists()


@pytest.mark.parametrize(
    "attack", [b"cbuiltins\neval\n.", b"cnumpy\nload\n.", b"c_codecs\nencode\n."]
)
def test_every_other_global_is_refused(tmp_path, attack):
    path = tmp_path / "train"
    path.write_bytes(attack)
    with pytest.raises(UserError, match="refused the global"):
        read_pickle(path)


def test_object_arrays_are_refused(tmp_path, refused):
    objects = np.zeros((1, 3072), np.uint8)
    train = b"\x80\x02}(" + emit(b"data") + emit_array(objects, b"O8", bytes(3072)) + b"u."
    refused(write_tar(tmp_path / "a.tar.gz", members(train=train)), "array of type b'O8'")


@pytest.mark.parametrize(
    "member",
    [
        special(f"../{FOLDER}/train"),
        special(f"{FOLDER}/../../train"),
        special("/tmp/train"),
        special(f"{FOLDER}/train", tarfile.SYMTYPE, "/etc/passwd"),
        special(f"{FOLDER}/train", tarfile.LNKTYPE, f"{FOLDER}/meta"),
        special(f"{FOLDER}/train", tarfile.FIFOTYPE),
    ],
    ids=lambda member: f"{member.name}-{member.type.decode()}",
)
def test_members_that_lead_elsewhere_are_left_out(tmp_path, data, member):
    before = {*tmp_path.rglob("*")}
    archive = write_tar(tmp_path / "a.tar.gz", members(), member)
    assert prepare(archive, data) == 0
    files = {data / FOLDER / name for name in ("train", "test", "meta")}
    assert {*tmp_path.rglob("*")} - before == {archive, data, data / FOLDER, *files}
    assert all(path.is_file() and not path.is_symlink() for path in files)
    assert len(load_cifar100(data, "train")) == 7


def test_oversized_member_is_refused_before_it_is_read(tmp_path, refused):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(special(f"{FOLDER}/train", size=2**40))
    refused(path, "has 1099511627776 bytes")


def test_every_truncation_is_refused(archive, tmp_path, refused):
    content = archive.read_bytes()
    cut = tmp_path / "cut.tar.gz"
    for size in [0, 1, 20, *range(1000, len(content), len(content) // 12), len(content) - 1]:
        cut.write_bytes(content[:size])
        refused(cut, str(cut))


def test_flipped_byte_is_refused(archive, refused):
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    refused(archive, "corrupt")


@pytest.mark.parametrize("size", [0, 1, 100, 2000])
def test_truncated_pickle_is_refused_and_the_source_is_blamed(tmp_path, refused, size):
    source = write_tar(tmp_path / "a.tar.gz", members(test=members()[f"{FOLDER}/test"][:size]))
    refused(source, f"{source}/test: not a usable CIFAR-100 file")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({b"fine_labels": [0, 1, 100, 3]}, "label 100 at index 2"),
        ({b"fine_labels": [0, -1, 100, 3]}, "label -1 at index 1"),
        ({b"fine_labels": [0, 1, 2, b"3"]}, "label b'3' at index 3"),
        ({b"fine_labels": [0, 1, 2]}, "4 images but 3 labels, index 3"),
        ({b"fine_labels": b"0123"}, "no list 'fine_labels'"),
        ({b"data": np.zeros((4, 3071), np.uint8)}, "shape (4, 3071)"),
        ({b"data": np.zeros((0, 3072), np.uint8), b"fine_labels": []}, "shape (0, 3072)"),
        ({b"data": [1]}, "no array 'data'"),
    ],
)
def test_invalid_content_is_refused(tmp_path, refused, change, reason):
    test = py2_pickle({**batch(4), **change})
    refused(write_tar(tmp_path / "a.tar.gz", members(test=test)), reason)


def test_meta_must_name_the_classes(tmp_path, refused):
    meta = py2_pickle({b"fine_label_names": [b"apple"]})
    refused(write_tar(tmp_path / "a.tar.gz", members(meta=meta)), "1 class names, expected 100")


def test_archive_without_the_data_is_refused(tmp_path, refused):
    refused(write_tar(tmp_path / "a.tar.gz", {"readme": b"x"}), "train, test, meta missing")


def test_wrong_path_is_refused(tmp_path, refused):
    refused(tmp_path / "nowhere.tar.gz", "does not exist")
    refused(tmp_path, f"holds no {FOLDER} data")


def test_failing_disk_leaves_nothing(archive, refused):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        refused(archive, "cannot write")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_unusable_folder_in_place_is_kept_and_told(archive, data, capsys):
    (data / FOLDER).mkdir(parents=True)
    (data / FOLDER / "train").write_bytes(b"mine")
    assert prepare(archive, data) == 2
    assert "remove" in capsys.readouterr().err
    assert (data / FOLDER / "train").read_bytes() == b"mine"


def test_missing_data_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match=r"test is missing; run `python dataloader/dealWith_cifar"):
        load_cifar100(tmp_path, "test")


def test_runs_as_a_script_from_the_repository_root(archive, data):
    command = [sys.executable, "-W", "error", "dataloader/dealWith_cifar_dataset.py"]
    flags = ["--source", str(archive), "--data-path", str(data)]
    done = subprocess.run(command + flags, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(load_cifar100(data, "train")) == 7
