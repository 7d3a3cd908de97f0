"""Where, beside which other processes and in what precision a model runs, and when memory
runs out."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from common.errors import UserError, shown
from dataloader.views import Statistics
from engine.config import OneRole, TrainConfig
from engine.processes import ALONE, Ranks

AMP_TYPES = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
HIDDEN = ("", "-1", "NoDevFiles")  # CUDA_VISIBLE_DEVICES where it names no GPU
TENSOR_CORES = (7, 0)  # the first GPUs (V100) that are faster in fp16 throughout
# What is said where memory runs out: by the CPU's allocators, by the CUDA runtime (an
# AcceleratorError), by cuBLAS and cuDNN, which take further memory for their workspaces.
FULL = re.compile(
    "can't allocate memory|not enough memory|bad_alloc|CUDA error: out of memory|"
    r"CUDA out of memory|HIP out of memory|cudaErrorMemoryAllocation|"
    r"(CUBLAS|CUBLASLT|CUDNN|CUSOLVER|CUSPARSE|CUFFT)_\w*ALLOC\w*_FAILED|"
    r"CUBLAS_STATUS_NOT_INITIALIZED",
    re.IGNORECASE,
)


@contextmanager
def enough_memory(doing: str, remedy: str) -> Iterator[None]:
    """UserError with a `remedy` where the block, in the midst of `doing`, finds no more memory on
    the GPU or on the CPU."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_full(error):
            raise
        raise UserError(f"out of memory with {doing}: use {remedy}") from None


def enough_memory_for(together: int) -> AbstractContextManager[None]:
    """The same for a block that trains so many runs side by side."""
    remedy = f"--together {together // 2}" if together > 1 else "a smaller --batch-size"
    return enough_memory(f"{together} trained side by side", remedy)


def _is_full(error: RuntimeError | MemoryError) -> bool:
    is_of_kind = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_of_kind or FULL.search(str(error)) is not None


@dataclass(frozen=True)
class Compute:
    """A device, a precision, the normalisation of the inputs and the processes that share the
    work."""

    device: torch.device
    amp: str
    statistics: Statistics
    ranks: Ranks = ALONE

    @classmethod
    def of(cls, config: TrainConfig, statistics: Statistics, ranks: Ranks = ALONE) -> Compute:
        """Where and how the models of `config` are trained; sets PyTorch's own switches for it,
        chooses the precision where it is left open (`--amp auto`), and says so."""
        device = own_device(config.device, ranks)
        set_arithmetic(device, tf32=True, deterministic=config.deterministic == "yes")
        amp = _agreed(fastest_amp(device), ranks) if config.amp == "auto" else config.amp
        if ranks.is_main and config.amp == "auto":
            precision = "float32" if amp == "none" else amp
            print(f"precision: {precision}, chosen for {name_of(device)} (--amp auto)", flush=True)
        elif ranks.is_main and amp != "none" and not computes_in(amp, device):
            print(
                f"{amp} is many times slower than float32 on {name_of(device)}: --amp none starts "
                "a run in float32",
                file=sys.stderr,
            )
        return cls(device, amp, statistics, ranks)

    @classmethod
    def measuring(cls, device_name: str, statistics: Statistics) -> Compute:
        """Where finished models are asked: in real float32, whatever they were trained in."""
        device = pick_device(device_name)
        set_arithmetic(device, tf32=False, deterministic=True)
        return cls(device, "none", statistics)

    def settled(self, config: OneRole) -> OneRole:
        """`config` with the precision that was chosen: the run goes on in it."""
        return dataclasses.replace(config, amp=self.amp)

    def record(self) -> dict[str, Any]:
        """How it computes, for environment.json."""
        return {
            "processes": self.ranks.size,
            "amp": self.amp,
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "fused_sgd": self.device.type == "cuda",
        }

    def place(self, model: nn.Module) -> nn.Module:
        """The model on the device, channels last: faster convolutions on the CPU and GPU alike."""
        return model.to(self.device).to(memory_format=torch.channels_last)

    def inputs(self, views: torch.Tensor) -> torch.Tensor:
        """uint8 views (B, 3, H, W) as normalised float32 inputs on the device."""
        views = self.send(views)
        return self._normalise(views).contiguous(memory_format=torch.channels_last)

    def send(self, values: torch.Tensor) -> torch.Tensor:
        """A tensor on the device. From pinned memory the copy to a GPU waits for nothing."""
        if self.device.type == "cuda" and values.device.type == "cpu" and not values.is_pinned():
            values = values.pin_memory()
        return values.to(self.device, non_blocking=True)

    def autocast(self) -> AbstractContextManager:
        """The precision of forward passes: float32, or half of it where that is safe."""
        return torch.autocast(self.device.type, AMP_TYPES[self.amp], enabled=self.amp != "none")

    @cached_property
    def _normalise(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return self.statistics.normaliser(self.device)


def fastest_amp(device: torch.device) -> str:
    """The fastest precision that `device` says it computes in: bf16, else fp16 on a GPU, else none
    (float32)."""
    halves = ("bf16", "fp16") if device.type == "cuda" else ("bf16",)
    return next((amp for amp in halves if computes_in(amp, device)), "none")


def computes_in(amp: str, device: torch.device) -> bool:
    """Whether the hardware computes in that precision. Emulated it is slower than float32: on a CPU
    with no more than AVX2 an epoch of a ResNet-20 took 82 s in float32, and over 15 minutes in
    bf16."""
    if device.type == "cuda" and amp == "bf16":
        return torch.cuda.is_bf16_supported(including_emulation=False)  # of the current GPU
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= TENSOR_CORES
    onednn = torch.ops.mkldnn
    says_yes = {"bf16": onednn._is_mkldnn_bf16_supported, "fp16": onednn._is_mkldnn_fp16_supported}
    return torch.backends.mkldnn.is_available() and bool(says_yes[amp]())


def _agreed(amp: str, ranks: Ranks) -> str:
    """What all processes of a run would choose; none where they differ, as their machines may."""
    votes = ranks.sum(torch.tensor([amp == each for each in AMP_TYPES], dtype=torch.long))
    return amp if ranks.size == int(votes.max()) else "none"


def name_of(device: torch.device) -> str:
    """What the hardware calls itself."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "this processor"


def set_arithmetic(device: torch.device, *, tf32: bool, deterministic: bool) -> None:
    """How a GPU computes in float32: `tf32` with 10 bits of the fraction, which is enough to train
    with, else all 23. And by the fastest convolution of those tried on the first batch, or,
    `deterministic`, with the same bits in every run, a warning naming what has no such algorithm.
    """
    if device.type != "cuda":
        return
    torch.cuda.set_device(device)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for


def own_device(name: str, ranks: Ranks) -> torch.device:
    """The device called `name`; of several processes each has a GPU of its machine to itself.
    UserError where there are not enough."""
    device = pick_device(name)
    if device.type != "cuda" or ranks.size == 1:
        return device
    if ":" in name:
        raise UserError(f"--device {name} is one GPU for {ranks.size} processes: use cuda")
    return pick_device(f"cuda:{ranks.local}")


def pick_device(name: str) -> torch.device:
    """The device called `name`, a GPU with its number; `auto` is the GPU where there is one, or
    where CUDA_VISIBLE_DEVICES says so. UserError for what is not there, or is of a kind that the
    project does not run on."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() or named not in HIDDEN else "cpu"
    match = re.fullmatch(r"cpu(?::0)?|cuda(?::([0-9]{1,2}))?", name)
    if match is None:
        why = "sums are taken in float64, which it lacks; " if name.startswith("mps") else ""
        raise UserError(f"--device {name[:40]}: {why}use auto, cpu, cuda or cuda:N")
    if name.startswith("cpu"):
        return torch.device("cpu")
    number, visible = int(match[1] or 0), torch.cuda.device_count()
    if number >= visible:
        where = f" where GPUS or CUDA_VISIBLE_DEVICES names {shown(named)}" if named else ""
        reason = f"{visible} GPUs are visible{where}"
        if not torch.version.cuda:
            reason = "this PyTorch was built for CPUs"
        raise UserError(f"--device {name}: {reason}: name another, or use --device cpu")
    return torch.device("cuda", number)
