"""What a program says may find no reader, no room and no letters for it; what it does goes on."""

import subprocess
import sys

import pytest
from test_archive import REPOSITORY

from common.files import append_line, read_text, write_text

PROGRAM = """
import sys
from pathlib import Path
from common.errors import UserError, run_program

def main(argv):
    print("a table: 1 \\u00b1 2, of \\udce9")
    print("a warning \\u00b1 \\udce9", file=sys.stderr)
    for _ in range(3):
        print("x" * 10_000, flush=True)
    Path(sys.argv[1]).write_text("done")
    if "fail" in sys.argv:
        raise UserError("bad \\u00b1 input")

if "terse" in sys.argv:
    main = lambda argv: print("a word")
sys.exit(run_program(main))
"""


def shell(line, folder, *words, **environment):
    """Run the program in a shell line, where {} stands for it."""
    command = f"{sys.executable} -c '{PROGRAM}' {folder / 'done'} {' '.join(words)}"
    return subprocess.run(
        ["bash", "-c", line.replace("{}", command)],
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
    )


@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        ("{} 2>/dev/null | head -c 5; exit ${PIPESTATUS[0]}", 0, ""),
        ("{} 2>/dev/null | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("{} >&-", 0, "a warning ± \\udce9\n"),
        ("{} 2>&- >/dev/null", 0, ""),
        ("{} <&- >&- 2>&-", 0, ""),
        ("{} 2>/dev/full >/dev/null", 0, ""),
        ("{} 2>&1 >/dev/full | grep error: >&2; exit ${PIPESTATUS[0]}", 2,
         "error: cannot write to the standard output: No space left on device: the work is "
         "done, send its output elsewhere\n"),
        ("{} >/dev/full 2>/dev/full", 2, ""),
    ],
)  # fmt: skip
def test_work_goes_on_where_nobody_can_read(line, code, error, tmp_path):
    done = shell(line, tmp_path, PYTHONIOENCODING="utf-8")
    assert (done.returncode, done.stderr) == (code, error)
    assert (tmp_path / "done").read_text() == "done"


@pytest.mark.parametrize("line", ["{} fail >&- 2>&-", "{} fail >/dev/full 2>&-"])
def test_a_failure_keeps_its_code_where_nobody_can_read(line, tmp_path):
    assert shell(line, tmp_path).returncode == 2


def test_what_stays_in_a_buffer_to_the_end_is_missed_too(tmp_path):
    done = shell("{} terse >/dev/full", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: cannot write to the standard output")


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1:strict"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
def test_a_letter_that_a_terminal_lacks_is_spelled_out(tmp_path, environment):
    done = shell("{} fail", tmp_path, **environment)
    assert done.returncode == 2
    assert "\\udce9" in done.stdout
    assert done.stderr.count("\n") == 2 and "error: bad" in done.stderr


def test_a_file_name_that_is_no_text_is_spelled_out_in_files(tmp_path):
    path = tmp_path / "x.md"
    write_text(path, "a ± of caf\udce9\n")
    append_line(path, "\udcff")
    assert read_text(path) == "a ± of caf\\udce9\n\\udcff\n"
