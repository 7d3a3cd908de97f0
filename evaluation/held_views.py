"""Views that several models are asked about: made once, and held in memory as far as that goes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import torch

from dataloader.loader import Batch, ViewLoader

VIEW_BYTES = 2**30  # all views of CIFAR-100 that a report asks about, and no split of ImageNet


class HeldViews:
    """Passes over whole splits, by what their views are a function of: those made last."""

    def __init__(self, most_bytes: int = VIEW_BYTES) -> None:
        self._most, self._held = most_bytes, dict[Hashable, Batch]()

    def batches(self, key: Hashable, loader: ViewLoader) -> Iterator[Batch]:
        """The loader's batches of epoch 0. From memory where they were made for this key before;
        a batch is then full, though the loader's may lack images that cannot be read."""
        if key in self._held:
            parts = (part.split(loader.batch_size) for part in self._held[key])
            yield from zip(*parts, strict=True)
        elif _bytes(loader) > self._most:
            yield from loader.epoch(0)
        else:
            yield from self._made(key, loader)

    def _made(self, key: Hashable, loader: ViewLoader) -> Iterator[Batch]:
        """The same, and held once all are made."""
        count, size = len(loader.images), loader.view.size
        pictures = torch.empty(count, size, size, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
        whole = torch.empty(count).long(), pictures, torch.empty(count).long()
        end = 0
        for batch in loader.epoch(0):
            start, end = end, end + len(batch[0])
            for part, values in zip(whole, batch, strict=True):
                part[start:end] = values  # a worker's shared memory is given back
            yield batch
        while self._held and self._size() + _bytes(loader) > self._most:
            self._held.pop(next(iter(self._held)))
        index, views, labels = whole
        self._held[key] = index[:end], views[:end], labels[:end]

    def _size(self) -> int:
        return sum(views.nbytes for _, views, _ in self._held.values())


def _bytes(loader: ViewLoader) -> int:
    return 3 * len(loader.images) * loader.view.size**2
