import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import DATASET
from test_signals import is_alive, wait_for

import train_teacher
from common.errors import DivergedError, UserError
from engine.cells import expand, parse_cell, parse_student
from engine.compute import pick_device
from engine.config import StudentConfig, TeacherConfig
from engine.lock import RunLock
from engine.run import RunDirectory, Runs
from engine.scheduling import train_each
from engine.torchrun import MOST_PROCESSES, Machines, Place
from script.devices import flags, visible
from script.launch import Job, Pool, _environment, jobs, main

ROOT = Path(__file__).parent.parent


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
    monkeypatch.setattr("script.launch.available_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert _environment("2", 3)["CUDA_VISIBLE_DEVICES"] == "2"
    shared = _environment("cpu", 2)
    assert (shared["CUDA_VISIBLE_DEVICES"], shared["OMP_NUM_THREADS"]) == ("", "4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    assert _environment("2", 3)["CUDA_VISIBLE_DEVICES"] == "7"
    assert _environment(None, 1)["CUDA_VISIBLE_DEVICES"] == "4,5,7"
    monkeypatch.setenv("NPROC", "2")
    assert _environment("cpu", 2)["OMP_NUM_THREADS"] == "2"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert _environment("cpu", 2)["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("device", "processes", "outer", "found"),
    [
        ("0", 1, None, "0"),
        ("00", 1, None, "0"),
        ("0,9", 2, None, "0,9"),
        ("1,0", 2, "4,5", "5,4"),
        ("0", 1, "GPU-8a56a4bc, GPU-1", "GPU-8a56a4bc"),
        ("GPU-8a56a4bc-ef", 1, None, "GPU-8a56a4bc-ef"),
        ("MIG-GPU-8a56/1/0", 1, "4", "MIG-GPU-8a56/1/0"),
        ("cpu", 3, "4", ""),
    ],
)
def test_a_device_that_is_named_is_used_or_refused(device, processes, outer, found):
    variables = {} if outer is None else {"CUDA_VISIBLE_DEVICES": outer}
    assert visible(device, processes, variables) == found
    assert flags(device) == ["--device", "cpu" if device == "cpu" else "cuda"]


@pytest.mark.parametrize(
    "device",
    [
        "x",
        "-1",
        "cuda:0",
        "",
        ",",
        "0,",
        "0,x",
        "cpu,0",
        "CPU",
        "GPU-",
        "1.0",
        "\u0661",
        "9" * 5000,
    ],
)
def test_what_is_no_device_is_refused(device):
    with pytest.raises(UserError, match=r"^GPUS names .*: use numbers such as 0") as error:
        visible(device, 1, {})
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("name", ["", "gpu", "meta", "mps", "cuda:", "cuda:x", "cuda:-1", "cpu:1"])
def test_what_is_no_device_is_no_trainers_either(name):
    with pytest.raises(UserError, match="use auto, cpu, cuda or cuda:N"):
        pick_device(name)


@pytest.mark.parametrize(
    ("device", "processes", "outer", "message"),
    [
        ("0,1", 1, None, "NPROC is 1: a GPU is needed for each"),
        ("0", 2, None, "NPROC is 2: a GPU is needed for each"),
        ("0,0", 2, None, "one GPU twice"),
        ("0,00", 2, None, "one GPU twice"),
        ("1", 1, "4", "CUDA_VISIBLE_DEVICES is '4', which leaves 1 GPUs"),
        ("0", 1, "", "CUDA_VISIBLE_DEVICES is '', which leaves 0 GPUs"),
    ],
)
def test_gpus_that_do_not_fit_are_refused(device, processes, outer, message):
    variables = {} if outer is None else {"CUDA_VISIBLE_DEVICES": outer}
    with pytest.raises(UserError, match=message):
        visible(device, processes, variables)


@pytest.mark.skipif(torch.cuda.is_available(), reason="it has the GPU that none should have")
def test_a_gpu_that_is_not_there_is_refused_by_the_trainer(tmp_path, tiny_recipe, monkeypatch):
    """Its recipe says cpu; before, `auto` fell back on the CPU and ended with 0."""
    given = ["--dataset", DATASET, "--recipe", str(tiny_recipe), "--output-dir", str(tmp_path)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    for chosen in (flags("7"), ["--device", "auto"]):
        with pytest.raises(UserError, match="--device cuda: 0 GPUs are visible where GPUS or CUDA"):
            train_teacher.main([*chosen, *given, "--cell", "T1w"])
    assert not (tmp_path / DATASET / "T1w" / "seed1").exists()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert pick_device("auto").type == "cpu"


TWO = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "localhost"}


def test_several_processes_are_started_by_torchrun(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    for variables in ({}, {"NPROC": "", "NNODES": " ", "NODE_RANK": "", "MASTER_PORT": ""}):
        alone = Machines.of(variables)
        assert (alone.starter(), alone.meeting(tmp_path)) == ([sys.executable], {})
    four = Machines.of({"NPROC": "4"})
    assert four.starter()[:5] == [*torchrun, "--nproc-per-node=4", "--local-addr=localhost"]
    assert str(tmp_path) in four.meeting(tmp_path)["MEETING_FILE"]
    with pytest.raises(UserError, match="NODE_RANK and MASTER_ADDR not set"):
        Machines.of({"NNODES": "2", "MASTER_ADDR": ""})
    where = ["--nnodes=2", "--node-rank=1", "--master-addr=localhost", "--master-port=29500"]
    two = Machines.of(TWO | {"NPROC": "4"})
    assert two.starter()[3:8] == ["--nproc-per-node=4", *where]
    assert two.meeting(tmp_path) == {"DIVERGED_FILE": str(tmp_path / "diverged")}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("NPROC", ("0", "-1", "two", "1.5", "4097", "\u0661", "9" * 5000)),
        ("NNODES", ("0", "-1", "two")),
        ("NODE_RANK", ("2", "-1", "first")),
        ("MASTER_PORT", ("0", "65536", "99999", "-1", "http")),
        ("MASTER_ADDR", ("-x", "a b", "a\nb", "a;b")),
    ],
)
def test_nonsense_about_machines_is_refused_by_name(name, values, monkeypatch):
    for value in values:
        with pytest.raises(UserError, match=f"^{name} is ") as error:
            Machines.of(TWO | {name: value})
        assert len(str(error.value)) < 200
    for variable, value in (TWO | {name: values[0]}).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=f"^{name} is "):
        main(["train_student.py", "--dataset", "synthetic", "--cells", "Sw"])


PLACE = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "first"}
PLACE["MASTER_PORT"] = "29500"


def test_what_torchrun_says_to_its_processes():
    place = Place.of(PLACE)
    assert (place.rank, place.size, place.local, place.meeting) == (1, 2, 1, "first:29500")
    assert not place.is_one_machine
    for more in ({"MEETING_FILE": "f"}, {"LOCAL_WORLD_SIZE": "2"}, {"MASTER_ADDR": "127.0.0.1"}):
        assert Place.of(PLACE | more).is_one_machine
    for variables in ({}, dict.fromkeys(PLACE, ""), {"WORLD_SIZE": "1", "RANK": "0"}):
        assert Place.of(variables) is None
    for name in PLACE.keys() - {"WORLD_SIZE"}:
        with pytest.raises(UserError, match=f"but not {name}: start with torchrun"):
            Place.of(PLACE | {name: ""})


@pytest.mark.parametrize(
    "name", ["WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"]
)
@pytest.mark.parametrize("value", ["x", "-1", str(MOST_PROCESSES * 100), "\u0661", "9" * 5000])
def test_nonsense_from_torchrun_is_refused_by_name(name, value):
    for others in ({}, PLACE):
        with pytest.raises(UserError, match=f"^{name} is ") as error:
            Place.of(others | {name: value})
        assert len(str(error.value)) < 200


@pytest.mark.parametrize("value", ["abc", "0", "-1", "2,x", "1.5"])
def test_nonsense_threads_are_refused(value, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    with pytest.raises(UserError, match="OMP_NUM_THREADS is "):
        train_each([[]], lambda *_: None)


def test_a_recipes_seed_is_trained_unless_seeds_are_named(tmp_path, monkeypatch, capsys):
    """Its runs are finished, so that nothing is started."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("common: {epochs: 1, seed: 5}\n")
    flags = ["--dataset", "synthetic", "--recipe", str(recipe), "--output-dir", str(tmp_path)]
    for seed in (2, 5):
        run = Runs(tmp_path, "synthetic").of(parse_cell("Sw"), seed)
        run.prepare(StudentConfig(cell="Sw", dataset="synthetic", epochs=1, seed=seed))
        run.metrics.write_text('{"last": {}}')
    main(["train_student.py", *flags, "--cells", "Sw"])
    assert capsys.readouterr().out.startswith("Sw seed 5: finished")
    monkeypatch.setenv("SEEDS", "2")
    main(["train_student.py", *flags, "--cells", "Sw"])
    assert capsys.readouterr().out.startswith("Sw seed 2: finished")


@pytest.mark.parametrize("name", ["CELLS", "SEEDS", "GPUS"])
def test_a_flag_among_names_is_refused(name, monkeypatch):
    monkeypatch.setenv(name, "--help Sw")
    with pytest.raises(UserError, match=f"{name} names '--help'"):
        main(["train_student.py", "--dataset", "synthetic"])


def test_a_first_machine_that_is_not_found_is_named(monkeypatch):
    for variable, value in (TWO | {"MASTER_ADDR": "nowhere.invalid"}).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=r"MASTER_ADDR is 'nowhere\.invalid', which leads nowhere"):
        main(["train_student.py", "--dataset", "synthetic", "--cells", "Sw"])


def test_several_devices_of_several_machines_are_refused(monkeypatch):
    for variable, value in (TWO | {"GPUS": "0 1"}).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match="GPUS names 2 devices but NNODES is 2"):
        main(["train_student.py", "--dataset", "synthetic", "--cells", "Sw"])


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


@pytest.mark.parametrize("variables", [{"NPROC": "2"}, TWO])
def test_torchruns_exit_code_hides_no_divergence(tmp_path, variables):
    """It ends with 1; whether its processes diverged stands in a file."""
    diverged = "import os; open(os.environ['DIVERGED_FILE'], 'w').close(); raise SystemExit(1)"
    after, machines = tmp_path / "after", Machines.of(variables)

    def started(cell, code):
        return dataclasses.replace(job(tmp_path, cell, code), machines=machines)

    with pytest.raises(DivergedError, match="cell Sw seed 1 of synthetic diverged"):
        Pool(["cpu"]).run([[started("Sw", diverged), started("Ss", touch(after))]])
    assert after.exists()
    with pytest.raises(UserError, match=r"failed \(exit code 1\)"):
        Pool(["cpu"]).run([[started("Sw", "raise SystemExit(1)")]])


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


def test_a_run_that_another_launcher_trains_is_named_with_who_does(tmp_path):
    both = [Runs(tmp_path, "synthetic").of(cell, 1) for cell in expand(["0T"])]
    refused = Job("synthetic", (), tuple(both))
    held = RunLock.of(both[1].path)
    reason = str(refused.failed(2))
    assert reason.startswith("cells Sw and Ss seed 1 of synthetic failed (exit code 2): ")
    assert f"Ss/seed1 is in work by process {os.getpid()} of " in reason
    assert reason.endswith("again, which skips what is finished")
    held.release()
    assert str(refused.failed(2)).endswith("its reason is above")
    for run in both:  # which the other launcher ended in the meantime
        run.path.mkdir(parents=True)
        run.metrics.write_text('{"last": {}}')
    assert str(refused.failed(2)).startswith("cells Sw and Ss seed 1 of synthetic failed")
    assert "all is finished now" in str(refused.failed(2))


def test_what_a_killed_launcher_started_ends(tmp_path):
    """By SIGKILL, which leaves nobody to stop them."""
    mark = tmp_path / "pid"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    starter = (
        "import subprocess, sys, threading; from engine.leash import leashed;"
        "start = lambda: subprocess.Popen(leashed(sys.executable, '-c', sys.argv[1])).wait();"
        "threading.Thread(target=start).start()"
    )
    launcher = subprocess.Popen([sys.executable, "-c", starter, code], cwd=ROOT)
    wait_for(lambda: mark.is_file() and mark.read_text())
    launcher.kill()
    launcher.wait()
    wait_for(lambda: not is_alive(int(mark.read_text())))


def test_who_has_lost_its_starter_already_ends_at_once():
    script = [sys.executable, str(ROOT / "engine" / "leash.py"), "1", sys.executable, "-c", "1/0"]
    assert subprocess.run(script, check=False).returncode == -signal.SIGTERM


def flags_of(job):
    return list(job.command[2:])


def test_teachers_share_a_process_and_students_of_a_seed_do():
    teachers = [TeacherConfig(cell=str(cell)) for cell in expand(["T"])]
    (teaching,) = jobs("train_teacher.py", ["--epochs", "2"], teachers)
    assert flags_of(teaching) == [
        *["--epochs", "2", "--seed", "1", "--cells"],
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
        (["--cells", "Sw", "--seeds", "one"], "argument --seeds: 'one': a whole number is needed"),
        (["--cells", "Sw", "--cells", "T9x"], "unknown student cell 'T9x'"),
        (["--cells", "Sw", "--gpus", "cpu", "--gpus", "cuda:0"], "GPUS names 'cuda:0'"),
        (["--cells", "Sw", "--dataset", "../x"], "--dataset is '../x', which names a folder"),
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
