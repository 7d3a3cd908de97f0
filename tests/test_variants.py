"""One setting changed: a variant of a cell has a run of its own beside the plain one's."""

import json

import pytest
import yaml
from conftest import DATASET, Bench

import train_student
from Affinity import calculate_affinity
from common.errors import UserError, run_program
from evaluation import calculate_agreement, calculate_ece, calculate_iou, report


@pytest.fixture
def bench(tmp_path, tiny_recipe):
    return Bench(tmp_path / "runs", tiny_recipe)


def settings(run):
    return yaml.safe_load(run.config.read_text())


def test_a_variant_of_the_student_learns_from_the_plain_teacher(bench):
    teacher = bench.teacher("T1w", "--epochs", 1)
    plain = bench.student("T1w_Sw", "--epochs", 1)
    variant = bench.student("T1w_Sw+T5", "--epochs", 1, "--temperature", 5)
    assert (settings(plain)["temperature"], settings(variant)["temperature"]) == (3, 5)
    heard = json.loads(variant.environment.read_text())["teachers"]
    assert heard["T1w"]["file"] == str(teacher.checkpoint("last"))
    first = [json.loads(run.epochs.read_text().splitlines()[0]) for run in (plain, variant)]
    assert first[0]["train"]["loss"] != first[1]["train"]["loss"]


def test_a_variant_of_the_teacher_is_another_teacher(bench):
    bench.teacher("T1s+wd", "--epochs", 1, "--weight-decay", 5e-4)
    with pytest.raises(UserError, match=r"teacher T1s of T1s_Ss is missing"):
        bench.student("T1s_Ss", "--epochs", 1)
    heard = json.loads(bench.student("T1s+wd_Ss", "--epochs", 1).environment.read_text())
    assert list(heard["teachers"]) == ["T1s+wd"]


def test_measures_tables_and_figures_know_variants(bench, capsys):
    for cell in ("T1w", "T2w+wd"):
        bench.teacher(cell, "--epochs", 1)
    bench.student("T1w_T2w+wd_Sw+T5", "--epochs", 1, "--temperature", 5)
    where = ["--dataset", DATASET, "--output-dir", str(bench.folder), "--device", "cpu"]
    students = ["--cells", "2T+T5", "T1w_T2w+wd_Sw+T5"]
    calculate_ece.main([*where, "--cells", "T", "T+wd", *students[1:]])
    assert {"T1w", "T2w+wd", "T1w_T2w+wd_Sw+T5"} <= set(capsys.readouterr().out.split())
    calculate_agreement.main([*where, *students])
    calculate_iou.main([*where, *students, "--group", "T_T"])
    calculate_iou.main([*where, *students, "--group", "T_S"])
    calculate_affinity.main([*where, "--cells", "T2w+wd"])
    capsys.readouterr()
    report.main(where[:4])
    table = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "-" not in table["T1w_T2w+wd_Sw+T5"].split()[3:5]
    rows = json.loads((bench.folder / DATASET / "results.json").read_text())
    student = next(row for row in rows if row["cell"] == "T1w_T2w+wd_Sw+T5")
    assert {"ece", "iou_teachers", "iou_student", "fidelity_ensemble"} <= student.keys()
    assert next(row for row in rows if row["cell"] == "T2w+wd")["affinity"] > 0


def test_a_missing_variant_is_named_with_its_trainer(bench, capsys):
    bench.student("Sw", "--epochs", 1)
    where = ["--dataset", DATASET, "--output-dir", str(bench.folder)]
    calculate_ece.main([*where, "--cells", "Sw", "Ss+T5", "--device", "cpu"])
    assert f"python train_student.py --dataset {DATASET} --cell Ss+T5" in capsys.readouterr().err


def test_a_run_without_an_epoch_is_overwritten(bench):
    run = bench.run("Sw", 1)
    run.path.mkdir(parents=True)
    run.config.write_text("lr: 7.0\n")
    run.environment.write_text('{"view": "one that was given up", "sessions": []}')
    bench.student("Sw", "--epochs", 1)
    assert settings(run)["lr"] == 0.1
    assert len(json.loads(run.environment.read_text())["sessions"]) == 1


def test_other_settings_under_one_name_are_refused_with_the_way_out(bench, capsys):
    bench.student("Sw+kl", "--epochs", 1)
    assert run_program(train_student.main, bench.flags("Sw+kl", "--epochs", 1, "--lr", 0.2)) == 2
    error = capsys.readouterr().err
    assert "--lr was 0.1, now 0.2" in error
    assert "--cell Sw+<variant>" in error


@pytest.mark.parametrize("cell", ["Sw", "T1s_Sw+s0.5"])
def test_a_strength_of_a_weak_view_is_refused(bench, cell, capsys):
    assert run_program(train_student.main, bench.flags(cell, "--strength", 0.5)) == 2
    assert f"{cell} trains on the weak one" in capsys.readouterr().err
