"""Masks as bits: an eighth of the memory, and counted by words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BYTES_PER_WORD = 8


@dataclass(frozen=True)
class PackedMasks:
    """One model's masks of n images: words (n, w) int64, the bits beyond a mask's pixels zero."""

    words: Tensor
    pixels: int  # of a mask

    @classmethod
    def pack(cls, masks: Tensor) -> PackedMasks:
        """From booleans (n, H, W)."""
        octets = torch.from_numpy(np.packbits(masks.flatten(1).cpu().numpy(), axis=1))
        words = F.pad(octets, (0, -octets.shape[1] % BYTES_PER_WORD)).view(torch.int64)
        return cls(words.to(masks.device), masks.shape[1:].numel())

    @property
    def area(self) -> Tensor:
        """(n,) share of each image that its mask covers."""
        return set_bits(self.words).double() / self.pixels

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, rows: Tensor | slice) -> PackedMasks:
        return PackedMasks(self.words[rows], self.pixels)


def set_bits(words: Tensor) -> Tensor:
    """How many bits are one. (n, w) int64 -> (n,) int64."""
    counts = np.bitwise_count(words.cpu().numpy().view(np.uint64))
    return torch.from_numpy(counts.sum(axis=1, dtype=np.int64)).to(words.device)
