"""Memory that runs out is the user's to mend, by training fewer runs at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dataloader.errors import UserError


@contextmanager
def enough_memory(together: int) -> Iterator[None]:
    """UserError with a smaller `--together` where the block, which trains so many runs side by
    side, finds no more memory on the GPU or on the CPU."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_full(error):
            raise
        remedy = f"use --together {together // 2}" if together > 1 else "use a smaller --batch-size"
        raise UserError(f"out of memory with {together} trained side by side: {remedy}") from None


def _is_full(error: RuntimeError | MemoryError) -> bool:
    """Whether memory ran out; PyTorch's allocator on the CPU says so in the text alone."""
    full = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return full or "can't allocate memory" in str(error)
