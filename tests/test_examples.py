"""The programs in examples/ run, and say what they are there to say."""

import json
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_models_from_elsewhere_are_measured(tmp_path):
    command = [sys.executable, EXAMPLES / "measure.py", "out"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "the student agrees with its first teacher on" in run.stdout
    models = {row["model"]: row for row in json.loads((tmp_path / "out/models.json").read_text())}
    assert list(models) == ["teacher0", "teacher1", "student", "ensemble"]
    assert all(row["top1"] > 0.6 for row in models.values())
    (tmp_path / "out/reliability.png").stat()
