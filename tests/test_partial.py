"""What cannot be measured of some runs stops nothing else: tried on faults of all kinds."""

import dataclasses
import json
import shutil

import pytest
import torch
from conftest import DATASET, run_copy

from Affinity import calculate_affinity
from common.errors import UserError, run_program
from common.files import write_text
from dataloader.datasets import load_split
from engine.cells import parse_student
from engine.checkpoint import load, save
from engine.records import write_metrics
from evaluation import calculate_agreement, calculate_claims, calculate_ece, calculate_iou, report
from evaluation.grid import of_each
from evaluation.options import EvaluateOptions
from script import evaluate


@pytest.fixture
def runs(taught, tmp_path):
    return run_copy(taught, tmp_path)


@pytest.fixture
def flags(tmp_path, runs):
    where = ["--dataset", DATASET, "--output-dir", str(tmp_path / "runs"), "--device", "cpu"]
    return [*where, "--workers", "0"]


@pytest.fixture
def rows(tmp_path):
    return lambda name: json.loads((tmp_path / "runs" / DATASET / f"{name}.json").read_text())


def always_says(run, wrong):
    """Give a run's net a final layer that answers one class, wherever it looks."""
    header, state = load(run.checkpoint("last"))
    state["model"]["fc.weight"] = torch.zeros_like(state["model"]["fc.weight"])
    state["model"]["fc.bias"] = torch.nn.functional.one_hot(torch.tensor(wrong), 10).float()
    save(run.checkpoint("last"), header, {"model": state["model"]})


def as_cell(run, like):
    """A copy of the run `like` in place of `run`."""
    shutil.copytree(like.path, run.path)
    config = run.config.read_text().replace(f"cell: {like.cell}\n", f"cell: {run.cell}\n")
    write_text(run.config, config)
    write_metrics(run.metrics, like.read_metrics() | {"cell": str(run.cell)})


def changed_last(run, **figures):
    """Change what a run says of its last epoch; of a value `...` nothing is said."""
    metrics = run.read_metrics()
    last = {**metrics["last"], **figures}
    metrics["last"] = {name: value for name, value in last.items() if value is not ...}
    write_metrics(run.metrics, metrics)


def test_one_image_that_nobody_gets_right_leaves_figures_empty_and_no_more(
    flags, rows, runs, capsys
):
    (label, *_) = load_split(DATASET, "test", None).labels.tolist()
    for cell in ("T1w", "T2w"):
        always_says(runs(cell), (label + 1) % 10)
    asked = [*flags, "--max-images", "1", "--cells", "T1w_T2w_Sw"]
    assert run_program(evaluate.main, asked) == 0
    out, err = capsys.readouterr()
    of_views = [row for row in rows("affinity") if row["cell"] in ("T1w", "T2w")]
    assert {row["affinity"] for row in of_views} == {row["affinity_low"] for row in of_views}
    assert {row["affinity"] for row in of_views} == {None}
    assert "undefined: affinity and affinity_to_test of T1w seed 1 under the weak view" in err
    for name, constant in (("iou_T_T", 1), ("iou_T_S", 2 / 3)):
        row = rows(name)[0]  # of all models
        assert (row["iou_chance"], row["constant_maps"]) == (None, pytest.approx(constant))
    assert rows("iou_T_T")[0]["iou"] == 1
    assert "constant maps: 100% of T1w_T2w seed 1" in err
    assert rows("ece")[0]["top1"] == 0
    assert len(rows("agreement")) == 5 * 6
    assert {row["cell"] for row in rows("results")} > {"T1w", "T1w_T2w_Sw"}
    assert "Traceback" not in err and "nan" not in out


def test_a_damaged_run_is_named_once_a_measurement_and_the_rest_is_measured(
    flags, rows, runs, tmp_path, capsys
):
    as_cell(runs("Ss"), runs("Sw"))
    runs("T2s").checkpoint("last").write_bytes(b"PK half")
    runs("T1w_Sw").checkpoint("last").unlink()
    changed_last(runs("Ss"), gap_points=None, epoch=0)  # adopted
    runs("Sw").epochs.unlink()
    runs("T2w").metrics.write_text('{"last": 1}')
    assert run_program(evaluate.main, [*flags, "--max-images", "8"]) == 0
    err = capsys.readouterr().err
    for reason in (
        f"left out: T2s seed 1: {runs('T2s').checkpoint('last')}",
        f"left out: T1w_Sw seed 1: {runs('T1w_Sw').checkpoint('last')} is gone",
        f"left out: T2w seed 1: {runs('T2w').metrics}",
        "left out: the learning curve of Sw seed 1: ",
    ):
        assert reason in err
    measured = {row["cell"] for row in rows("ece")}
    assert measured == {"T1w", "T2w", "T1s", "Sw", "Ss", "T1w_T2w_Sw", "T1s_T2s_Ss"}
    assert {row["cell"] for row in rows("agreement")} == {"T1w_T2w_Sw"}
    assert {row["cell"] for row in rows("iou_T_S")} == {"T1w_T2w_Sw"}
    assert {row["cell"] for row in rows("affinity")} == measured
    table = {row["cell"]: row for row in rows("results")}
    assert "T2w" not in table and table["Ss"]["gap_points"] is None
    assert not (tmp_path / "runs" / DATASET / "report" / "made_of.json").exists()
    claims = (tmp_path / "runs" / DATASET / "report" / "claims.md").read_text()
    assert "| 6.1 strong students |" in claims and "![learning]" in claims
    assert "nan" not in claims and "Traceback" not in err


def test_a_part_of_the_students_leaves_the_verdicts_of_all(flags, runs, tmp_path, capsys):
    as_cell(runs("Ss"), runs("Sw"))
    few = [*flags, "--max-images", "8"]
    calculate_claims.main(few)
    folder = tmp_path / "runs" / DATASET / "report"
    before = {path: path.read_bytes() for path in folder.glob("*")}
    assert folder / "claims.json" in before
    capsys.readouterr()
    evaluate.main([*few, "--cells", "Sw"])
    assert "the page of claims stays as it was. bash script/report.sh" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in before}
    page = (folder / "index.html").read_text()
    assert "<h3>Over all cells" in page and "No claim was judged" not in page
    every = [parse_student(name) for name in ("Sw", "Ss", "T1w_Sw", "T1w_T2w_Sw", "T1s_T2s_Ss")]
    asked = EvaluateOptions(
        dataset=DATASET, output_dir=str(tmp_path / "runs"), cells=tuple(map(str, every))
    )
    assert evaluate._are_all(asked, every) and not evaluate._are_all(asked, every[1:])


def test_where_nothing_is_left_one_line_says_why(flags, runs, capsys):
    for run in map(runs, ("T1w", "T2w", "T1s", "T2s")):
        run.checkpoint("last").unlink()
    for measure, cells in (
        (calculate_affinity, "T1w"), (calculate_ece, "T1w"), (calculate_agreement, "T1w_Sw"),
        (calculate_iou, "T1w_T2w_Sw"),
    ):  # fmt: skip
        assert run_program(measure.main, [*flags, "--cells", cells]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and "last.pt is gone: put it back" in line


def test_images_of_other_classes_are_one_line(flags, runs, capsys, monkeypatch):
    images = load_split(DATASET, "test", None)
    more = dataclasses.replace(images, class_names=(*images.class_names, "more"))
    monkeypatch.setattr("engine.source.load_split", lambda *_, **__: more)
    assert run_program(calculate_ece.main, [*flags, "--cells", "T1w"]) == 2
    assert "knows 10 classes, the images are of 11" in capsys.readouterr().err


ODD_ROWS = [
    7, None, {}, {"cell": "Sw"}, {"cell": "Sw", "seed": "1"}, {"cell": 3, "seed": 1},
    {"cell": "Sw", "seed": 1, "ece": "0.5"}, {"cell": "Sw", "seed": 1, "ece": float("nan")},
    {"cell": "Sw", "seed": 1, "ece": [[1]]}, {"cell": "Sw", "seed": 1, "ece": True},
    {"cell": "Sw", "seed": 1, "ece": 1e308}, {"cell": ["Sw"], "seed": 1},
    {"cell": "Sw", "seed": 1, "checkpoints": [1]}, {"cell": "Sw", "seed": 1, "asked": {}},
    {"cell": "Sw", "seed": 1, "checkpoints": {"Sw/seed1/last.pt": 5}},
]  # fmt: skip


def test_an_odd_row_of_a_table_is_named_and_left_out(flags, rows, runs, tmp_path, capsys):
    folder = tmp_path / "runs" / DATASET
    for name in ("ece", "agreement", "iou_T_T", "iou_T_S", "affinity", "ece_3T"):
        (folder / f"{name}.json").write_text(json.dumps(ODD_ROWS))
    for name in ("agreement_3T", "affinity_3T"):
        (folder / f"{name}.json").write_text(json.dumps([{"cell": "Sw", "seed": 1}]))
    (folder / "iou_T_S_3T.json").mkdir()
    assert run_program(report.main, flags[:4]) == 0
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 6 * len(ODD_ROWS) + 3
    assert f"left out: {folder / 'ece.json'}, row 7: 'ece' is '0.5'" in err
    assert f"{folder / 'affinity_3T.json'}, row 1: it has no view" in err
    calculate_ece.main([*flags, "--cells", "T1w", "--max-images", "2"])
    assert [row["cell"] for row in rows("ece")] == ["T1w"]


def test_rows_of_iou_of_an_earlier_version_are_named_and_replaced(
    flags, rows, runs, tmp_path, capsys
):
    path = tmp_path / "runs" / DATASET / "iou_T_S.json"
    path.write_text(json.dumps([{"cell": "T1w_Sw", "seed": 1, "iou": 0.5, "iou_T1_S": 0.5}]))
    calculate_iou.main([*flags, "--cells", "T1w_Sw", "--group", "T_S"])
    assert f"left out: {path}, row 1: it has no pair" in capsys.readouterr().err
    assert [row["pair"] for row in rows("iou_T_S")] == ["T1w-S"]


@pytest.mark.parametrize(
    "figures",
    [
        {"gap_points": ...}, {"gap_points": "1"}, {"gap_points": [1]}, {"epoch": ...},
        {"test": {"top1": 0.5, "kl_nats": float("nan")}},
    ],
)  # fmt: skip
def test_odd_figures_of_a_run_are_left_out_of_the_report(flags, rows, runs, figures):
    changed_last(runs("Sw"), **figures)
    assert run_program(report.main, flags[:4]) == 0
    assert "Sw" in {row["cell"] for row in rows("results")}


BAD_NAMES = ["Sw/seed1/metrics", "../evil", "/tmp/evil", "", ".", "..", "a\0b", "results", "T1w",
             ".hidden", "-x", "a\nb", "x" * 300, "caf\udce9"]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_of_result_files_is_no_path(flags, runs, capsys, name):
    before = runs("Sw").metrics.read_bytes()
    for measure in (calculate_ece, calculate_agreement, calculate_affinity):
        assert run_program(measure.main, [*flags, f"--name={name}"]) == 2
        assert capsys.readouterr().err.startswith("error: --name ")
    assert runs("Sw").metrics.read_bytes() == before


def test_two_names_with_points_are_two_files(flags, rows):
    for name in ("x.1", "x.2"):
        calculate_ece.main([*flags, "--cells", "T1w", "--max-images", "2", "--name", name])
    assert len(rows("x.1")) == len(rows("x.2")) == 1


def test_a_list_that_is_given_twice_adds_up(flags, rows):
    calculate_ece.main([*flags, "--max-images", "2", "--cells", "T1w", "--cells", "T2w", "Sw",
                        "--seeds", "1", "--seeds", "2"])  # fmt: skip
    assert [row["cell"] for row in rows("ece")] == ["T1w", "T2w", "Sw"]


PROGRAMS = (calculate_ece, calculate_agreement, calculate_iou, calculate_affinity,
            calculate_claims, evaluate)  # fmt: skip


@pytest.mark.parametrize("program", [*PROGRAMS, report], ids=lambda program: program.__name__)
def test_a_place_without_runs_is_one_line(program, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for place in ("", str(tmp_path / "file"), str(tmp_path), str(tmp_path / "nowhere")):
        assert run_program(program.main, ["--output-dir", place]) == 2
        assert capsys.readouterr().err.count("error: ") == 1
    for dataset in ("../x", "/x", "", ".", "a/b"):
        assert run_program(program.main, ["--dataset", dataset]) == 2
        assert "error: --dataset" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_device_that_is_not_there_is_one_line(program, flags, capsys):
    assert run_program(program.main, [*flags, "--device", "cuda:99"]) == 2
    assert capsys.readouterr().err.startswith("error: --device cuda:99")


def test_the_reasons_are_told_where_they_differ(capsys):
    def work(number):
        if number < 2:
            raise UserError(f"no {number}")
        return number

    assert of_each((0, 1, 2), work, str) == [2]
    assert capsys.readouterr().err == "left out: 0: no 0\nleft out: 1: no 1\n"
    with pytest.raises(UserError, match="nothing is left"):
        of_each((0, 1), work, str)
    with pytest.raises(UserError, match=r"^no 1$"):
        of_each((1, 1), work, str)
    assert of_each((1, 1), work, str, needed=False) == of_each((), work, str) == []
