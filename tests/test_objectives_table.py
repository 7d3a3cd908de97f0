"""Objectives compared: the table, and rank correlations over them."""

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import DATASET
from test_objectives import FEW

from common.errors import UserError
from common.files import sha256
from engine.cells import parse_student
from engine.config import StudentConfig
from engine.flags import RECIPE_FOLDER, resolve
from engine.scheduling import side_by_side, train_each, train_together
from evaluation import calculate_iou, compare_objectives
from evaluation.answers import Answers
from evaluation.objectives_page import COLUMNS, objectives_figure, page
from evaluation.objectives_table import Student, means, overlaps_known, ranks
from evaluation.options import ObjectiveOptions, OverlapOptions
from evaluation.tables import write_table

ROOT = Path(__file__).parent.parent
VARIANTS = ROOT / "script/objectives.yaml"


def student(name, seed, right, agrees):
    """Right and in agreement on so many of ten even and ten odd test images; the others' ten tell
    something else, and are not to be looked at."""
    top1, fidelity = (torch.zeros(20, dtype=torch.float64) for _ in range(2))
    top1[1 : 2 * right : 2], fidelity[0 : 2 * agrees : 2] = 1, 1
    top1[::4], fidelity[1::4] = 1, 1
    answers = Answers(torch.arange(20), torch.zeros(20).long(), *[torch.zeros(20)] * 5)
    return Student(parse_student(name), seed, answers, top1, fidelity)


def students(cell, seed, *pairs):
    return [student(f"{cell}+v{k}", seed, right, agrees) for k, (agrees, right) in enumerate(pairs)]


class TestCorrelations:
    UP = ((1, 5), (2, 6), (3, 7), (4, 8))
    DOWN = ((1, 8), (2, 7), (3, 6), (4, 5))
    MIXED = ((1, 5), (2, 7), (3, 6), (4, 8))  # 1 - 6 * 2 / (4 * 15)

    def test_within_a_view_and_a_replicate(self):
        found = ranks([*students("T1w_Sw", 1, *self.UP), *students("T1w_Ss", 1, *self.DOWN)])
        assert [(row["cell"], row["rank_correlation"], row["replicates"]) for row in found] == [
            ("T1w_Sw", pytest.approx(1), 1),
            ("T1w_Ss", pytest.approx(-1), 1),
        ]
        assert found[0]["rank_correlation_low"] is None  # of one replicate

    def test_the_interval_is_over_replicates(self):
        """Student's t of one degree of freedom is 12.706, the standard error .1; it ends at 1."""
        (row,) = ranks([*students("T1w_Sw", 1, *self.UP), *students("T1w_Sw", 2, *self.MIXED)])
        assert row["rank_correlation"] == pytest.approx(0.9)
        assert row["rank_correlation_low"] == pytest.approx(0.9 - 12.7062 * 0.1, abs=1e-4)
        assert row["rank_correlation_high"] == 1

    def test_it_is_over_the_objectives_that_all_replicates_have(self, capsys):
        """A fifth one of the first turns its order round; three are too few to take part."""
        fifth = [*self.UP, (5, 0)]
        found = ranks([*students("T1w_Sw", 1, *fifth), *students("T1w_Sw", 2, *self.UP),
                       *students("T1w_Sw", 3, *self.DOWN[:3])])  # fmt: skip
        assert [
            (row["rank_correlation"], row["replicates"], row["objectives"]) for row in found
        ] == [(pytest.approx(1), 2, 4)]
        others = [student(f"T1w_Sw+u{k}", 2, 1, 1) for k in range(4)]
        assert ranks([*students("T1w_Sw", 1, *self.UP), *others]) == []
        assert (
            "T1w_Sw: its replicates have fewer than 4 objectives in co" in capsys.readouterr().err
        )

    def test_three_objectives_are_too_few(self):
        assert ranks(students("T1w_Sw", 1, *self.UP[:3])) == []


class TestMeans:
    def rows(self, *students):
        return [
            dict.fromkeys((column.key for column in COLUMNS), float(s.seed))
            | {"cell": str(s.cell), "seed": s.seed, "teacher_seed": s.seed}
            for s in students
        ]

    def test_the_difference_is_within_a_replicate(self):
        """kl is right on 8 and 6 images, dist on 7 and 5 more of the same: 1 and 1 of 20 less."""
        of = [
            student("T1w_Sw+kl", 1, 8, 3), student("T1w_Sw+kl", 2, 6, 3),
            student("T1w_Sw+dist", 1, 7, 3), student("T1w_Sw+dist", 2, 5, 5),
        ]  # fmt: skip
        kl, dist = means(self.rows(*of), of)
        assert (kl["gap_points"], kl["replicates"]) == (1.5, 2)
        assert "top1_minus_kl" not in kl
        assert dist["top1_minus_kl"] == pytest.approx(-1 / 20)
        assert dist["fidelity_ensemble_minus_kl"] == pytest.approx((0 + 2 / 20) / 2)
        half = 12.7062 * 0.5  # values 1 and 2: standard error .5, one degree of freedom
        assert dist["ece_low"] == pytest.approx(1.5 - half, abs=1e-3)

    def test_a_replicate_without_kl_gives_no_difference(self):
        of = [student("T1w_Sw+kl", 1, 8, 3), student("T1w_Sw+dist", 2, 7, 3)]
        assert "top1_minus_kl" not in means(self.rows(*of), of)[1]

    def test_fewer_replicates_are_told(self):
        """dist has two of kl's three, one of them without its gap and one where kl is."""
        of = [student("T1w_Sw+kl", seed, 8, 3) for seed in (1, 2, 3)]
        of += [student("T1w_Sw+dist", seed, 7, 3) for seed in (3, 4)]
        rows = self.rows(*of)
        rows[-1]["gap_points"] = None
        found = means(rows, of)
        assert "gap_points_n" not in found[0]
        assert (found[1]["gap_points_n"], found[1]["top1_minus_kl_n"]) == (1, 1)
        written = page(ObjectiveOptions(dataset="made_up"), found, [])
        (dist,) = (line for line in written.splitlines() if line.startswith("| dist"))
        assert "## T1w_Sw, n = 3" in written and dist.startswith("| dist (n = 2) | 350.0 (")
        assert "| 3.0 (n = 1) |" in dist and "| -5.0 (n = 1) |" in dist
        assert "Given these teachers" not in written

    def test_replicates_of_the_same_teachers_are_given_these(self):
        of = [student("T1w_Sw+kl", seed, 8, 3) for seed in (1, 2)]
        rows = [row | {"teacher_seed": 1} for row in self.rows(*of)]
        found = means(rows, of)
        assert found[0]["teachers"] == "shared"
        assert "**Given these teachers**" in page(ObjectiveOptions(dataset="made_up"), found, [])

    def test_one_image_is_too_few(self):
        of = student("T1w_Sw+kl", 1, 8, 3)
        with pytest.raises(UserError, match="one test image: --max-images takes more"):
            means(self.rows(of), [dataclasses.replace(of, top1=of.top1[:1])])

    @pytest.mark.parametrize(
        "other", [{"index": torch.arange(1, 21)}, {"labels": torch.ones(20).long()},
                  {name: torch.zeros(18) for name in ("index", "labels")}]
    )  # fmt: skip
    def test_other_test_images_are_refused(self, other):
        """Whether or not they are as many."""
        of = [student(f"T1w_Sw+{loss}", seed, 8, 3) for loss in ("kl", "dist") for seed in (1, 2)]
        answers = dataclasses.replace(of[1].answers, **other)
        of[1] = dataclasses.replace(of[1], answers=answers)
        with pytest.raises(
            UserError, match=r"\+kl seed 2 is tested on other .* \+?T1w.*\+kl seed 1"
        ):
            means(self.rows(*of), of)


class TestOverlaps:
    """Rows of two targets, the other one last, of a checkpoint that is there."""

    @pytest.fixture
    def options(self, tmp_path):
        options = ObjectiveOptions(dataset="made_up", output_dir=str(tmp_path))
        checkpoint = options.folder / "T1w_Sw+kl/seed1/last.pt"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_bytes(b"weights")
        place = checkpoint.relative_to(options.folder).as_posix()
        row = {"cell": "T1w_Sw+kl", "pair": "T1w-S", "seed": 1}
        row |= {"checkpoints": {place: sha256(checkpoint)}}
        rows = [
            row | {"asked": OverlapOptions(group="T_S", target=target).asked, "iou": value}
            for target, value in (("ensemble", 0.5), ("class_sum", 0.9))
        ]
        write_table(options.folder / "iou_T_S", rows)
        return options

    def test_those_of_the_usual_target(self, options):
        assert overlaps_known(options) == {("T1w_Sw+kl", "T1w-S", 1): 0.5}
        few = dataclasses.replace(options, max_images=10)
        assert overlaps_known(few) == {}

    def test_none_of_a_checkpoint_that_changed(self, options, capsys):
        (options.folder / "T1w_Sw+kl/seed1/last.pt").write_bytes(b"others")
        assert overlaps_known(options) == {}
        assert "stale, left out: iou_T_S of T1w_Sw+kl seed 1" in capsys.readouterr().err


def test_an_objective_looks_the_same_in_all_panels():
    """And the legend names those too that the first panel lacks."""
    numbers = dict.fromkeys(("top1", "fidelity_ensemble"), 0.5)
    ends = {f"{name}_{end}": None for name in numbers for end in ("low", "high")}
    cells = ("T1w_Sw+at", "T1w_Sw+dkd", "T1w_Ss+dkd", "T1w_Ss+kl")
    figure = objectives_figure([{"cell": cell, **numbers, **ends} for cell in cells])
    (legend,) = figure.legends
    known = {
        text.get_text(): handle.get_color()
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    assert list(known) == ["at", "dkd", "kl"] and len(set(known.values())) == 3
    for axes in figure.axes:
        for drawn in axes.containers:
            assert drawn.lines[0].get_color() == known[drawn.get_label()]


def test_the_variants_are_the_published_settings():
    """Each loss is there, and each combination, and all learn in one group."""
    names = [line.split(":")[0] for line in VARIANTS.read_text().splitlines() if line[:1].isalpha()]
    cells = [f"T1w_T2w_Sw+{name}" for name in names]
    flags = ["--recipe", str(RECIPE_FOLDER / "synthetic.yaml"), "--variants", str(VARIANTS)]
    configs = resolve(StudentConfig, ["--dataset", "synthetic", *flags, "--cells", *cells])
    (group,) = side_by_side(configs)
    own = {config.cell.split("+")[1]: config for config in group}
    assert {config.combine for config in group} == {"losses", "logits", "confidence", "drawn"}
    assert len({config.loss for config in group}) == 8
    assert (own["kl9"].loss, own["kl9"].kd_weight, own["kl9"].ce_weight) == ("kl", (9,), 0.1)
    assert (own["standardised"].temperature, own["dkd"].temperature) == (2, 4)
    assert own["map"].kd_weight == (0.9, 5)


def test_a_table_from_training_to_correlation(two_teachers, capsys):
    (plain,) = resolve(StudentConfig, two_teachers.flags("T1w_T2w_Sw", *FEW))
    configs = [
        dataclasses.replace(plain, cell=f"T1w_T2w_Sw+{name.replace('_', '-')}", loss=name)
        for name in ("kl", "standardised", "dist", "logit_mse", "hard_label")
    ]
    train_each(side_by_side(configs), train_together)
    capsys.readouterr()
    asked = ["--dataset", DATASET, "--output-dir", str(two_teachers.folder), "--device", "cpu"]
    cells = [config.cell for config in configs]
    calculate_iou.main([*asked, "--group", "T_S", "--cells", cells[0]])
    compare_objectives.main([*asked, "--cells", *cells, "--latex"])
    printed = capsys.readouterr().out
    assert "with teachers, view and seed held" in printed
    folder = two_teachers.folder / DATASET
    rows = json.loads((folder / "objectives.json").read_text())
    assert [row["cell"] for row in rows] == sorted(cells)
    for row in rows:
        record = two_teachers.run(row["cell"], 1).read_metrics()["last"]
        assert row["top1"] == pytest.approx(record["test"]["top1"])
        assert row["fidelity_ensemble"] == pytest.approx(record["test"]["fidelity_ensemble"])
        assert row["fidelity_taught"] == record["test"]["fidelity_taught"]
        assert row["gap_points"] == record["gap_points"]
        assert -100 <= row["clean_gap_points"] <= 100
        assert 0 <= row["ece"] <= 1
    page = (folder / "report/objectives.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith("| dist |"))
    (dist,) = (row for row in rows if row["cell"].endswith("+dist"))
    assert f"| {100 * dist['top1']:.1f} |" in line
    assert r"T1w\_T2w\_Sw+dist & 1 & " in (folder / "report/objectives.tex").read_text()
    assert (folder / "report/objectives.png").stat().st_size > 10_000
    overlaps = json.loads((two_teachers.folder / DATASET / "iou_T_S.json").read_text())
    (expected,) = (row["iou"] for row in overlaps if row["pair"] == "T1w_T2w-S")
    assert {row["cell"]: row["iou_T_S"] for row in rows} == {
        cell: expected if cell == cells[0] else None for cell in cells
    }
    with pytest.raises(UserError, match="none of the cells asked for is finished"):
        compare_objectives.main([*asked, "--cells", "T1s_T2s_Ss+kl"])
    compare_objectives.main([*asked, "--cells", *cells, "--checkpoint", "best", "--name", "best"])
    rows = json.loads((folder / "best.json").read_text())
    assert {(row["gap_points"], row["fidelity_taught"]) for row in rows} == {(None, None)}
    written = (folder / "report/best.md").read_text()
    assert "of another epoch or of other images (checkpoint=best" in written
    assert "| gap, points |" not in written and "| clean gap, points |" in written


def test_the_script_names_cells_that_there_are():
    """Its --help needs no training, and its cells are those of the variants."""
    done = subprocess.run(
        ["bash", "script/objectives.sh", "--help"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "One pair of teachers" in done.stdout and "--combine" in done.stdout
