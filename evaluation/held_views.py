"""Views that several models are asked about: made once, and held in memory as far as that goes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from dataloader.loader import Batch, ViewLoader

VIEW_BYTES = 2**30  # all views of CIFAR-100 that a report asks about, and no split of ImageNet


class HeldViews:
    """The batches of whole splits, by what their views are a function of: those made last."""

    def __init__(self, most_bytes: int = VIEW_BYTES) -> None:
        self._most, self._held = most_bytes, dict[Hashable, list[Batch]]()

    def batches(self, key: Hashable, loader: ViewLoader) -> Iterator[Batch]:
        """The loader's batches of epoch 0, or those that were made for `key` before; to be read,
        not changed."""
        if key in self._held:
            yield from self._held[key]
        elif _bytes(loader) > self._most:
            yield from loader.epoch(0)
        else:
            yield from self._made(key, loader)

    def _made(self, key: Hashable, loader: ViewLoader) -> Iterator[Batch]:
        """The same, held once the last is made; the oldest make room before the first is."""
        while self._held and self._size() + _bytes(loader) > self._most:
            self._held.pop(next(iter(self._held)))
        made: list[Batch] = []
        for index, views, labels in loader.epoch(0):
            # Copies, as a worker's batches take a file and shared memory each while they are kept.
            made.append((index.clone(), views.clone(), labels.clone()))
            yield index, views, labels
        self._held[key] = made

    def _size(self) -> int:
        return sum(views.nbytes for made in self._held.values() for _, views, _ in made)


def _bytes(loader: ViewLoader) -> int:
    return 3 * len(loader.images) * loader.view.size**2
