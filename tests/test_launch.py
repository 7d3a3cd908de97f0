import subprocess
import sys
from pathlib import Path

import pytest

from dataloader.errors import DivergedError, UserError
from engine.cells import expand, parse_cell, parse_student
from engine.config import StudentConfig, TeacherConfig
from engine.run import RunDirectory, Runs
from script.launch import Job, Pool, _environment, _starter, jobs, main


def job(tmp_path, cell, code):
    """A job of one cell, which runs `code`."""
    run = RunDirectory(tmp_path / cell, parse_cell(cell), 1)
    return Job("synthetic", (sys.executable, "-c", code), (run,))


def touch(path):
    return f"open({str(path)!r}, 'w').close()"


def test_every_job_runs_whatever_the_number_of_devices(tmp_path):
    for devices in (["cpu"], ["cpu", "cpu"], ["0", "0", "2"]):
        files = [[tmp_path / f"{len(devices)}-{k}-{i}" for i in range(2)] for k in range(3)]
        plans = [[job(tmp_path, "Sw", touch(file)) for file in some] for some in files]
        Pool(devices).run(plans[: len(devices)])
        assert all(file.exists() for some in files[: len(devices)] for file in some)


def test_each_device_gets_its_environment(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert _environment("2", 3)["CUDA_VISIBLE_DEVICES"] == "2"
    shared = _environment("cpu", 2)
    assert (shared["CUDA_VISIBLE_DEVICES"], shared["OMP_NUM_THREADS"]) == ("", "4")


def test_several_processes_are_started_by_torchrun(monkeypatch):
    assert _starter() == [sys.executable]
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    monkeypatch.setenv("NPROC", "4")
    assert _starter() == [*torchrun, "--nproc-per-node=4", "--standalone"]
    monkeypatch.setenv("NNODES", "2")
    with pytest.raises(UserError, match="NODE_RANK and MASTER_ADDR not set"):
        _starter()
    monkeypatch.setenv("NODE_RANK", "1")
    monkeypatch.setenv("MASTER_ADDR", "first")
    where = ["--nnodes=2", "--node-rank=1", "--master-addr=first", "--master-port=29500"]
    assert _starter() == [*torchrun, "--nproc-per-node=4", *where]


def test_the_first_failure_stops_the_rest_and_is_named(tmp_path):
    after = tmp_path / "after"
    failing = job(tmp_path, "Sw", "raise SystemExit(4)")
    with pytest.raises(
        UserError,
        match=r"cell Sw seed 1 of synthetic failed \(exit code 4\); its reason is above",
    ):
        Pool([None]).run([[failing, job(tmp_path, "Ss", touch(after))]])
    assert not after.exists()

    failing.runs[0].path.mkdir()
    failing.runs[0].log.write_text("stopped\n")
    with pytest.raises(UserError, match=r"failed \(exit code 4\); log: .*Sw/log\.txt"):
        Pool([None]).run([[failing]])


def test_a_failure_stops_the_jobs_on_other_devices(tmp_path):
    endless = job(tmp_path, "Sw", "import time; time.sleep(600)")
    broken = job(tmp_path, "Ss", "raise SystemExit(1)")
    with pytest.raises(UserError, match="cell Ss seed 1 of synthetic failed"):
        Pool(["cpu", "cpu"]).run([[endless], [broken]])


def test_jobs_whose_runs_diverged_are_named_when_the_others_are_done(tmp_path):
    after = tmp_path / "after"
    diverging = job(tmp_path, "Sw", f"raise SystemExit({DivergedError.exit_code})")
    with pytest.raises(DivergedError, match="cell Sw seed 1 of synthetic diverged"):
        Pool(["cpu", "cpu"]).run([[diverging, job(tmp_path, "Ss", touch(after))], []])
    assert after.exists()


def test_a_failed_job_names_its_unfinished_cells_and_the_latest_log(tmp_path):
    runs = [Runs(tmp_path, "synthetic").of(cell, 1) for cell in expand(["0T", "1T"])]
    for run in runs[:3]:
        run.path.mkdir(parents=True)
        run.log.write_text("stopped\n")
    several = Job("synthetic", (), tuple(runs))
    assert "6 cells from Sw to T1s_Ss seed 1 of synthetic failed" in str(several.failed(1))
    for run in (runs[0], *runs[3:]):
        run.path.mkdir(parents=True, exist_ok=True)
        run.metrics.write_text('{"last": {}}')
    reason = str(several.failed(1))
    assert "cells Ss and T1w_Sw seed 1 of synthetic failed (exit code 1)" in reason
    assert reason.endswith(("Ss/seed1/log.txt", "T1w_Sw/seed1/log.txt"))


def flags_of(job):
    return list(job.command[2:])


def test_teachers_share_a_process_and_students_of_a_seed_do():
    teachers = [TeacherConfig(cell=str(cell)) for cell in expand(["T"])]
    (teaching,) = jobs("train_teacher.py", ["--epochs", "2"], teachers)
    assert flags_of(teaching) == [
        "--epochs",
        "2",
        "--cells",
        *["T1w", "T2w", "T3w", "T1s", "T2s", "T3s"],
    ]

    students = [StudentConfig(cell=cell, seed=seed) for seed in (1, 2) for cell in ("Sw", "Ss")]
    assert [flags_of(each) for each in jobs("train_student.py", [], students)] == [
        ["--seed", "1", "--cells", "Sw", "Ss"],
        ["--seed", "2", "--cells", "Sw", "Ss"],
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cells", "Sw", "T9x"], "unknown student cell 'T9x'"),
        (["--cells", "Sw", "--epoch", "3"], "unrecognized arguments: --epoch"),
        (["--cells", "Sw", "--seeds", "one"], "invalid int value: 'one'"),
    ],
)
def test_wrong_flags_are_refused_before_anything_starts(tmp_path, flags, message):
    arguments = ["train_student.py", "--dataset", "synthetic", "--output-dir", str(tmp_path)]
    with pytest.raises(UserError, match=message):
        main([*arguments, *flags])
    assert not list(tmp_path.iterdir())


def test_a_shard_looks_at_its_own_part_only(tmp_path, monkeypatch, capsys):
    """All runs of the grid are finished, so that nothing is started."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("common: {epochs: 1}\n")
    for cell in expand(["0T", "1T"]):
        run = Runs(tmp_path, "synthetic").of(cell, 1)
        run.prepare(StudentConfig(cell=str(cell), dataset="synthetic", epochs=1))
        run.metrics.write_text('{"last": {}}')
    arguments = ["--dataset", "synthetic", "--recipe", str(recipe), "--output-dir", str(tmp_path)]
    seen = []
    for shard in ("1/2", "2/2"):
        monkeypatch.setenv("SHARD", shard)
        main(["train_student.py", *arguments, "--cells", "0T", "1T"])
        said = capsys.readouterr().out.splitlines()
        assert said[0] == f"shard {shard[0]} of 2: 3 of 6 runs"
        seen.append([line.split()[0] for line in said[1:]])
    assert seen == [["Sw", "T1w_Sw", "T1s_Sw"], ["Ss", "T1w_Ss", "T1s_Ss"]]


def test_a_run_is_found_by_data_set_cell_and_seed():
    run = Runs(Path("runs"), "CIFAR100").of(parse_student("T1w_Sw"), 3)
    assert run.metrics.as_posix() == "runs/CIFAR100/T1w_Sw/seed3/metrics.json"


def test_finished_runs_are_skipped_without_loading_torch():
    code = (
        "import sys, script.launch, engine.config, engine.run, train_teacher, train_student;"
        "raise SystemExit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
