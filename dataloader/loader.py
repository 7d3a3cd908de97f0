"""Batches of (index, views, labels), where a view is a function of (seed, epoch, index) alone:
batch size, number of workers and order leave every pixel as it is."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from dataloader.errors import UserError
from dataloader.image_set import Images
from dataloader.random_streams import permutation, seeded_draws
from dataloader.views import View

# index (B,) int64, views (B, 3, H, W) uint8, labels (B,) int64
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Key = tuple[int, int]  # (epoch, index)


class ViewDataset(Dataset):
    """The images of a set under one view; an item's key is (epoch, index)."""

    def __init__(self, images: Images, view: View, *, seed: int) -> None:
        self.images, self.view, self.seed = images, view, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[int, torch.Tensor, int] | UserError:
        """The sample, or why its image cannot be read: the main process decides what follows."""
        epoch, index = key
        try:
            image = self.images.image(index)
        except UserError as error:
            return error
        with seeded_draws("views", self.seed, epoch, index):
            return index, self.view(image), int(self.images.labels[index])


def collate(samples: list) -> tuple[Batch | None, list[UserError]]:
    """The readable samples as a batch (None where there is none), and the errors of the others."""
    errors = [sample for sample in samples if isinstance(sample, UserError)]
    readable = [sample for sample in samples if not isinstance(sample, UserError)]
    return default_collate(readable) if readable else None, errors


class EpochBatches(Sampler):
    """Batches of keys. The epoch travels in the key, so that workers may outlive an epoch."""

    def __init__(self, size: int, batch_size: int, *, shuffle: bool, seed: int) -> None:
        self.size, self.batch_size, self.shuffle, self.seed = size, batch_size, shuffle, seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        for indices in self._order(epoch).split(self.batch_size):
            yield [(epoch, index) for index in indices.tolist()]

    def _order(self, epoch: int) -> torch.Tensor:
        if self.shuffle:
            return permutation(self.size, "order", self.seed, epoch)
        return torch.arange(self.size)


def share_memory_for_good(worker: int) -> None:
    """Keep the garbage collector of a forked worker off the objects that it shares with the main
    process: a full collection writes to each of them, and so copies some 80 MB a worker."""
    gc.freeze()


class ViewLoader:
    """One pass over an image set for every epoch asked for.

    `skipped` counts the images left out of the pass under way or last made; with on_bad_image
    "error" the first image that cannot be read is a UserError instead.
    """

    def __init__(
        self,
        images: Images,
        view: View,
        *,
        seed: int,
        batch_size: int,
        shuffle: bool = False,
        workers: int = 0,
        pin_memory: bool = False,
        on_bad_image: str = "error",
    ) -> None:
        self.images, self.on_bad_image, self.skipped = images, on_bad_image, 0
        self._batches = EpochBatches(len(images), batch_size, shuffle=shuffle, seed=seed)
        self._loader = DataLoader(
            ViewDataset(images, view, seed=seed),
            batch_sampler=self._batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            collate_fn=collate,
            worker_init_fn=share_memory_for_good,
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._batches)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of `epoch`."""
        self._batches.epoch = epoch
        self.skipped = 0
        for batch, errors in self._loader:
            if errors and self.on_bad_image == "error":
                raise UserError(f"{errors[0]} (--on-bad-image skip leaves such images out)")
            self.skipped += len(errors)
            if batch is not None:
                yield batch
