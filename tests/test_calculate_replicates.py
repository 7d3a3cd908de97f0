"""Half widths to expect, from the spreads of a study."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import run_program
from evaluation.calculate_replicates import main

ROOT = Path(__file__).parent.parent
ABOUT = {"claim": "6.1 strong students", "figure": "top-1", "way": "", "std": 1.0, "image_std": 0.0}


@pytest.fixture
def report(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "some" / "report"
    folder.mkdir(parents=True)
    return folder


def asked(report: Path, rows: object, *flags: str) -> list[dict]:
    (report / "claims.json").write_text(json.dumps(rows))
    main(["--dataset", "some", "--output-dir", str(report.parents[1]), *flags])
    return json.loads((report / "replicates.json").read_text())


def test_half_widths_by_hand(report: Path, capsys: pytest.CaptureFixture) -> None:
    """Student's t: 4.3027 / sqrt 3, 2.7764 / sqrt 5; 1 point takes 7: 2.4469 / sqrt 7 = .925."""
    (row,) = asked(report, [ABOUT | {"unit": "points"}])
    assert row["R = 3"] == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert row["R = 5"] == pytest.approx(2.7764 / math.sqrt(5), rel=1e-4)
    assert row["needed"] == 7 and "needed" in capsys.readouterr().out


def test_what_is_wanted_is_said_in_the_figures_unit(report: Path) -> None:
    rows = [
        ABOUT | {"unit": "IoU", "std": 0.05},
        ABOUT | {"unit": "points", "image_std": 1.0},
        ABOUT | {"unit": "correlation"},
    ]
    found = asked(report, rows, "--iou", "0.04", "--points", "1.9")
    assert [row["needed"] for row in found] == [9, "never", None]


@pytest.mark.parametrize("rows", [[], {}, [ABOUT], [ABOUT | {"unit": "points", "std": None}], [3]])
def test_a_page_without_spreads_is_told_in_one_line(
    report: Path, rows: object, capsys: pytest.CaptureFixture
) -> None:
    (report / "claims.json").write_text(json.dumps(rows))
    flags = ["--dataset", "some", "--output-dir", str(report.parents[1])]
    assert run_program(main, flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "knows no spread" in line
    (report / "claims.json").unlink()
    assert run_program(main, flags) == 2
    assert "report.sh makes it" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from evaluation.calculate_replicates import main; main(['--help'])"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0 and "--points" in run.stdout
