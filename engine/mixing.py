"""The batches of training, each mixed with itself, moved on by one image (`--mix`)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, repeat

import torch

from dataloader.loader import Batch
from dataloader.mixing import NONE, Mix, drawn_mix
from engine.compute import Compute
from engine.config import Config
from losses.loss import Minor

UNMIXED = repeat(Mix())


def mixes_of(config: Config, epoch: int) -> Iterator[Mix]:
    """That of each step of an epoch: a function of the run's stream, the epoch and the step."""
    if config.mix == NONE:
        return UNMIXED
    return (drawn_mix(config, config.image_size, config.stream, epoch, step) for step in count())


def mixed(
    batch: Batch, mix: Mix, compute: Compute
) -> tuple[torch.Tensor, torch.Tensor, Minor | None]:
    """Inputs (B, 3, H, W), the labels that weigh more (B,), and the others if images are mixed.

    Each image is mixed with the one before it in the batch of all processes, the first with the
    last: the order of an epoch is drawn, and so are these pairs, without an image that meets
    itself. So does torchvision.
    """
    _, views, labels = batch
    images, labels = compute.inputs(views), compute.send(labels)
    if mix.share == 0:
        return images, labels, None
    views_before, labels_before = map(compute.ranks.before, (views, batch[2]))
    others = _moved(compute.inputs(views_before), images)
    other_labels = _moved(compute.send(labels_before), labels)
    images = mix(images, others)
    if mix.share > 0.5:
        return images, other_labels, Minor(labels, 1 - mix.share)
    return images, labels, Minor(other_labels, mix.share)


def _moved(first: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The rows moved on by one, `first` ahead of them; none where there are none."""
    return torch.cat([first, rows])[: len(rows)]
