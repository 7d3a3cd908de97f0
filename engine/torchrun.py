"""How torchrun is started, and what it tells the processes that it starts.

One machine's processes meet in a file, so that no store listens to the network; those of several
meet at the first machine's address and port.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import DivergedError, UserError, shown
from common.settings import variable

MEETING_FILE = "MEETING_FILE"  # the variable that names it
DIVERGED_FILE = "DIVERGED_FILE"  # the same
MEETING_SECONDS = 300  # that processes wait for those of them that have not come
MOST_PROCESSES = 4096
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Machines:
    """NNODES machines with NPROC processes each, which train a cell together."""

    processes: int
    nodes: int
    rank: int
    address: str
    port: int

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Machines:
        """As the variables say it; UserError when they are nonsense, or not all that is needed."""
        processes = variable(variables, "NPROC", 1, at_least=1, at_most=MOST_PROCESSES)
        nodes = variable(variables, "NNODES", 1, at_least=1, at_most=MOST_PROCESSES)
        last = nodes - 1 if nodes > 1 else MOST_PROCESSES
        rank = variable(variables, "NODE_RANK", 0, at_most=last)
        port = variable(variables, "MASTER_PORT", 29500, at_least=1, at_most=65535)
        needed = ("NODE_RANK", "MASTER_ADDR") if nodes > 1 else ()
        if missing := [name for name in needed if not variables.get(name)]:
            raise UserError(f"NNODES is {nodes} but {' and '.join(missing)} not set: see --help")
        address = variables.get("MASTER_ADDR", "")
        if nodes > 1 and not re.fullmatch(r"[A-Za-z0-9:][A-Za-z0-9:._%-]*", address):
            raise UserError(f"MASTER_ADDR is {shown(address)}: use machine 0's name or address")
        return cls(processes, nodes, rank, address, port)

    def starter(self) -> list[str]:
        """This Python, or torchrun in it where there are several processes."""
        if self.processes == self.nodes == 1:
            return [sys.executable]
        torchrun = [sys.executable, "-m", "torch.distributed.run"]
        torchrun += [f"--nproc-per-node={self.processes}"]
        if self.nodes == 1:  # not by the machine's own name, which may lead nowhere
            return [
                *torchrun,
                "--local-addr=localhost",
                "--rdzv-backend=c10d",
                "--rdzv-conf=store_type=file",
            ]
        return [
            *torchrun,
            f"--nnodes={self.nodes}",
            f"--node-rank={self.rank}",
            f"--master-addr={self.address}",
            f"--master-port={self.port}",
            f"--rdzv-conf=timeout={MEETING_SECONDS}",
        ]

    def meeting(self, folder: Path) -> dict[str, str]:
        """The variables by which torchrun and its processes meet in an empty folder, if not over
        the network, and say there that runs diverged."""
        if self.processes == self.nodes == 1:
            return {}
        said = {DIVERGED_FILE: str(_diverged(folder))}
        if self.nodes > 1:
            return said
        return said | {
            "PET_RDZV_ENDPOINT": str(folder / "torchrun"),
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            MEETING_FILE: str(folder / "processes"),
        }

    def exit_code(self, code: int, folder: Path) -> int:
        """The processes' own, where `code` is that of what they were started by: torchrun ends with
        1 whatever they end with."""
        return DivergedError.exit_code if code and _diverged(folder).exists() else code

    def __str__(self) -> str:
        return f"machine {self.rank} of {self.nodes}, which meet at {self.address}:{self.port}"


def _diverged(folder: Path) -> Path:
    """The file that is there once the processes that met in `folder` ended so."""
    return folder / "diverged"


def say_that_runs_diverged(variables: Mapping[str, str]) -> None:
    """Tell who started torchrun, if it wants to know."""
    if file := variables.get(DIVERGED_FILE):
        Path(file).touch()


@dataclass(frozen=True)
class Place:
    """What a process is told: it is number `rank` of `size`, number `local` of its machine's."""

    rank: int
    size: int
    local: int
    local_size: int
    address: str
    port: int
    file: str | None

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Place | None:
        """As torchrun's variables say it; None for a process by itself. UserError otherwise."""
        size = variable(variables, "WORLD_SIZE", 1, at_least=1, at_most=MOST_PROCESSES)
        most = size - 1 if size > 1 else MOST_PROCESSES
        rank, local = (
            variable(variables, name, 0, at_most=most) for name in ("RANK", "LOCAL_RANK")
        )
        here = variable(variables, "LOCAL_WORLD_SIZE", 1, at_least=1, at_most=MOST_PROCESSES)
        port = variable(variables, "MASTER_PORT", 0, at_least=1, at_most=65535)
        if size == 1:
            return None
        file = variables.get(MEETING_FILE) or None
        needed = ["RANK", "LOCAL_RANK", *([] if file else ["MASTER_ADDR", "MASTER_PORT"])]
        if missing := [name for name in needed if not variables.get(name)]:
            raise UserError(f"WORLD_SIZE is set but not {', '.join(missing)}: start with torchrun")
        return cls(rank, size, local, here, variables.get("MASTER_ADDR", ""), port, file)

    @property
    def is_one_machine(self) -> bool:
        """Whether all processes are on this machine."""
        here = self.local_size == self.size or self.address in LOOPBACK
        return self.file is not None or here

    @property
    def meeting(self) -> str:
        """Where they meet."""
        return self.file or f"{self.address}:{self.port}"


def check_address(address: str) -> None:
    """UserError for a machine's name that leads nowhere: torch would ask again for minutes."""
    try:
        socket.getaddrinfo(address, None)
    except (OSError, UnicodeError) as error:
        raise UserError(f"MASTER_ADDR is {shown(address)}, which leads nowhere ({error})") from None


def processes_here(variables: Mapping[str, str]) -> int:
    """How many processes share this machine. Nonsense counts as 1, for only --help may be wanted;
    `Place.of` refuses it."""
    try:
        return variable(variables, "LOCAL_WORLD_SIZE", 1, at_least=1, at_most=MOST_PROCESSES)
    except UserError:
        return 1
