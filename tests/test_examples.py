"""The programs in examples/ run, and say what they are there to say."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DATASET, run_copy
from PIL import Image

from common.errors import run_program
from script.fill_notebook import code_hash, fill, main

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


def test_the_tour_runs_on_finished_runs(taught, tmp_path, monkeypatch):
    """Each of the notebook's cells, in order; its figure shows four images with both maps."""
    run_copy(taught, tmp_path)
    taught.student("Ss", "--output-dir", tmp_path / "runs")  # a claim compares it with Sw
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DATASET", DATASET)
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.setattr(sys, "path", [*sys.path])
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text())
    fill(notebook, names := {})
    printed = "".join(printed_in(notebook))
    pairs = json.loads((tmp_path / "runs" / DATASET / "agreement.json").read_text())
    (row,) = [own for own in pairs if own["pair"] == "T1w-S"]
    interval = f"{row['fidelity_low']:.3f} to {row['fidelity_high']:.3f}"
    assert f"fidelity {row['fidelity']:.3f}, 95% interval {interval}" in printed
    assert "verdict" in printed
    picture = tmp_path / "tour.png"
    names["figure"].savefig(picture)
    with Image.open(picture) as image:
        assert image.convert("L").getextrema() == (0, 255)


def filled(tmp_path, text):
    """What filling a notebook of that text ends with."""
    path = tmp_path / "some.ipynb"
    path.write_text(text)
    return run_program(main, [str(path)]), path


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "is damaged, or no JSON"), ("[]", "is no notebook"), ('{"cells": 3}', "is no notebook")],
)
def test_what_is_no_notebook_is_told_in_one_line(tmp_path, capsys, text, words):
    assert filled(tmp_path, text)[0] == 2
    assert words in (error := capsys.readouterr().err)
    assert error.count("\n") == 1
    assert run_program(main, ["gone.ipynb"]) == 2
    assert "gone.ipynb" in (error := capsys.readouterr().err)
    assert error.count("\n") == 1


def test_a_cell_without_code_has_no_output(tmp_path):
    cells = [{"cell_type": "code", "id": k, "source": [k]} for k in ("", "# one", "print(1)")]
    code, path = filled(tmp_path, json.dumps({"cells": cells, "metadata": {}}))
    assert code == 0
    outputs = [cell["outputs"] for cell in json.loads(path.read_text())["cells"]]
    assert outputs[:2] == [[], []]
    assert outputs[2][0]["text"] == ["1\n"]


def printed_in(notebook):
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            yield from output.get("text", [])


def test_the_tours_outputs_are_of_its_code():
    """They hold neither a path of the machine that made them nor much of a reader's time."""
    path = EXAMPLES / "tour.ipynb"
    notebook = json.loads(path.read_text())
    assert notebook["metadata"]["outputs_of"] == code_hash(notebook), "run script/fill_notebook.py"
    assert path.stat().st_size < 400_000
    assert not re.search(r"(^|[\s'\"])/\w+/", "".join(printed_in(notebook)))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    kinds = [[output["output_type"] for output in cell["outputs"]] for cell in code]
    assert kinds == [[], *[["stream"]] * 4, ["display_data"], ["stream"]]
    code[0]["source"].append("# changed")
    assert notebook["metadata"]["outputs_of"] != code_hash(notebook)
