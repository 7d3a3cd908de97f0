"""Make CIFAR-100 ready for training: python dataloader/dealWith_cifar_dataset.py."""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tqdm import tqdm

from common.errors import OneLineParser, UserError, run_program
from common.files import regular, staged
from dataloader.cifar import (
    ARCHIVE,
    ARCHIVE_MD5,
    ARCHIVES,
    FOLDER,
    IMAGE_FOLDER,
    MEMBER_MD5,
    SPLITS,
    copy_members,
    extract_archive,
    load_cifar100,
    load_file_names,
    require_members,
)
from dataloader.images import ImageSet

HOME_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


def main(argv: Sequence[str] | None = None) -> None:
    """Make the data ready; UserError says why it cannot be."""
    args = _parser().parse_args(argv)
    prepare(args.source, args.data_path)
    for split in SPLITS if args.images else ():
        write_images(args.data_path, split)


def _parser() -> OneLineParser:
    parser = OneLineParser(
        description="Make CIFAR-100 ready: check and unpack the published archive "
        f"({ARCHIVE}), or fetch it where there is a network. Running it again changes nothing.",
    )
    parser.add_argument(
        "--source",
        type=Path,
        help=f"{ARCHIVE}, the .tar in it or the folder extracted from it (default: look for them "
        "in the data path, in its folder CIFAR100 and in the current folder)",
    )
    parser.add_argument(
        "--data-path", type=Path, default=Path("data"), help="data root (default: data)"
    )
    parser.add_argument(
        "--images",
        action="store_true",
        help="also write PNG files and lists, <data path>/CIFAR100/train and train.txt "
        "(the same for test)",
    )
    return parser


def prepare(source: Path | None, data_path: Path) -> None:
    """Put validated CIFAR-100 files into data_path/cifar-100-python, unless they are there.

    source: the archive or the extracted folder; None looks in the usual places, then downloads.
    Raises UserError if there is no source, or it or what is already in place cannot be used.
    """
    target = data_path / FOLDER
    if target.exists():
        _check_prepared(target)
        print(f"{target} is already prepared, nothing to do (remove it to prepare it again)")
        return
    found = _find_source(source, data_path)
    if found is not None:
        _install(found, target)
        return
    data_path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=data_path) as folder:
        _install(_download(Path(folder), data_path), target)


def _check_prepared(target: Path) -> None:
    try:
        require_members(target, named=target)
        _check_content(target)
    except UserError as error:
        raise UserError(f"{error}; remove {target} and run this again") from error


def _check_content(folder: Path) -> None:
    for split in SPLITS:
        load_cifar100(folder.parent, split)


def _find_source(source: Path | None, data_path: Path) -> Path | None:
    if source is not None:
        if not source.exists():
            raise UserError(f"--source {source} does not exist; give {ARCHIVE} or {FOLDER}")
        return source
    places = (data_path, data_path / IMAGE_FOLDER, Path())
    candidates = (place / name for place in places for name in (*ARCHIVES, FOLDER))
    return next((path for path in candidates if path.exists()), None)


def _download(folder: Path, data_path: Path) -> Path:
    from torchvision.datasets import CIFAR100  # slow to import, and rarely needed

    try:
        CIFAR100(folder, download=True)
    except (OSError, RuntimeError, HTTPException) as error:
        raise UserError(
            f"no {ARCHIVE} in {data_path}, {data_path / IMAGE_FOLDER} or the current folder, and "
            f"the download failed ({error}); get it from {HOME_PAGE} and put it into {data_path}"
        ) from error
    return folder / ARCHIVE


def _install(source: Path, target: Path) -> None:
    with staged(target) as folder:
        fill = copy_members if source.is_dir() else extract_archive
        fill(source, folder)
        try:
            _check_content(folder)
        except UserError as error:  # blame the user's file, not the temporary copy of it
            raise UserError(str(error).replace(str(folder), str(source))) from error
    print(f"{target} is prepared from {source.name}")
    _report_checksums(source, target)


def _report_checksums(source: Path, target: Path) -> None:
    published = {target / name: md5 for name, md5 in MEMBER_MD5.items()}
    if source.suffix == ".gz":  # of the unpacked archive no sum is published, nor is one needed
        published = {source: ARCHIVE_MD5, **published}
    different = []
    for path, expected in published.items():
        actual = md5_of(path)
        print(f"MD5 {actual}  {path.name}")
        if actual != expected:
            different.append(path.name)
    if different:
        print(
            f"warning: not the published CIFAR-100, other MD5 sums for {', '.join(different)}",
            file=sys.stderr,
        )


def md5_of(path: Path) -> str:
    """MD5 of the file at `path`, in hexadecimal. UserError, OSError as `regular`."""
    with regular(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def write_images(data_path: Path, split: str) -> None:
    """Write a split as data_path/CIFAR100/<split>/<label>/<name>.png and its list <split>.txt.

    The list has a line `path label` for each image in archive order, paths relative to data_path.
    What is complete stays as it is. Raises UserError if the split or an earlier tree is unusable.
    """
    data = load_cifar100(data_path, split)
    names = load_file_names(data_path, split)
    if len(names) != len(data):
        raise UserError(f"{data_path / FOLDER / split}: {len(data)} images, {len(names)} filenames")
    folder = data_path / IMAGE_FOLDER / split
    files = image_files(names, data.labels.tolist())
    tree_is_new = _write_tree(folder, files, data)
    lines = [
        f"{IMAGE_FOLDER}/{split}/{file} {label}\n"
        for file, label in zip(files, data.labels, strict=True)
    ]
    list_is_new = _write_list(folder.with_suffix(".txt"), "".join(lines))
    done = "written" if tree_is_new or list_is_new else "already complete, nothing to do"
    print(f"{folder} and {folder.name}.txt: {len(files)} images, {done}")


def image_files(names: list[str], labels: list[int]) -> list[str]:
    """The relative path `<label>/<name>.png` of each image: safe to create, and unique.

    A name that its class already has gets the first free suffix of _2, _3, ...
    """
    taken: set[str] = set()
    files = []
    for name, label in zip(names, labels, strict=True):
        stem = f"{label}/{_safe_stem(name)}"
        file, copy = f"{stem}.png", 2
        while file.lower() in taken:  # some file systems ignore case
            file, copy = f"{stem}_{copy}.png", copy + 1
        taken.add(file.lower())
        files.append(file)
    return files


def _safe_stem(name: str) -> str:
    base = re.split(r"[/\\]", name)[-1].removesuffix(".png").lstrip(".")
    return re.sub(r'[^!-~]|[<>:"|?*]', "_", base)[:100] or "image"


def _write_tree(folder: Path, files: list[str], data: ImageSet) -> bool:
    if folder.exists():
        missing = next((file for file in files if not (folder / file).is_file()), None)
        if missing is not None:
            raise UserError(f"{folder} lacks {missing}; remove {folder} and run this again")
        return False
    with staged(folder) as tree:
        for label in set(data.labels.tolist()):
            (tree / str(label)).mkdir(parents=True)
        for index, file in enumerate(tqdm(files, desc=folder.name, unit="image", disable=None)):
            data.image(index).save(tree / file)
    return True


def _write_list(path: Path, text: str) -> bool:
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    with staged(path) as temporary:
        temporary.write_bytes(text.encode())
    return True


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted="run the command again, it goes on"))
