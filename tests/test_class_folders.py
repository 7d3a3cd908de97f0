"""Which files of a tree of class folders are its images, and a word on the others."""

import os

import pytest
from PIL import Image

from common.errors import UserError
from dataloader import class_folders
from dataloader.datasets import load_split
from dataloader.imagenet import load_imagenet


@pytest.fixture(autouse=True)
def unsaid():
    class_folders._say_once.cache_clear()


def save(root, *names):
    for name in names:
        path = root / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.lower().endswith(class_folders.EXTENSIONS):
            Image.new("RGB", (4, 4)).save(path, "PNG")
        else:
            path.write_text("no image")
    return root


def paths(root):
    images = load_imagenet(root, "train")
    return [images.relative_path(i) for i in range(len(images))]


NESTED = (
    "auk/2.png", "auk/b/x/1.png", "auk/b/0.JPG", "auk/b-c/1.webp", "auk/a/9.tif",
    "wren/deep/er/1.pgm",
)  # fmt: skip


def test_subfolders_are_as_imagefolder_has_them(tmp_path):
    from torchvision.datasets import ImageFolder

    save(tmp_path, *NESTED)
    expected = ImageFolder(tmp_path / "train").samples
    assert paths(tmp_path) == [os.path.relpath(path, tmp_path) for path, _ in expected]
    assert load_imagenet(tmp_path, "train").labels.tolist() == [label for _, label in expected]


def test_links_are_followed(tmp_path):
    save(tmp_path, "auk/1.png", "wren/1.png")
    save(tmp_path / "aside", "more/2.png", "owl/3.png")
    (tmp_path / "train" / "auk" / "more").symlink_to(tmp_path / "aside" / "train" / "more")
    (tmp_path / "train" / "owl").symlink_to(tmp_path / "aside" / "train" / "owl")
    assert paths(tmp_path) == [
        "train/auk/1.png", "train/auk/more/2.png", "train/owl/3.png", "train/wren/1.png",
    ]  # fmt: skip


@pytest.mark.parametrize("links", [{"auk/x": "auk"}, {"auk/x": "wren", "wren/x": "auk"}])
def test_a_link_to_a_folder_around_it_is_refused(tmp_path, links):
    save(tmp_path, "auk/1.png", "wren/1.png")
    for link, target in links.items():
        (tmp_path / "train" / link).symlink_to(tmp_path / "train" / target)
    with pytest.raises(UserError, match="is a link to a folder that it is in"):
        paths(tmp_path)


def test_a_link_to_itself_is_no_folder(tmp_path, capsys):
    save(tmp_path, "auk/1.png", "wren/1.png")
    (tmp_path / "train" / "auk" / "loop").symlink_to("loop")
    assert paths(tmp_path) == ["train/auk/1.png", "train/wren/1.png"]
    assert "train: 1 (1 without ending)" in capsys.readouterr().err


def test_what_is_left_out_is_said_once(tmp_path, capsys):
    save(
        tmp_path, "auk/1.png", "auk/2.heic", "auk/in/3.HEIC", "auk/notes", "wren/1.png", "wren/a.\n"
    )
    save(tmp_path, "wren/.DS_Store", "wren/b.raw", ".cache/x.y", "loose.png", "list.txt")
    for _ in range(2):
        assert paths(tmp_path) == ["train/auk/1.png", "train/wren/1.png"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"files left out of {tmp_path / 'train'}: 7 (2 .heic, ")
    assert "1 .png outside the class folders" in line
    assert line.endswith(", 1 of other endings)")  # the sixth kind


def test_nothing_is_said_of_images_alone(tmp_path, capsys):
    paths(save(tmp_path, *NESTED))
    assert capsys.readouterr().err == ""


def test_a_folder_of_other_files_is_an_empty_class(tmp_path):
    save(tmp_path, "auk/1.png", "wren/in/1.heic")
    with pytest.raises(UserError, match="wren holds no images"):
        paths(tmp_path)


def test_files_of_a_stale_list_of_an_older_version_mean_nothing(tmp_path):
    save(tmp_path, "auk/1.png", "wren/1.png")
    (tmp_path / ".image_index_train.npz").write_bytes(b"PK\x03\x04 anything")
    before = sorted(tmp_path.rglob("*"))
    assert len(paths(tmp_path)) == 2
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["ImageNet", "ImageNet_imb10", "birds_imb10"])
def test_one_class_is_none(tmp_path, name):
    save(tmp_path, "auk/1.png", "auk/2.png")
    with pytest.raises(UserError, match="one class folder: two are needed"):
        load_split(name, "train", tmp_path, views="cifar" if "birds" in name else None)
