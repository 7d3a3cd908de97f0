"""Images a second and CPU time an image of the loader, by view, size and number of workers.

python script/benchmark_loader.py [--dataset CIFAR100 --data-path data] [--images 2000]

By default on the embedded data set; --dataset ImageNet reads image files below --data-path. "plain"
is what published code does: weak and strong computed for every sample with torchvision's
transforms, normalised one by one (its strong view interpolates and fills as the published one does,
for the cheaper of the two interpolations, and has no Cutout). The last columns compare with it:
images a second, CPU time an image.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from common.errors import OneLineParser, run_program
from common.workers import default_workers
from dataloader.datasets import load_split, parse_dataset
from dataloader.images import DataSet, Images
from dataloader.loader import ViewLoader
from dataloader.views import IMAGENET_STATISTICS, VIEW_NAMES, imagenet_view
from script.timing import count

BATCH = 128

Measured = tuple[float, float]  # images a second, CPU milliseconds an image


def main(argv: Sequence[str] | None = None) -> None:
    """A table for each size and number of workers."""
    options = parse(argv)
    torch.set_num_threads(1)
    data_set = parse_dataset(options.dataset).data_set
    whole = load_split(options.dataset, "train", options.data_path)
    assert whole is not None  # a set may lack a validation split alone
    images = whole.subset(np.linspace(0, len(whole) - 1, options.images).astype(int))
    print(f"{len(images)} images of {options.dataset}, medians of {options.repeats} epochs")
    for size in options.sizes:
        for workers in options.workers:
            print(f"\n{size} pixels, {workers} workers      images/s   CPU ms    times plain")
            table(images, data_set, size, workers, options.repeats)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--data-path", type=Path, default=Path("data"))
    parser.add_argument("--images", type=count, default=1280)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, default_workers()])
    parser.add_argument("--repeats", type=count, default=3)
    return parser.parse_args(argv)


def table(images: Images, data_set: DataSet, size: int, workers: int, repeats: int) -> None:
    """A line for the plain pipeline, then one for each view."""

    def loader(view: str) -> ViewLoader:
        return ViewLoader(
            images,
            data_set.view(view, size),
            seed=0,
            batch_size=BATCH,
            shuffle=True,
            workers=workers,
        )

    plain = measured(lambda: PlainEpochs(images, data_set, size, workers), len(images), repeats)
    print(f"{'plain (weak and strong)':28}{plain[0]:8.0f}{plain[1]:9.3f}", flush=True)
    for view in VIEW_NAMES:
        rate, cpu = measured(partial(loader, view), len(images), repeats)
        ratios = f"{rate / plain[0]:8.2f}{plain[1] / cpu:8.2f}"
        print(f"{view:28}{rate:8.0f}{cpu:9.3f}{ratios}", flush=True)


def measured(make: Callable[[], ViewLoader | PlainEpochs], count: int, repeats: int) -> Measured:
    """Of `count` images an epoch. Workers count once they have ended, the first epoch too."""
    before, seconds = cpu_seconds(), []
    loader = make()
    for epoch in range(repeats + 1):
        start = time.perf_counter()
        for _ in loader.epoch(epoch):
            pass
        seconds.append(time.perf_counter() - start)
    del loader
    used = cpu_seconds() - before
    return count / statistics.median(seconds[1:]), 1000 * used / (count * (repeats + 1))


def cpu_seconds() -> float:
    """CPU time of this process and of its ended children."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class PlainPairs(Dataset):
    """Every sample as a normalised weak and a normalised strong view."""

    def __init__(self, images: Images, data_set: DataSet, size: int) -> None:
        self.images = images
        self.weak, self.strong = plain_transforms(data_set, size)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        image = self.images.image(index)
        return self.weak(image), self.strong(image), int(self.images.labels[index])


def plain_transforms(data_set: DataSet, size: int) -> tuple[Callable, Callable]:
    """Weak and strong, from torchvision's transforms alone."""
    bilinear, bicubic = (transforms.InterpolationMode[way] for way in ("BILINEAR", "BICUBIC"))
    statistics = data_set.statistics or IMAGENET_STATISTICS  # speed does not depend on them
    finish = [transforms.ToTensor(), transforms.Normalize(statistics.mean, statistics.std)]
    flip = transforms.RandomHorizontalFlip()
    if data_set.view is imagenet_view:
        jitter = transforms.ColorJitter(0.4, 0.4, 0.4)
        shared = [transforms.RandomResizedCrop(size), flip, jitter]
        weak, strong = [], [transforms.RandAugment(2, 10, 11, bilinear, fill=[124, 116, 104])]
    else:
        shared = [transforms.RandomResizedCrop(size, (0.2, 1.0), interpolation=bicubic), flip]
        weak = [transforms.RandomRotation(15)]
        strong = [transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10, fill=[128] * 3)]
    return (
        transforms.Compose([*shared, *weak, *finish]),
        transforms.Compose([*shared, *strong, *finish]),
    )


class PlainEpochs:
    """The plain pipeline with the loader's interface."""

    def __init__(self, images: Images, data_set: DataSet, size: int, workers: int) -> None:
        self.loader = DataLoader(
            PlainPairs(images, data_set, size),
            BATCH,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    def epoch(self, epoch: int) -> Iterable:
        """The batches, whichever the epoch."""
        return self.loader


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted="run the command again"))
