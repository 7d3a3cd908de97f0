"""Random draws that depend on a key alone, never on what was drawn before.

Views and orders draw from a `generator` of their own. Nets draw their weights and their dropout
from torch's default generators: code inside `seeded_draws` finds the CPU's seeded by the key, and
it is put back after."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(purpose: str, *key: int) -> int:
    """A 63-bit seed for a purpose ("views", "order", ...) and a key of non-negative integers."""
    entropy = (zlib.crc32(purpose.encode()), *key)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1


def generator(purpose: str, *key: int) -> torch.Generator:
    """A new one, whose draws are a function of (purpose, key) alone."""
    return torch.Generator().manual_seed(derive_seed(purpose, *key))


@contextmanager
def seeded_draws(purpose: str, *key: int) -> Iterator[int]:
    """Draws on torch's CPU generator inside the block are a function of (purpose, key) alone; gives
    the seed."""
    state, seed = torch.default_generator.get_state(), derive_seed(purpose, *key)
    try:
        torch.default_generator.manual_seed(seed)
        yield seed
    finally:
        torch.default_generator.set_state(state)


def permutation(size: int, purpose: str, *key: int) -> torch.Tensor:
    """A (size,) permutation of 0 to size-1 that depends on (purpose, key) alone."""
    return torch.randperm(size, generator=generator(purpose, *key))
