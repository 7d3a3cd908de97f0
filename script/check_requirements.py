"""Exit with 0 when this Python satisfies a requirements file: check_requirements.py FILE."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OLDEST_PYTHON = (3, 11)


def requirements(path: Path) -> Iterator[str]:
    """The lines of a requirements file, those that it includes with -r among them."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    for line in filter(None, lines):
        if line.startswith("-r"):
            yield from requirements(path.parent / line[2:].strip())
        else:
            yield line


def is_satisfied(line: str) -> bool:
    """Whether the package that `line` names is installed in a version that it allows."""
    from packaging.requirements import Requirement  # comes with matplotlib, one of them

    needed = Requirement(line)
    try:
        return needed.specifier.contains(version(needed.name), prereleases=True)
    except PackageNotFoundError:
        return False


def main() -> int:
    """0 when all is there, 1 when something is missing or too old."""
    try:
        lines = requirements(Path(sys.argv[1]))
        return 0 if sys.version_info >= OLDEST_PYTHON and all(map(is_satisfied, lines)) else 1
    except ImportError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
