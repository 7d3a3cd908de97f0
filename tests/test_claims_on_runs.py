"""The claims on real runs of two replicates."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DATASET, Bench

from common.errors import UserError
from engine.cells import parse_student
from engine.run import RunDirectory, Runs
from evaluation import calculate_claims, calculate_ece, calculate_iou, report
from evaluation.answers import Answers
from evaluation.claims import claims
from evaluation.claims_figures import ClaimsFigures
from evaluation.claims_page import heading
from evaluation.grid import Grid, open_grid
from evaluation.grid_reader import read_grid_values
from evaluation.grid_values import AFFINITY, CLEAN_GAP, GAP, TOP1, GridValues
from evaluation.options import ClaimsOptions
from evaluation.outputs import OutputStore
from evaluation.tables import Row
from evaluation.verdicts import ALL, judged

TEACHERS = ("T1w", "T2w", "T1s", "T2s")
ONE_EPOCH = ("--epochs", 1)


@pytest.fixture(scope="module")
def bench(taught, tmp_path_factory) -> Bench:
    """A second replicate beside a copy of the first, and students of both views of both."""
    folder = tmp_path_factory.mktemp("claims") / "runs"
    shutil.copytree(taught.folder, folder, ignore=shutil.ignore_patterns("outputs"))
    bench = Bench(folder, taught.recipe)
    for cell in TEACHERS:
        bench.teacher(cell, "--seed", 2, *ONE_EPOCH)
    bench.student("Sw", "--seed", 2, *ONE_EPOCH)
    bench.student("Ss", "--seeds", 1, 2, *ONE_EPOCH)
    bench.student("T1w_Sw", "--seed", 2, "--teacher-seed", 1, *ONE_EPOCH)
    bench.student("T1w_Ss", "--seed", 1, *ONE_EPOCH)
    bench.student("T1w_Ss", "--seed", 2, "--teacher-seed", 1, *ONE_EPOCH)
    for cell in ("T1w_T2w_Sw", "T1s_T2s_Ss"):
        bench.student(cell, "--seed", 2, *ONE_EPOCH)
    return bench


def flags(bench: Bench) -> list[str]:
    return ["--dataset", DATASET, "--output-dir", str(bench.folder), "--workers", "0"]


def read(bench: Bench, name: str) -> list[Row]:
    return json.loads((bench.folder / DATASET / f"{name}.json").read_text())


class MadeUpStore(OutputStore):
    """Answers of a model that names class 0 on four images, whose labels the seed gives."""

    def answers(self, run: RunDirectory, **asked: Any) -> Answers:
        if asked:
            raise UserError("no other images are here")
        zeros = torch.zeros(4)
        labels = torch.full((4,), int(run.seed == 2))
        return Answers(torch.arange(4), labels, zeros.long(), *[zeros.double()] * 4)


def test_a_student_of_other_test_images_is_named(tmp_path, capsys) -> None:
    runs = Runs(tmp_path, DATASET)
    of_seeds = [runs.of(parse_student("Sw"), seed) for seed in (1, 2, 3)]
    for run in of_seeds:
        run.path.mkdir(parents=True)
        run.config.write_text(f"cell: Sw\nseed: {run.seed}\n")
    values = read_grid_values(Grid(runs), MadeUpStore(ClaimsOptions()), of_seeds)
    assert [seed for _, seed in values.of(TOP1)] == [1, 3]
    told = "left out of the claims: Sw seed 2: it is tested on other images than Sw seed 1\n"
    assert told in capsys.readouterr().err


def test_claims_of_two_replicates(bench, capsys) -> None:
    calculate_claims.main([*flags(bench), "--latex"])
    printed = capsys.readouterr().out
    assert "6.1 overlap & " in (bench.folder / DATASET / "report/claims.tex").read_text()
    rows = {(row["claim"], row["way"]): row for row in read(bench, "report/claims")}
    calculate_iou.main([*flags(bench), "--group", "T_T", "--cells", "T1w_T2w_Sw", "T1s_T2s_Ss"])
    overlap = {(row["cell"], row["seed"]): row["iou_corrected"] for row in read(bench, "iou_T_T")}
    by_hand = [overlap["T1w_T2w", seed] - overlap["T1s_T2s", seed] for seed in (1, 2)]
    own = rows["6.1 overlap", "threshold 0.4"]
    assert own["estimate"] == pytest.approx(sum(by_hand) / 2)
    assert own["std"] == pytest.approx(abs(by_hand[0] - by_hand[1]) / 2**0.5)
    assert own["replicates"] == 2 and "given" not in own["verdict"]
    assert own["verdict"] in printed
    alone = rows["6.1 strong students, no teachers", ""]
    assert (alone["replicates"], alone["teachers"]) == (2, "own")
    given = rows["6.1 strong students, weak teachers", ""]["verdict"]
    assert given.endswith("given these teachers")
    page = (bench.folder / DATASET / "report" / "claims.md").read_text()
    assert "\n## Over all cells, given these teachers\n" in page
    assert "| 6.2 gap | rank correlation of fidelity and gap | 0.976 | 0.994 | - | 0.952 |" in page
    report.main(flags(bench)[:4])
    html = (bench.folder / DATASET / "report" / "index.html").read_text()
    assert "<h3>Over all cells, given these teachers</h3>" in html and "is not there" not in html
    assert 0 < html.index('aria-label="strong views"') < html.index('aria-label="attention weak"')


def test_numbers_of_a_student_are_those_of_its_tables(bench) -> None:
    """A clean gap is of clean training images, affinity of the student's own view."""
    cells, (own, seed) = ("T1w_Sw", "Ss"), ("T1w_Sw", 1)
    asked = ClaimsOptions(
        dataset=DATASET, output_dir=str(bench.folder), cells=cells, seeds=(seed,), workers=0
    )
    values = read_grid_values(*open_grid(asked))
    key = parse_student(own), seed
    found = {}
    for split, view in (("train", "test"), ("test", "weak"), ("test", "test")):
        where = ["--split", split, "--view", view, "--cells", own, "--name", f"{split}_{view}"]
        calculate_ece.main([*flags(bench), *where, "--seeds", str(seed)])
        found[split, view] = read(bench, f"{split}_{view}")[0]["top1"]
    everything = torch.ones(1, values.images, dtype=torch.float64)
    gap, affinity = (values.of(name)[key].over(everything).item() for name in (CLEAN_GAP, AFFINITY))
    assert gap == pytest.approx(found["train", "test"] - found["test", "test"])
    assert affinity == pytest.approx(found["test", "weak"] / found["test", "test"])
    rows = judged(claims(values), values)
    assert {row["verdict"] for row in rows} == {"no verdict: one replicate", "not judged"}
    assert heading(ALL, rows).endswith("given these teachers, one replicate")


def test_the_gap_is_of_test_images_and_of_the_epoch_that_is_measured(taught, tmp_path) -> None:
    """Where held out images select, of the last epoch and of the best."""
    run = Bench(tmp_path, taught.recipe).student("Sw", "--holdout-fraction", 0.3)
    records = run.read_epochs(until=3)
    best = run.read_metrics()["best"]["epoch"]
    for checkpoint, epoch in (("last", 3), ("best", best)):
        asked = ClaimsOptions(
            dataset=DATASET, output_dir=str(tmp_path), workers=0, checkpoint=checkpoint
        )
        values = read_grid_values(*open_grid(asked))
        key, everything = (run.cell, 1), torch.ones(1, values.images, dtype=torch.float64)
        gap, top1 = (values.of(name)[key].over(everything).item() for name in (GAP, TOP1))
        assert gap == pytest.approx(records[epoch - 1]["train"]["top1"] - top1)
    assert 100 * gap != pytest.approx(records[best - 1]["gap_points"])


def test_the_matrix_of_agreement_is_of_one_replicate(bench) -> None:
    """Students of the least seed beside their own teachers, whichever student comes first."""
    asked = ClaimsOptions(dataset=DATASET, output_dir=str(bench.folder), workers=0)
    grid, store, runs = open_grid(asked)
    first = next(run for run in runs if (str(run.cell), run.seed) == ("T1s_T2s_Ss", 1))
    other = next(run for run in runs if (str(run.cell), run.seed) == ("Sw", 2))
    values = GridValues(len(store.answers(first).labels), {}, {}, {})

    def matrix(*students: RunDirectory) -> np.ndarray:
        (drawn,) = ClaimsFigures(grid, store, students, values, [])._agreement()
        return drawn.figure.axes[0].images[0].get_array().filled()

    np.testing.assert_array_equal(matrix(other, first), matrix(first))
