"""Pipes, folders and devices in the place of files: refused at once by whatever reads them."""

import os
import socket

import pytest
from PIL import Image

from common.checked_zip import check_zip, read_npz
from common.errors import UserError, run_program
from common.files import open_text, read_json, read_text, regular, sha256
from common.settings import read_yaml
from dataloader.channel_statistics import _read_cache
from dataloader.cifar import extract_archive, read_pickle
from dataloader.dealWith_cifar_dataset import main
from dataloader.image_list import checked_entries, read_list
from dataloader.imagenet import flat_entries
from dataloader.images import read_rgb
from engine.checkpoint import load_model
from engine.config import StudentConfig
from engine.flags import resolve

READERS = {
    "text": read_text,
    "lines": open_text,
    "json": read_json,
    "sum": sha256,
    "yaml": read_yaml,
    "recipe": lambda path: resolve(StudentConfig, ["--cell", "Sw", "--recipe", str(path)]),
    "list": lambda path: read_list(path, 10),
    "class list": lambda path: list(checked_entries(path, ("a", "b"))),
    "image": read_rgb,
    "archive": lambda path: extract_archive(path, path.with_name("unpacked")),
    "pickle": read_pickle,
    "zip": check_zip,
    "arrays": lambda path: read_npz(path, {"logits": ("float32", 2)}),
    "checkpoint": load_model,
}


def pipe(path):
    os.mkfifo(path)


def listener(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


def device(path):
    path.symlink_to("/dev/zero")


OTHERS = {"pipe": pipe, "socket": listener, "device": device, "folder": lambda path: path.mkdir()}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused(tmp_path, monkeypatch, reader, other):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    OTHERS[other](tmp_path / "it")
    kind = "a folder" if other == "folder" else "a pipe, socket or device"
    with pytest.raises(UserError, match=rf"it is {kind}: give a file") as error:
        READERS[reader](tmp_path / "it")
    assert "\n" not in str(error.value)


def test_links_to_files_are_files(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "link").symlink_to("a.txt")
    assert regular(tmp_path / "link") == tmp_path / "link"
    assert read_text(tmp_path / "link") == "text"


@pytest.mark.parametrize("name", ["val.txt", "LOC_val_solution.csv"])
def test_beside_flat_images(tmp_path, name):
    (tmp_path / "val").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "val" / "a.png")
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{name} is a pipe"):
        flat_entries(tmp_path, tmp_path / "val", ("a", "b"))


def test_a_kept_record_is_made_again(tmp_path):
    os.mkfifo(tmp_path / "kept.json")
    assert _read_cache(tmp_path / "kept.json", "") is None


@pytest.mark.parametrize("place", ["source", "members"])
def test_the_data_program(tmp_path, capsys, place):
    if place == "members":
        (tmp_path / "source").mkdir()
        for name in ("train", "test", "meta"):
            os.mkfifo(tmp_path / "source" / name)
    else:
        os.mkfifo(tmp_path / "source")
    flags = ["--source", str(tmp_path / "source"), "--data-path", str(tmp_path / "data")]
    assert run_program(main, flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "missing" in line if place == "members" else "is a pipe" in line
    assert not list((tmp_path / "data").iterdir())


def test_marks_of_windows_are_no_part_of_a_text(tmp_path):
    path = tmp_path / "a.json"
    for encoding in ("utf-8", "utf-8-sig", "utf-16-le", "utf-16", "utf-16-be"):
        mark = "\ufeff" if encoding[-2:] in ("le", "be") else ""
        path.write_bytes(f'{mark}{{"ä": 1}}\r\n'.encode(encoding))
        assert read_json(path) == {"ä": 1}
        assert open_text(path).read() == '{"ä": 1}\n'
