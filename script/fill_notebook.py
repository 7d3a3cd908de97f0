"""Run a notebook's cells and keep what they print and draw in it, as Jupyter does where it is
installed.

RUNS=runs python script/fill_notebook.py examples/tour.ipynb    after script/quickstart.sh
"""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import OneLineParser, UserError, run_program
from common.files import parse_json, read_text, write_text
from evaluation.figures import Figure

Notebook = dict[str, Any]
DPI = 80


def main(argv: Sequence[str] | None = None) -> None:
    """Fill the notebook that is named; UserError where it is none."""
    parser = OneLineParser("Run a notebook's cells and keep what they print and draw in it.")
    parser.add_argument("notebook", type=Path)
    path = parser.parse_args(argv).notebook
    notebook = parse_json(read_text(path), str(path))
    if not (isinstance(notebook, dict) and isinstance(notebook.get("cells"), list)):
        raise UserError(f"{path} is no notebook: it has no list of cells")
    fill(notebook, {})
    write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def fill(notebook: Notebook, names: dict[str, Any]) -> None:
    """Run the code in order, with the variables `names`; its outputs replace those in `notebook`,
    whose metadata then say of which code they are."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, start=1):
        cell |= {"execution_count": number, "outputs": _outputs(cell, names)}
    notebook["metadata"]["outputs_of"] = code_hash(notebook)


def code_hash(notebook: Notebook) -> str:
    """SHA-256 of the code in all cells."""
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


def _outputs(cell: Notebook, names: dict[str, Any]) -> list[Notebook]:
    """What the cell prints, then the figure that its last line may be."""
    tree = ast.parse("".join(cell["source"]))
    last = tree.body[-1] if tree.body else None
    shown = ast.Expression(last.value) if isinstance(last, ast.Expr) else None
    tree.body = tree.body[:-1] if shown else tree.body
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, cell["id"], "exec"), names)
        value = shown and eval(compile(shown, cell["id"], "eval"), names)
    text = printed.getvalue().splitlines(keepends=True)
    outputs: list[Notebook] = [{"output_type": "stream", "name": "stdout", "text": text}]
    outputs = outputs if text else []
    return [*outputs, _drawn(value)] if isinstance(value, Figure) else outputs


def _drawn(figure: Figure) -> Notebook:
    figure.savefig(picture := io.BytesIO(), format="png", dpi=DPI)
    data = {"image/png": base64.b64encode(picture.getvalue()).decode()}
    return {"output_type": "display_data", "data": data, "metadata": {}}


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted="run the command again"))
