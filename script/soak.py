"""Kill a small grid at random until it ends, and compare it with one that was never killed.

python script/soak.py HOURS [--seed N]
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from engine.checkpoint import load_model
from engine.run import RunDirectory, Runs

ROOT = Path(__file__).resolve().parents[1]
GRID = (
    ("train_teacher.py", "--cells", "T1w", "T2s"),
    ("train_student.py", "--cells", "Sw", "T1w_Sw", "T1w_T2s_Sw", "T1w_T2s_Ss"),
)
SETTINGS = (
    "--dataset", "synthetic", "--recipe", "script/recipes/synthetic.yaml", "--epochs", "10",
    "--max-train-images", "256", "--max-test-images", "128",
)  # fmt: skip
LONGEST = 7.0  # seconds until a kill; starting takes some 3 of them
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)


def main() -> int:
    """Print a line a round; 1 at the first difference."""
    options = parse()
    draw = random.Random(options.seed)
    end = time.monotonic() + 3600 * options.hours
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        for command in GRID:
            finish(command, whole, None)
        rounds = 0
        while rounds == 0 or time.monotonic() < end:
            rounds += 1
            killed = Path(folder) / f"killed{rounds}"
            kills = sum(finish(command, killed, draw) for command in GRID)
            differing = list(differences(whole, killed))
            print(f"round {rounds}: {kills} kills, {len(differing)} differences", flush=True)
            if differing:
                print("\n".join(differing))
                return 1
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("hours", type=float, help="to go on for; one round is always finished")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def finish(command: tuple[str, ...], folder: Path, draw: random.Random | None) -> int:
    """Run to its end, started again after each kill; returns how many there were."""
    kills = 0
    while True:
        code = attempt(command, folder, draw)
        if code == 0:
            return kills
        if code not in (-signal.SIGKILL, 128 + signal.SIGTERM, -signal.SIGTERM):
            raise SystemExit(f"{' '.join(command)} ended with {code} after {kills} kills")
        kills += 1


def attempt(command: tuple[str, ...], folder: Path, draw: random.Random | None) -> int:
    """The exit code of one start, killed after a random while where there is a `draw`."""
    line = [sys.executable, *command, *SETTINGS, "--output-dir", str(folder)]
    child = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL)
    if draw is None:
        return child.wait()
    try:
        return child.wait(timeout=draw.uniform(0, LONGEST))
    except subprocess.TimeoutExpired:
        child.send_signal(draw.choice(SIGNALS))
        return child.wait()


def differences(whole: Path, killed: Path) -> Iterator[str]:
    """A line for each run whose weights or figures are not the same to the bit."""
    others = {(run.cell, run.seed): run for run in Runs(killed, "synthetic").all()}
    for run in Runs(whole, "synthetic").all():
        other = others.get((run.cell, run.seed))
        if other is None or not other.is_finished():
            yield f"{run.path}: not finished when killed"
        elif not same_weights(run, other):
            yield f"{run.path}: other weights"
        elif run.read_metrics()["last"]["test"] != other.read_metrics()["last"]["test"]:
            yield f"{run.path}: other figures"


def same_weights(a: RunDirectory, b: RunDirectory) -> bool:
    """Whether the last checkpoints hold the same tensors."""
    ours, theirs = (load_model(run.checkpoint("last"))[1].state_dict() for run in (a, b))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


if __name__ == "__main__":
    sys.exit(main())
