"""What an epoch records, added up on the device and divided once: no mean of batch means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F

from common.errors import UserError
from engine.processes import Ranks
from losses.loss import Seen
from metrics.agreement import ensemble_logits, kl_from_log_probabilities
from metrics.information import entropy_from_log_probabilities
from metrics.shots import SHOT_GROUPS

BY_SHOTS = ("top1", "fidelity_ensemble")


def per_sample_measures(seen: Seen, teacher_names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Named values of each sample, (B,): the model alone, then against each teacher and ensemble,
    of several teachers against what they teach together too.

    The teachers in the order of `teacher_names`. All models in one computation, in float32:
    float64 moves an epoch's mean by less than 1e-6.
    """
    models = _with_teachers(seen.logits, seen.teacher_logits)
    log_p, predicted = F.log_softmax(models, dim=-1), models.argmax(dim=-1)
    entropy = entropy_from_log_probabilities(log_p)
    measures = {"top1": (predicted[0] == seen.labels).float(), "entropy_nats": entropy[0]}
    if seen.teacher_logits is None:
        return measures
    to_each = {
        "fidelity_{}": (predicted[1:] == predicted[0]).float(),
        "kl_{}_to_student_nats": kl_from_log_probabilities(log_p[1:], log_p[0]),
        "kl_student_to_{}_nats": kl_from_log_probabilities(log_p[0], log_p[1:]),
        "entropy_{}_nats": entropy[1:],
    }
    rows = dict(zip(teacher_names, range(len(seen.teacher_logits)), strict=True)) | {"ensemble": -1}
    if seen.lesson is not None:
        measures["fidelity_taught"] = (predicted[0] == seen.lesson.classes).float()
    return measures | {
        measure.format(name): values[row]
        for name, row in rows.items()
        for measure, values in to_each.items()
    }


def _with_teachers(logits: torch.Tensor, teacher_logits: torch.Tensor | None) -> torch.Tensor:
    """The model, its teachers and their ensemble, which one teacher is already: (M, B, C)."""
    student = logits.detach().float()[None]
    if teacher_logits is None:
        return student
    several = len(teacher_logits) > 1
    ensemble = [ensemble_logits(teacher_logits).float()[None]] if several else []
    return torch.cat([student, teacher_logits.float(), *ensemble])


class EpochSums:
    """Sums over the samples seen so far, in float64 on the device.

    With `shot_groups` (C,), top-1 and fidelity to the ensemble are also kept by group.
    """

    def __init__(
        self,
        teacher_names: Sequence[str],
        device: torch.device,
        shot_groups: torch.Tensor | None = None,
    ) -> None:
        self._teacher_names = teacher_names
        self._shots = None if shot_groups is None else shot_groups.to(device)
        self._shot_names: list[str] = []
        self._shot_sums = torch.zeros((), dtype=torch.float64, device=device)
        self._names: list[str] = []
        self._sums = torch.zeros((), dtype=torch.float64, device=device)
        self._count = 0

    def update(self, terms: Mapping[str, torch.Tensor], seen: Seen) -> None:
        """Add a batch, and the terms of its loss (scalars, means over it)."""
        measures = per_sample_measures(seen, self._teacher_names)
        of_loss = {name: term.detach().expand(len(seen.labels)) for name, term in terms.items()}
        self._names = [*of_loss, *measures]
        rows = torch.stack([*of_loss.values(), *measures.values()])
        self._sums = self._sums + rows.sum(dim=1, dtype=torch.float64)
        self._count += len(seen.labels)
        if self._shots is not None:
            self._add_shots(measures, self._shots[seen.labels])

    def _add_shots(self, measures: dict[str, torch.Tensor], groups: torch.Tensor) -> None:
        """Rows: number of samples, then the sum of each measure; a column for each group. groups:
        (B,) that of each sample."""
        self._shot_names = [name for name in BY_SHOTS if name in measures]
        in_group = F.one_hot(groups, len(SHOT_GROUPS)).double()  # (B, groups)
        rows = [in_group.sum(0)]
        rows += [measures[name].double() @ in_group for name in self._shot_names]
        self._shot_sums = self._shot_sums + torch.stack(rows)

    def add_up(self, ranks: Ranks) -> None:
        """Add what the other processes saw; UserError where none of them saw an image."""
        self._count = ranks.total(self._count)
        if self._count == 0:
            raise UserError("no image of a whole pass can be read: see --on-bad-image")
        self._sums, self._shot_sums = ranks.sum(self._sums), ranks.sum(self._shot_sums)

    def means(self) -> dict[str, float]:
        """Mean over the samples so far, by name; waits for the device."""
        means = dict(zip(self._names, (self._sums / self._count).tolist(), strict=True))
        return means | self._shot_means()

    def _shot_means(self) -> dict[str, float]:
        if not self._shot_names:
            return {}
        counts, *sums = self._shot_sums.tolist()
        return {
            f"{name}_{group}": total / count
            for name, row in zip(self._shot_names, sums, strict=True)
            for group, total, count in zip(SHOT_GROUPS, row, counts, strict=True)
            if count
        }
