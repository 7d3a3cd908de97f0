"""Random draws that depend on a key alone, never on what was drawn before.

Views and torch's initialisers draw from torch's default generator. Code inside `seeded_draws(key)`
finds it seeded by the key, and the generator is put back after."""

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


@contextmanager
def seeded_draws(purpose: str, *key: int) -> Iterator[None]:
    """Draws on torch's CPU generator inside the block are a function of (purpose, key) alone."""
    with generator_put_back():
        seed_draws(purpose, *key)
        yield


@contextmanager
def generator_put_back() -> Iterator[None]:
    """Whatever the block draws or seeds, torch's CPU generator is after it as it was before."""
    state = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


def seed_draws(purpose: str, *key: int) -> int:
    """Seed torch's CPU generator by (purpose, key), for code inside `generator_put_back`; returns
    the seed."""
    seed = derive_seed(purpose, *key)
    torch.default_generator.manual_seed(seed)
    return seed


def permutation(size: int, purpose: str, *key: int) -> torch.Tensor:
    """A (size,) permutation of 0 to size-1 that depends on (purpose, key) alone."""
    generator = torch.Generator().manual_seed(derive_seed(purpose, *key))
    return torch.randperm(size, generator=generator)
