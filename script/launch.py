"""Run a trainer for many cells and seeds, spread over devices, a process each:

python script/launch.py train_student.py --dataset CIFAR100 --cells 0T 1T --gpus 0 1

Flags that it does not know go to the trainer. Finished cells are skipped, without starting
anything, and unfinished ones resumed by the trainer itself. Runs whose loss is no longer finite are
named at the end; the first other failure stops the rest.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import (
    SAME_COMMAND,
    DivergedError,
    OneLineParser,
    UserError,
    run_program,
    shown,
)
from common.workers import available_cores
from engine.config import Config, StudentConfig, TeacherConfig
from engine.flags import resolve
from engine.leash import leashed
from engine.lock import in_work
from engine.run import RunDirectory, Runs, unfinished
from engine.scheduling import own_shard, share_out
from engine.torchrun import MEETING_SECONDS, Machines, check_address
from script import devices as gpus

ROOT = Path(__file__).parent.parent
TRAINERS = {"train_teacher.py": TeacherConfig, "train_student.py": StudentConfig}


@dataclass(frozen=True)
class Job:
    """Some cells with one seed: the trainer's command and the directories of its runs."""

    dataset: str
    command: tuple[str, ...]
    runs: tuple[RunDirectory, ...]
    machines: Machines = field(default_factory=lambda: Machines.of({}))

    def failed(self, code: int) -> UserError:
        """What to say when it ended with an exit code other than 0: which of its runs are not
        finished, and who else trains one of them, or the log of the one that wrote there last."""
        left = [run for run in self.runs if not run.is_finished()]
        if not left:
            others = f"its reason is above, but all is finished now: {SAME_COMMAND} goes on"
            return UserError(f"{self._name(self.runs)} failed (exit code {code}); {others}")
        if busy := next(filter(None, (in_work(run.path) for run in left)), None):
            return UserError(f"{self._name(left)} failed (exit code {code}): {busy}")
        logs = [run.log for run in left if run.log.is_file()]
        newest = max(logs, key=lambda log: log.stat().st_mtime, default=None)
        where = f"log: {newest}" if newest else "its reason is above"
        if code == DivergedError.exit_code:
            return DivergedError(f"{self._name(left)} diverged; {where}")
        return UserError(f"{self._name(left)} failed (exit code {code}); {where}")

    def _name(self, runs: Sequence[RunDirectory]) -> str:
        cells = _counted("cell", list(dict.fromkeys(str(run.cell) for run in runs)))
        return f"{cells} {_counted('seed', sorted({run.seed for run in runs}))} of {self.dataset}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run every cell of this job's shard; UserError names the first that failed and its log."""
    options, flags = _parser().parse_known_args(argv)
    options.cells = options.cells or _named("CELLS")
    options.seeds = options.seeds or _named("SEEDS")
    options.gpus = options.gpus or _named("GPUS")
    for variable, flag in (("DATA", "--data-path"), ("RECIPE", "--recipe")):
        if value := os.environ.get(variable):
            flags = [flag, value, *flags]
    devices, machines = options.gpus or [None], Machines.of(os.environ)
    _check(devices, machines)
    configs = unfinished(_of_this_shard(_configs(options, flags)))
    if configs and machines.nodes > 1:
        print(f"{machines}: each waits {MEETING_SECONDS} seconds for the others", flush=True)
    plans = [
        jobs(options.program, [*gpus.flags(device), *flags], share)
        for device, share in zip(devices, share_out(configs, len(devices)), strict=True)
    ]
    Pool(devices).run(plans)


def _check(devices: Sequence[str | None], machines: Machines) -> None:
    """UserError for what is no device, and where several machines would not meet, or twice."""
    for device in devices:
        if device is not None:
            gpus.visible(device, machines.processes, os.environ)
    if machines.nodes > 1:
        check_address(machines.address)
    if machines.nodes > 1 and len(devices) > 1:
        raise UserError(
            f"GPUS names {len(devices)} devices but NNODES is {machines.nodes}: machines train a "
            'cell together by one list of GPUs, GPUS="0,1"'
        )


def jobs(program: str, flags: Sequence[str], configs: Sequence[Config]) -> list[Job]:
    """Runs that follow each other in as few processes as a trainer's flags can tell: one a seed."""
    by_seed = itertools.groupby(configs, key=lambda config: config.seed)
    return [_job(program, [*flags, "--seed", str(seed)], list(runs)) for seed, runs in by_seed]


class Pool:
    """Runs each device's jobs in their order, until one fails."""

    def __init__(self, devices: Sequence[str | None]) -> None:
        self.devices = devices
        self._processes: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._stopped = False
        self._diverged: list[DivergedError] = []
        self._failures: list[UserError] = []

    def run(self, plans: Sequence[Sequence[Job]]) -> None:
        """Run `plans`, a list of jobs for each device. UserError, after the running jobs are
        stopped, when one fails; DivergedError at the end when some runs did no more than that."""
        with ThreadPoolExecutor(len(self.devices)) as threads:
            try:
                list(threads.map(self._serve, self.devices, plans))
            except BaseException:
                self._stop()
                raise
        if self._failures:
            raise self._failures[0]
        if self._diverged:
            raise DivergedError("; ".join(map(str, self._diverged)))

    def _serve(self, device: str | None, jobs: Sequence[Job]) -> None:
        for job in jobs:
            with tempfile.TemporaryDirectory(prefix="distillation-") as folder:
                if (process := self._start(job, device, Path(folder))) is None:
                    return
                for line in process.stdout or ():
                    print(line, end="", flush=True)
                code = job.machines.exit_code(process.wait(), Path(folder))
            if code != 0:
                self._fail(job.failed(code))

    def _start(self, job: Job, device: str | None, folder: Path) -> subprocess.Popen | None:
        """The job's process, which ends with this one; None where no more are to be started."""
        alone = len(self.devices) == 1
        with self._lock:
            if self._stopped:
                return None
            process = subprocess.Popen(
                leashed(*job.command),
                env=_environment(device, len(self.devices)) | job.machines.meeting(folder),
                stdout=None if alone else subprocess.PIPE,  # alone it may draw its bar
                stderr=None if alone else subprocess.STDOUT,
                text=True,
            )
            self._processes.add(process)
        return process

    def _fail(self, reason: UserError) -> None:
        if isinstance(reason, DivergedError):
            self._diverged.append(reason)
            return
        with self._lock:
            self._failures.append(reason)
        self._stop()

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.terminate()


def _job(program: str, flags: Sequence[str], configs: Sequence[Config]) -> Job:
    machines = Machines.of(os.environ)
    cells = [config.cell for config in configs]
    command = [*machines.starter(), str(ROOT / program), *flags, "--cells", *cells]
    runs = tuple(Runs.beside(config).of_config(config) for config in configs)
    return Job(configs[0].dataset, tuple(command), runs, machines)


def _counted(what: str, names: Sequence[object]) -> str:
    """ "cell Sw", "cells Sw and Ss", or "15 cells from Sw to T1w_T2w_Sw"."""
    if len(names) > 3:
        return f"{len(names)} {what}s from {names[0]} to {names[-1]}"
    return what + "s" * (len(names) > 1) + " " + " and ".join(map(str, names))


def _configs(options: argparse.Namespace, flags: Sequence[str]) -> Sequence[Config]:
    """The settings of all runs, as their trainer will find them."""
    named = ["--cells", *options.cells, *(["--seeds", *options.seeds] if options.seeds else [])]
    return resolve(TRAINERS[options.program], [*flags, *named])


def _of_this_shard(configs: Sequence[Config]) -> Sequence[Config]:
    """This job's part of the runs, finished ones counted: it is the same whenever it starts."""
    number, shards = own_shard(os.environ)
    if shards == 1:
        return configs
    share = share_out(configs, shards)[number - 1]
    print(f"shard {number} of {shards}: {len(share)} of {len(configs)} runs", flush=True)
    return share


def _environment(device: str | None, sharing: int) -> dict[str, str]:
    """The trainer's environment on a device of GPUS, one of so many `sharing` the machine's cores,
    or wherever it likes (None)."""
    if device is None:
        return dict(os.environ)
    processes = Machines.of(os.environ).processes
    chosen = {"CUDA_VISIBLE_DEVICES": gpus.visible(device, processes, os.environ)}
    if device == gpus.CPU and "OMP_NUM_THREADS" not in os.environ:
        chosen["OMP_NUM_THREADS"] = str(max(1, available_cores() // (sharing * processes)))
    return {**os.environ, **chosen}


def _named(variable: str) -> list[str]:
    """The words of an environment variable; UserError for one that would be taken for a flag."""
    words = os.environ.get(variable, "").split()
    if wrong := [word for word in words if word.startswith("-")]:
        raise UserError(f"{variable} names {shown(wrong[0])}: use names, with spaces between")
    return words


def _parser() -> OneLineParser:
    """The flags that the launcher itself knows."""
    parser = OneLineParser(
        description="Run a trainer for many cells, spread over devices; other flags go to it."
    )
    add = parser.add_argument
    add("program", choices=tuple(TRAINERS))
    several: dict[str, Any] = {"nargs": "+", "action": "extend"}
    add("--cells", "--cell", **several, help="names, T, 0T to 3T (CELLS)")
    add("--seeds", "--seed", **several, help="(SEEDS)")
    add("--gpus", **several, help="GPU numbers, or cpu (GPUS)")
    return parser


if __name__ == "__main__":
    sys.exit(run_program(main))
