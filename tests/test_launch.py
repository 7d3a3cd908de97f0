import subprocess
import sys
from pathlib import Path

import pytest

from dataloader.errors import UserError
from engine.cells import parse_student
from engine.run import RunDirectory, Runs
from script.launch import Job, Pool, _environment, _starter, main


def job(tmp_path, name, code):
    command = (sys.executable, "-c", code)
    return Job(name, command, RunDirectory(tmp_path / name, parse_student("Sw"), 1))


def touch(path):
    return f"open({str(path)!r}, 'w').close()"


def test_every_job_runs_whatever_the_number_of_devices(tmp_path):
    for devices in (["cpu"], ["cpu", "cpu"], ["0", "1", "2"]):
        files = [tmp_path / f"{len(devices)}-{i}" for i in range(5)]
        Pool(devices).run([job(tmp_path, file.name, touch(file)) for file in files])
        assert all(file.exists() for file in files)


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
    jobs = [
        job(tmp_path, "cell Sw seed 1", "raise SystemExit(3)"),
        job(tmp_path, "cell Ss seed 1", touch(after)),
    ]
    with pytest.raises(
        UserError, match=r"cell Sw seed 1 failed \(exit code 3\); its reason is above"
    ):
        Pool([None]).run(jobs)
    assert not after.exists()

    jobs[0].run.path.mkdir()
    jobs[0].run.log.write_text("stopped\n")
    with pytest.raises(UserError, match=r"failed \(exit code 3\); log: .*log\.txt"):
        Pool([None]).run(jobs)


def test_a_failure_stops_the_jobs_on_other_devices(tmp_path):
    jobs = [
        job(tmp_path, "endless", "import time; time.sleep(600)"),
        job(tmp_path, "broken", "raise SystemExit(1)"),
    ]
    with pytest.raises(UserError, match="broken failed"):
        Pool(["cpu", "cpu"]).run(jobs)


def test_unknown_cells_are_refused_before_anything_starts(tmp_path):
    arguments = ["train_student.py", "--dataset", "synthetic", "--output-dir", str(tmp_path)]
    with pytest.raises(UserError, match="unknown student cell 'T9x'"):
        main([*arguments, "--cells", "Sw", "T9x"])
    assert not list(tmp_path.iterdir())


def test_a_run_is_found_by_data_set_cell_and_seed():
    run = Runs(Path("runs"), "CIFAR100").of(parse_student("T1w_Sw"), 3)
    assert run.metrics.as_posix() == "runs/CIFAR100/T1w_Sw/seed3/metrics.json"


def test_finished_runs_are_skipped_without_loading_torch():
    code = (
        "import sys, script.launch, engine.config, engine.run, train_teacher, train_student;"
        "raise SystemExit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
