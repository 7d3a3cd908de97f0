"""Images a second that the loader delivers from a tree of image files, by view and workers.

python script/benchmark_loader.py --data-path data [--image-size 224] [--images 2000]

The last line is what a ResNet-50 forward consumes on this machine: the loader has to keep up.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dataloader.datasets import load_split
from dataloader.image_set import Images
from dataloader.loader import ViewLoader
from dataloader.views import IMAGENET_STATISTICS, VIEW_NAMES, imagenet_view
from engine.compute import Compute, pick_device
from models.registry import build_model

BATCH = 64
WORKERS = (0, 1, 2)
FORWARD_BATCH = 32


def main() -> None:
    """Print a line for each view, then the forward's."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-path", type=Path, default=Path("data"))
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    images = load_split("ImageNet", "train", options.data_path)
    chosen = np.linspace(0, len(images) - 1, options.images).astype(int)
    images = images.subset(chosen)
    print(f"{len(images)} images at {options.image_size} pixels, images/s (medians)")
    print("view    " + "".join(f"{f'{workers} workers':>12}" for workers in WORKERS))
    for view in VIEW_NAMES:
        rates = [loading(images, view, workers, options) for workers in WORKERS]
        print(f"{view:8}" + "".join(f"{rate:12.0f}" for rate in rates), flush=True)
    print(f"ResNet-50 forward, eval, float32: {forward(options):.1f} images/s")


def loading(images: Images, view: str, workers: int, options: argparse.Namespace) -> float:
    """Median images a second over epochs, after one that starts the workers."""
    loader = ViewLoader(
        images,
        imagenet_view(view, options.image_size),
        seed=0,
        batch_size=BATCH,
        shuffle=True,
        workers=workers,
    )

    def epoch() -> None:
        for _ in loader.epoch(0):
            pass

    return len(images) / median_seconds(epoch, options.repeats)


def forward(options: argparse.Namespace) -> float:
    """Median images a second of a ResNet-50 in eval mode on the default device."""
    compute = Compute(pick_device("auto"), "none", IMAGENET_STATISTICS)
    model = compute.place(build_model("resnet50", 1000)).eval()
    size = options.image_size
    views = torch.randint(256, (FORWARD_BATCH, 3, size, size), dtype=torch.uint8)

    @torch.no_grad()
    def batch() -> None:
        model(compute.inputs(views)).cpu()  # .cpu() waits for a GPU

    return FORWARD_BATCH / median_seconds(batch, options.repeats)


def median_seconds(action: Callable[[], None], repeats: int) -> float:
    """Median seconds of a call, after one to warm up."""
    action()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
