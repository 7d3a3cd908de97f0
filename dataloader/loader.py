"""Batches of (index, views, labels), where a view is a function of (seed, epoch, index) alone:
batch size, number of workers, order and the part of each batch that is asked for leave every pixel
as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from common.errors import UserError, one_line
from common.random_streams import generator, permutation
from dataloader.images import Images
from dataloader.views import View
from dataloader.worker_processes import allow_files, begin, in_words, starting

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
        _, index = key
        view = self.view(self.images.image(index), self._draws(key))
        return index, view, int(self.images.labels[index])

    def _draws(self, key: Key) -> torch.Generator:
        return generator("views", self.seed, *key)

    def __getitems__(self, keys: list[Key]) -> Loaded | UserError:
        """The readable samples as one batch, and the others' errors; in their place what keeps a
        worker from going on, for the main process to raise."""
        if get_worker_info() is None:
            return self._loaded(keys)
        try:
            return self._loaded(keys)
        except (UserError, OSError, MemoryError) as error:
            return in_words(error)

    def _loaded(self, keys: list[Key]) -> Loaded:
        """Each picture is written straight to its place in the batch, whose memory the main process
        shares: rows of pixels with their channels side by side, as Pillow has them and as
        convolutions like them (channels last).
        """
        size = self.view.size
        pictures = _shareable(torch.empty(len(keys), size, size, 3, dtype=torch.uint8))
        rows = pictures.numpy()
        read: list[int] = []
        errors: list[UserError] = []
        for key in keys:
            _, k = key
            try:
                image = self.images.image(k)
            except UserError as error:  # the main process decides what follows
                errors.append(error)
                continue
            rows[len(read)] = self.view.picture(image, self._draws(key))
            read.append(k)
        index = _shareable(torch.tensor(read, dtype=torch.int64))
        labels = _shareable(torch.from_numpy(self.images.labels[read]))
        return (index, pictures[: len(read)].permute(0, 3, 1, 2), labels), errors


def _shareable(values: torch.Tensor) -> torch.Tensor:
    """The tensor, in shared memory if a worker asks; OSError where that has no room."""
    if get_worker_info() is None or values.numel() == 0:
        return values
    try:
        return values.share_memory_()
    except RuntimeError as error:
        raise OSError(one_line(error)) from None


def as_loaded(loaded: Any) -> Any:
    """The data set has made a batch of it already, and no list of samples, as torch supposes."""
    return loaded


class EpochBatches(Sampler):
    """Batches of keys. The epoch travels in the key, so that workers may outlive an epoch.

    drop_last leaves out a last batch smaller than the others, unless it is the only one. part
    (k, n) is, of each batch, the k-th (from 0) of n runs of keys as long as each other to within
    one, the first ones being the longer; the shortest may be empty.

    no_single: no batch and no part is of one key, which BatchNorm cannot normalise by. A last
    batch of one joins the batch before it, and one too small for parts of two has fewer parts, the
    others being empty.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        drop_last: bool = False,
        no_single: bool = False,
        part: tuple[int, int] = WHOLE,
    ) -> None:
        self.size, self.batch_size, self.shuffle, self.seed = size, batch_size, shuffle, seed
        self.drop_last, self.no_single, self.part, self.epoch = drop_last, no_single, part, 0

    def __len__(self) -> int:
        return len(self._ends())

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, order, start = self.epoch, self._order(self.epoch), 0
        for end in self._ends():
            yield [(epoch, index) for index in self._part(order[start:end]).tolist()]
            start = end

    def _ends(self) -> list[int]:
        """Where each batch ends in the order of the epoch."""
        whole, rest = divmod(self.size, self.batch_size)
        ends = [self.batch_size * (k + 1) for k in range(whole)]
        if rest == 0 or (whole and self.drop_last):
            return ends
        if rest == 1 and self.no_single:
            ends = ends[:-1]
        return [*ends, self.size]

    def _part(self, indices: torch.Tensor) -> torch.Tensor:
        k, n = self.part
        if self.no_single:
            n = min(n, max(1, len(indices) // 2))
        return indices.tensor_split(n)[k] if k < n else indices[:0]

    def _order(self, epoch: int) -> torch.Tensor:
        if self.shuffle:
            return permutation(self.size, "order", self.seed, epoch)
        return torch.arange(self.size)


class ViewLoader:
    """One pass over an image set for every epoch asked for; `part` (k, n) gives the k-th (from 0)
    of n parts of each batch of `batch_size` images, so that n processes share a batch.

    `skipped` counts the images left out of the pass under way or last made; with on_bad_image
    "error" the first image that cannot be read is a UserError instead, as is a pass without any
    image. no_single as in EpochBatches, also where images were left out.
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
        no_single: bool = False,
        part: tuple[int, int] = WHOLE,
        workers: int = 0,
        pin_memory: bool = False,
        on_bad_image: str = "error",
    ) -> None:
        self.images, self.view, self.on_bad_image = images, view, on_bad_image
        self.skipped, self._started = 0, workers == 0
        allow_files(workers)
        self._batches = EpochBatches(
            len(images),
            batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            no_single=no_single,
            part=part,
        )
        self._loader = DataLoader(
            ViewDataset(images, view, seed=seed),
            batch_sampler=self._batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            collate_fn=as_loaded,
            worker_init_fn=begin,
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._batches)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of `epoch`, or their parts: as many for each part, some of them empty."""
        self._batches.epoch, self.skipped = epoch, 0
        is_whole, found = self._batches.part == WHOLE, False
        for batch in self._several():
            found = found or len(batch[0]) > 0
            if len(batch[0]) or not is_whole:
                yield batch
        if is_whole and not found:
            raise UserError(f"none of {len(self.images)} images can be read: see --on-bad-image")

    def _several(self) -> Iterator[Batch]:
        may_be_single = self._batches.no_single and self.on_bad_image == "skip"
        return _without_singles(self._readable()) if may_be_single else self._readable()

    def _readable(self) -> Iterator[Batch]:
        """What the epoch's batches, or their parts, have of images that can be read."""
        for loaded in self._begun():
            if isinstance(loaded, UserError):
                raise loaded
            batch, errors = loaded
            if errors and self.on_bad_image == "error":
                raise UserError(f"{errors[0]} (--on-bad-image skip leaves such images out)")
            self.skipped += len(errors)
            yield batch

    def _begun(self) -> Iterator[Loaded | UserError]:
        """What the workers make, who outlive the epoch that they began in."""
        with nullcontext() if self._started else starting():
            self._started, loaded = True, iter(self._loader)
        return loaded


def _without_singles(batches: Iterable[Batch]) -> Iterator[Batch]:
    """As many batches, none of a single image: it joins the batch before it, or the first one the
    next, and leaves an empty one. UserError where there is no other image.

    Only where images were left out.
    """
    kept: Batch | None = None
    left: list[Batch] = []
    for batch in batches:
        if kept is None:
            kept = batch
        elif min(len(kept[0]), len(batch[0])) > 1:
            yield from (kept, *left)
            kept, left = batch, []
        else:
            index, views, labels = map(torch.cat, zip(kept, batch, strict=True))
            kept = index, views, labels
            left.append((batch[0][:0], batch[1][:0], batch[2][:0]))
    if kept is None:
        return
    if len(kept[0]) == 1:
        raise UserError("one image alone can be read of those to train on: add others")
    yield from (kept, *left)
