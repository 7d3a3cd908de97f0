"""Memory that runs out is the user's to mend, by training fewer runs at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from dataloader.errors import UserError

# What is said where memory runs out: by the CPU's allocators, by the CUDA runtime (an
# AcceleratorError), by cuBLAS and cuDNN, which take workspaces of their own.
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
