"""A report that is up to date is not made again; one of which anything changed is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DATASET, run_copy
from test_partial import as_cell
from tqdm import tqdm

from common.files import write_text
from dataloader.datasets import load_split
from evaluation import unchanged
from evaluation.options import EvaluateOptions, parse_options
from evaluation.unchanged import RECORD, unless_up_to_date

ROOT = Path(__file__).parent.parent


@pytest.fixture
def run(taught, tmp_path):
    return run_copy(taught, tmp_path)


@pytest.fixture
def folder(run, tmp_path):
    """Of the data set: runs with what a report leaves of its tables, outputs and pages."""
    folder = tmp_path / "runs" / DATASET
    for left in ("ece.csv", "report/index.html", "T1w/seed1/outputs/test-test.npz"):
        write_text(folder / left, "as it was made")
    return folder


@pytest.fixture
def flags(folder):
    return ["--dataset", DATASET, "--output-dir", str(folder.parent)]


@pytest.fixture
def is_made(flags):
    """Whether a report is made of what is there; `meanwhile` is done while it is."""

    def asks(*more, meanwhile=lambda: None):
        made = []

        def make():
            made.append("a report")
            meanwhile()

        unless_up_to_date(parse_options(EvaluateOptions, [*flags, *more], ""), make)
        return bool(made)

    return asks


def test_what_is_up_to_date_is_told_in_one_line_without_torch(folder, flags, is_made, capsys):
    assert is_made()
    assert capsys.readouterr() == ("", "")
    assert not is_made()
    assert is_made("--anew")
    assert not is_made()
    program = (
        "import sys; from script.evaluate import main; main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", program, *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    page = folder / "report" / "index.html"
    assert done.stdout == (
        f"up to date: {page} (nothing that it is made of has changed; --anew makes it again)\n"
    )
    assert done.stderr == ""


def of_same_size(path):
    """Other bytes, as a damaged disk has them."""
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


CHANGES = {
    "a checkpoint is damaged": lambda run: of_same_size(run("Sw").checkpoint("last")),
    "a checkpoint is gone": lambda run: run("Sw").checkpoint("best").unlink(),
    "a record is damaged": lambda run: of_same_size(run("Sw").metrics),
    "a run was trained elsewhere": lambda run: of_same_size(run("Sw").environment),
    "a run is added": lambda run: as_cell(run("Ss"), run("Sw")),
    "a run is taken away": lambda run: shutil.rmtree(run("Sw").path),
    "outputs are gone": lambda run: shutil.rmtree(run("T1w").outputs),
    "a page is edited": lambda run: of_same_size(report(run) / "index.html"),
    "a page is deleted": lambda run: (report(run) / "index.html").unlink(),
    "a table is edited": lambda run: of_same_size(report(run).parent / "ece.csv"),
    "a table is added": lambda run: write_text(report(run).parent / "ece_3T.json", "[]"),
}


def report(run):
    return run("Sw").path.parents[1] / "report"


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changed_is_made_again(run, is_made, change):
    assert is_made() and not is_made()
    change(run)
    assert is_made() and not is_made()


def test_what_was_asked_otherwise_is_made_again(is_made):
    assert is_made() and not is_made()
    for flags in (["--view-seed", "1"], ["--latex"], ["--cells", "Sw"], ["--device", "cpu"]):
        assert is_made(*flags) and not is_made(*flags)


def test_other_code_libraries_images_and_machines_make_another(is_made, tmp_path, monkeypatch):
    assert is_made() and not is_made()
    shutil.copytree(unchanged.ROOT / "metrics", tmp_path / "house" / "metrics")
    monkeypatch.setattr(unchanged, "ROOT", tmp_path / "house")
    assert is_made() and not is_made()
    write_text(tmp_path / "house" / "metrics" / "another.py", "")
    assert is_made() and not is_made()
    monkeypatch.setattr(unchanged, "version", lambda name: "99" if name == "torch" else "1")
    assert is_made() and not is_made()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert is_made() and not is_made()
    fewer = {
        split: load_split(DATASET, split, None).subset(range(9)) for split in ("train", "test")
    }
    monkeypatch.setattr("engine.source.load_split", lambda _, split, *__, **___: fewer[split])
    assert is_made() and not is_made()


def test_what_changed_while_the_report_was_made_counts(run, is_made):
    assert is_made(meanwhile=lambda: of_same_size(run("Sw").epochs))
    assert is_made() and not is_made()


def test_a_report_that_had_something_to_say_is_made_again(is_made, capsys):
    def words():
        print("left out: Sw seed 1: it is damaged", file=sys.stderr)

    assert is_made(meanwhile=words) and is_made(meanwhile=words)
    assert capsys.readouterr().err.count("left out: Sw seed 1") == 2

    def bars():
        for _ in tqdm(range(3), file=sys.stderr, mininterval=0, leave=False):
            pass

    assert is_made(meanwhile=bars) and not is_made()
    assert "100%" in capsys.readouterr().err


def test_what_cannot_be_read_is_not_known_to_be_up_to_date(run, folder, is_made):
    (folder / "odd.csv").symlink_to("/proc/self/mem")  # a file whose first byte is none
    assert is_made() and is_made()
    (folder / "odd.csv").unlink()
    assert is_made() and not is_made()
    write_text(run("Sw").config, "cell: [")
    assert is_made() and is_made()


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"made_of": null}', "NaN"])
def test_a_record_that_is_none_is_not_believed(folder, is_made, content):
    write_text(folder / "report" / RECORD, content)
    assert is_made() and not is_made()
