"""One pass of a model over images: its answers, and of some of them where it looked."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from dataloader.errors import UserError
from dataloader.loader import Batch
from engine.compute import Compute
from evaluation.kept import Answers, AttentionMaps, tensors_of
from metrics.attention import (
    attention_with_logits,
    class_maps,
    classifier_weight,
    forward_with_features,
)
from metrics.attention_source import Rollout, source_of
from metrics.calibration import (
    brier_score_per_sample,
    negative_log_likelihood_per_sample,
    top_label_confidence,
)
from metrics.information import predictive_entropy_per_sample


@torch.no_grad()
def collect(
    model: nn.Module,
    batches: Iterable[Batch],
    compute: Compute,
    *,
    most: int,
    mapped: torch.Tensor,
    keep_logits: bool,
) -> tuple[Answers, AttentionMaps | None]:
    """Answers to all batches, of at most `most` images, and the maps of those whose index is among
    `mapped`.

    Logits are looked at batch by batch and kept only if asked for: those of a million images of a
    thousand classes take 5 GB. UserError where there is no batch.
    """
    answers, maps = Collected(most), []
    for index, views, labels in batches:
        inputs = compute.inputs(views)
        chosen = torch.isin(index, mapped)
        if chosen.any():
            logits, *looked = _logits_and_maps(model, inputs, chosen.to(inputs.device))
            logits = logits.float().cpu()
            known = (index[chosen], labels[chosen], logits[chosen])
            maps.append([*known, *(part.cpu() for part in looked)])
        else:
            logits = model(inputs).float().cpu()
        answers.add(_answers(index, labels, logits, keep_logits))
    collected = answers.so_far()
    side = torch.tensor(inputs.shape[-1])
    looked = AttentionMaps(*map(torch.cat, zip(*maps, strict=True)), side) if maps else None
    return collected, looked


def _answers(
    index: torch.Tensor, labels: torch.Tensor, logits: torch.Tensor, keep_logits: bool
) -> Answers:
    return Answers(
        index=index,
        labels=labels,
        predictions=logits.argmax(1),
        confidence=top_label_confidence(logits),
        nll_nats=negative_log_likelihood_per_sample(logits, labels),
        brier=brier_score_per_sample(logits, labels),
        entropy_nats=predictive_entropy_per_sample(logits),
        logits=logits if keep_logits else None,
    )


class Collected:
    """Answers batch by batch, in memory that is taken once: small tensors left over from each of
    thousands of batches would keep the large ones between them from being given back."""

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._columns: dict[str, torch.Tensor] = {}

    def add(self, batch: Answers) -> None:
        """Keep a batch."""
        rows = slice(self._count, self._count + len(batch.labels))
        for name, values in tensors_of(batch).items():
            if name not in self._columns:
                self._columns[name] = values.new_empty(self._most, *values.shape[1:])
            self._columns[name][rows] = values
        self._count = rows.stop

    def so_far(self) -> Answers:
        """All of them; UserError where there are none."""
        if not self._columns:
            raise UserError("none of the images could be read, so there is nothing to measure")
        return Answers(**{name: column[: self._count] for name, column in self._columns.items()})


def _logits_and_maps(
    model: nn.Module, inputs: torch.Tensor, chosen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of all inputs; of the chosen ones the maps of each class and their sum."""
    if isinstance(source_of(model), Rollout):
        logits, rollout = attention_with_logits(model, inputs)
        rollout = rollout[chosen]
        return logits, _scaled(rollout[:, None]).half(), rollout
    logits, features = forward_with_features(model, inputs)
    raw = class_maps(features[chosen], classifier_weight(model))
    centred = raw - raw.mean(dim=1, keepdim=True)
    return logits, _scaled(centred).half(), _scaled(raw.sum(dim=1)).float()


def _scaled(maps: torch.Tensor) -> torch.Tensor:
    """Each (h, w) map divided by its largest absolute value."""
    largest = maps.abs().amax(dim=(-2, -1), keepdim=True)
    return maps / largest.clamp_min(torch.finfo(torch.float32).tiny)
