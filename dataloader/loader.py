"""Batches of (index, views, labels), where a view is a function of (seed, epoch, index) alone:
batch size, number of workers, order and the part of each batch that is asked for leave every pixel
as it is."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from dataloader.errors import GO_ON, UserError
from dataloader.image_set import Images
from dataloader.random_streams import generator_put_back, permutation, seed_draws, seeded_draws
from dataloader.views import View

# index (B,) int64, views (B, 3, H, W) uint8, labels (B,) int64
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Key = tuple[int, int]  # (epoch, index)
WHOLE = (0, 1)  # the first part of one
Loaded = tuple[Batch, list[UserError]]


class ViewDataset(Dataset):
    """The images of a set under one view; an item's key is (epoch, index)."""

    def __init__(self, images: Images, view: View, *, seed: int) -> None:
        self.images, self.view, self.seed = images, view, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[int, torch.Tensor, int]:
        """The index, view (3, H, W) uint8 and label; UserError when its image cannot be read."""
        epoch, index = key
        with seeded_draws("views", self.seed, epoch, index):
            view = self.view(self.images.image(index))
        return index, view, int(self.images.labels[index])

    def __getitems__(self, keys: list[Key]) -> Loaded:
        """The readable samples as one batch, and the others' errors.

        Each picture is written straight to its place in the batch, whose memory the main process
        shares: rows of pixels with their channels side by side, as Pillow has them and as
        convolutions like them (channels last).
        """
        pictures = _shareable(len(keys), self.view.size)
        rows, read, errors = pictures.numpy(), [], []
        with generator_put_back():
            for epoch, index in keys:
                try:
                    image = self.images.image(index)
                except UserError as error:  # the main process decides what follows
                    errors.append(error)
                    continue
                seed_draws("views", self.seed, epoch, index)
                rows[len(read)] = self.view.picture(image)
                read.append(index)
        index = torch.tensor(read, dtype=torch.int64)
        labels = torch.from_numpy(self.images.labels[read])
        return (index, pictures[: len(read)].permute(0, 3, 1, 2), labels), errors


def _shareable(count: int, size: int) -> torch.Tensor:
    """(count, size, size, 3) uint8, in shared memory if a worker asks."""
    pictures = torch.empty(count, size, size, 3, dtype=torch.uint8)
    return pictures.share_memory_() if get_worker_info() else pictures


def as_loaded(loaded: Loaded) -> Loaded:
    """The data set has made a batch of it already."""
    return loaded


class EpochBatches(Sampler):
    """Batches of keys. The epoch travels in the key, so that workers may outlive an epoch.

    drop_last leaves out a last batch smaller than the others, unless it is the only one. part
    (k, n) is, of each batch, the k-th (from 0) of n runs of keys as long as each other to within
    one, the first ones being the longer; the shortest may be empty.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        drop_last: bool = False,
        part: tuple[int, int] = WHOLE,
    ) -> None:
        self.size, self.batch_size, self.shuffle, self.seed = size, batch_size, shuffle, seed
        self.drop_last, self.part, self.epoch = drop_last, part, 0

    def __len__(self) -> int:
        whole, rest = divmod(self.size, self.batch_size)
        return whole if whole and self.drop_last else whole + (rest > 0)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, (k, n) = self.epoch, self.part
        for indices in self._order(epoch).split(self.batch_size)[: len(self)]:
            yield [(epoch, index) for index in indices.tensor_split(n)[k].tolist()]

    def _order(self, epoch: int) -> torch.Tensor:
        if self.shuffle:
            return permutation(self.size, "order", self.seed, epoch)
        return torch.arange(self.size)


def share_memory_for_good(worker: int) -> None:
    """Keep the garbage collector of a forked worker off the objects that it shares with the main
    process: a full collection writes to each of them, and so copies some 80 MB a worker."""
    gc.freeze()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what the main process does at it is not for us


class ViewLoader:
    """One pass over an image set for every epoch asked for; `part` (k, n) gives the k-th (from 0)
    of n parts of each batch of `batch_size` images, so that n processes share a batch.

    `skipped` counts the images left out of the pass under way or last made; with on_bad_image
    "error" the first image that cannot be read is a UserError instead. `waited_seconds` is how long
    that pass has kept its consumer waiting for batches.
    """

    def __init__(
        self,
        images: Images,
        view: View,
        *,
        seed: int,
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        part: tuple[int, int] = WHOLE,
        workers: int = 0,
        pin_memory: bool = False,
        on_bad_image: str = "error",
    ) -> None:
        self.images, self.view, self.on_bad_image = images, view, on_bad_image
        self.skipped, self.waited_seconds = 0, 0.0
        self._batches = EpochBatches(
            len(images), batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last, part=part
        )
        self._loader = DataLoader(
            ViewDataset(images, view, seed=seed),
            batch_sampler=self._batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            collate_fn=as_loaded,
            worker_init_fn=share_memory_for_good,
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._batches)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of `epoch`, or their parts: as many for each part, some of them empty."""
        self._batches.epoch = epoch
        self.skipped, self.waited_seconds = 0, 0.0
        for batch, errors in self._waited_for():
            if errors and self.on_bad_image == "error":
                raise UserError(f"{errors[0]} (--on-bad-image skip leaves such images out)")
            self.skipped += len(errors)
            if self._batches.part != WHOLE or len(batch[0]):
                yield batch

    def _waited_for(self) -> Iterator[Loaded]:
        """What the loader yields, the time spent on each added up."""
        start = perf_counter()
        for loaded in self._loader:
            self.waited_seconds += perf_counter() - start
            yield loaded
            start = perf_counter()


@contextmanager
def living_workers() -> Iterator[None]:
    """UserError where a loader's worker is killed (for memory, most often) while the block runs.

    PyTorch tells it by a signal, wherever the main process is, and says what it is in the text
    alone.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{reason} If memory ran out, use fewer --workers; {GO_ON}") from None
