"""Run a trainer for many cells and seeds, one process each, spread over devices:

python script/launch.py train_student.py --dataset CIFAR100 --cells 0T 1T --gpus 0 1

Flags that it does not know go to the trainer. Finished cells are skipped and unfinished ones
resumed by the trainer itself; the first cell that fails stops the rest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dataloader.errors import OneLineParser, UserError, run_program
from engine.cells import StudentCell, expand
from engine.run import RunDirectory, Runs

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Job:
    """One cell with one seed: the trainer's command and its run's directory."""

    name: str
    command: tuple[str, ...]
    run: RunDirectory


def main(argv: Sequence[str] | None = None) -> None:
    """Run every cell; UserError names the first that failed and its log."""
    options, extra = _parser().parse_known_args(argv)
    runs = Runs(Path(options.output_dir), options.dataset)
    jobs = [
        _job(options, runs.of(cell, int(seed)), extra)
        for cell in expand(options.cells)
        for seed in cell.seeds(options.seeds)
    ]
    Pool(options.gpus or [None]).run(jobs)


class Pool:
    """Runs jobs in order, each on the next free device, until one fails."""

    def __init__(self, devices: Sequence[str | None]) -> None:
        self.devices = devices
        self._processes: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._failures: list[UserError] = []

    def run(self, jobs: Sequence[Job]) -> None:
        """UserError, after the running jobs are stopped, when one fails."""
        waiting = iter(jobs)
        with ThreadPoolExecutor(len(self.devices)) as threads:
            try:
                list(threads.map(lambda device: self._serve(device, waiting), self.devices))
            except BaseException:
                self._stop()
                raise
        if self._failures:
            raise self._failures[0]

    def _serve(self, device: str | None, waiting: Iterator[Job]) -> None:
        while (job := self._next(waiting)) is not None:
            code = self._finish(job, device)
            if code != 0:
                self._fail(job, code)

    def _next(self, waiting: Iterator[Job]) -> Job | None:
        with self._lock:
            return None if self._failures else next(waiting, None)

    def _finish(self, job: Job, device: str | None) -> int:
        alone = len(self.devices) == 1
        process = subprocess.Popen(
            job.command,
            env=_environment(device, len(self.devices)),
            stdout=None if alone else subprocess.PIPE,  # alone it may draw its bar on the terminal
            stderr=None if alone else subprocess.STDOUT,
            text=True,
        )
        with self._lock:
            self._processes.add(process)
        for line in process.stdout or ():
            print(line, end="", flush=True)
        return process.wait()

    def _fail(self, job: Job, code: int) -> None:
        with self._lock:
            where = f"log: {job.run.log}" if job.run.log.is_file() else "its reason is above"
            self._failures.append(UserError(f"{job.name} failed (exit code {code}); {where}"))
        self._stop()

    def _stop(self) -> None:
        with self._lock:
            for process in self._processes:
                process.terminate()


def _job(options: argparse.Namespace, run: RunDirectory, extra: Sequence[str]) -> Job:
    command = [*_starter(), str(ROOT / options.program), "--dataset", options.dataset]
    command += ["--cell", str(run.cell), "--output-dir", options.output_dir]
    if options.recipe:
        command += ["--recipe", options.recipe]
    if options.data_path:
        command += ["--data-path", options.data_path]
    if isinstance(run.cell, StudentCell):
        command += ["--seed", str(run.seed)]
    return Job(f"cell {run.cell} seed {run.seed} of {options.dataset}", (*command, *extra), run)


def _starter() -> list[str]:
    """This Python; with NPROC or NNODES, torchrun of as many processes on as many machines."""
    words = {"NPROC": "1", "NNODES": "1", "MASTER_PORT": "29500", **os.environ}
    processes, nodes = words["NPROC"], words["NNODES"]
    if (processes, nodes) == ("1", "1"):
        return [sys.executable]
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    if nodes == "1":
        return [*torchrun, "--standalone"]
    if missing := [name for name in ("NODE_RANK", "MASTER_ADDR") if name not in words]:
        raise UserError(f"NNODES is {nodes} but {' and '.join(missing)} not set: see --help")
    torchrun += [f"--nnodes={nodes}", f"--node-rank={words['NODE_RANK']}"]
    return [
        *torchrun,
        f"--master-addr={words['MASTER_ADDR']}",
        f"--master-port={words['MASTER_PORT']}",
    ]


def _environment(device: str | None, sharing: int) -> dict[str, str]:
    """The trainer's environment on a GPU's number, on "cpu", or wherever it likes (None)."""
    if device is None:
        return dict(os.environ)
    if device == "cpu":
        threads = max(1, (os.cpu_count() or 1) // sharing)
        return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(threads)}
    return {**os.environ, "CUDA_VISIBLE_DEVICES": device}


def _parser() -> OneLineParser:
    """The flags; what is not given comes from the environment variables that the scripts name."""
    words = {name: os.environ.get(name, "").split() for name in ("CELLS", "SEEDS", "GPUS")}
    parser = OneLineParser(description="Run a trainer for many cells, spread over devices.")
    add = parser.add_argument
    add("program", choices=("train_teacher.py", "train_student.py"))
    add("--dataset", required=True, help="data set of the runs")
    add("--recipe", default=os.environ.get("RECIPE"), help="the data set's own without it (RECIPE)")
    add("--data-path", default=os.environ.get("DATA"), help="folder with the data sets (DATA)")
    add("--cells", nargs="+", default=words["CELLS"], help="names, T, 0T to 3T (CELLS)")
    add("--seeds", nargs="+", type=int, default=words["SEEDS"] or [1], help="of students (SEEDS)")
    add("--gpus", nargs="+", default=words["GPUS"], help="GPU numbers, or cpu (GPUS)")
    add("--output-dir", default="runs", help="folder that holds the runs")
    return parser


if __name__ == "__main__":
    sys.exit(run_program(main))
