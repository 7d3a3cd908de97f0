"""Whether a report is up to date: made of what is there now, and left as it was made.

runs/<set>/report/made_of.json holds a digest of the settings, records, checkpoints, images, code,
libraries and machine that a report was made of, and one of the files that it left. They are
compared without torch, whose import alone takes seconds."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common.errors import Outlet, UserError
from common.files import read_json, sha256, write_json
from common.settings import known_settings, read_yaml
from engine.config import TrainConfig
from evaluation.options import EvaluateOptions

ROOT = Path(__file__).parents[1]
RECORD = "made_of.json"
CODE = (
    "Affinity", "common", "dataloader", "engine", "evaluation", "losses", "metrics", "models",
    "script",
)  # fmt: skip
LIBRARIES = ("matplotlib", "numpy", "pillow", "scipy", "torch", "torchvision")
VARIABLES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
ARRAYS = (".pt", ".npz")  # gigabytes: known by size and time, all else by its content
RUNS = ("[!.]*/[!.]*/[!.]*",)  # a name that begins with a point is of a lock, or of half a file
LEFT = ("[!.]*", "report/[!.]*", "[!.]*/[!.]*/outputs/[!.]*")


def unless_up_to_date(options: EvaluateOptions, make: Callable[[], None]) -> None:
    """Call `make`, which makes the report that the options ask for; where that is up to date, say
    so instead.

    It counts as made only if nothing was said on stderr, which would not be heard again, and if
    what it is made of stayed the same meanwhile."""
    report = options.folder / "report"
    before = _digests(options)
    if options.anew == "no" and before and _recorded(report / RECORD) == before:
        why = "nothing that it is made of has changed; --anew makes it again"
        print(f"up to date: {report / 'index.html'} ({why})")
        return
    with redirect_stderr(Heard(sys.stderr)) as heard:
        make()
    after = _digests(options)
    if before and after and before["made_of"] == after["made_of"] and not heard.spoke:
        write_json(report / RECORD, after)


def _digests(options: EvaluateOptions) -> dict[str, str] | None:
    """Of all that the report of these options is a function of, and of the files that it left; None
    where some of it cannot be read, which the report has a word for."""
    try:
        made_of = (
            {**vars(options), "anew": None},
            _files(options.folder, RUNS),
            sorted(_images(options)),
            _files(ROOT, [f"{folder}/**/*" for folder in CODE]),
            [version(name) for name in LIBRARIES],
            [sys.version, platform.platform(), platform.node(), *map(os.environ.get, VARIABLES)],
        )
        return {"made_of": _digest(made_of), "left": _digest(_files(options.folder, LEFT))}
    except (UserError, OSError, ImportError):  # the last: a library that is not there
        return None


def _recorded(path: Path) -> Any:
    """What the record holds; None where there is none, or it is damaged."""
    try:
        return read_json(path)
    except (UserError, OSError):
        return None


def _images(options: EvaluateOptions) -> set[str]:
    """The identity of every split that a run has images of."""
    from engine.source import Source  # numpy only when options are known

    sources = set()
    for path in options.folder.glob("[!.]*/[!.]*/config.yaml"):
        saved = known_settings(TrainConfig, read_yaml(path), path)
        sources.add(Source.of(options.settings_of(saved)))
    which = {source.which: source for source in sources}
    return {own.load(split).fingerprint() for own in which.values() for split in ("train", "test")}


def _files(folder: Path, patterns: Iterable[str]) -> dict[str, str]:
    """The state of each file below the folder, by its path there."""
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {
        path.relative_to(folder).as_posix(): _state(path)
        for path in sorted(paths)
        if path.suffix != ".pyc" and path.name != RECORD
    }


def _state(path: Path) -> str:
    if path.suffix not in ARRAYS:
        return sha256(path)
    state = path.stat()
    return f"{state.st_size} {state.st_mtime_ns}"


def _digest(content: object) -> str:
    return hashlib.sha256(repr(content).encode(errors="backslashreplace")).hexdigest()


class Heard(Outlet):
    """A stream that remembers whether more was written to it than progress bars."""

    spoke = False

    def write(self, text: str) -> int:
        """As a text stream does."""
        self.spoke = self.spoke or (bool(text.strip()) and "\r" not in text)
        return super().write(text)
