"""What an epoch records, added up on the device and divided once: no mean of batch means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F

from engine.processes import Ranks
from metrics.agreement import (
    agreement_per_sample,
    correct_per_sample,
    ensemble_logits,
    kl_divergence_per_sample,
)
from metrics.information import predictive_entropy_per_sample
from metrics.shots import SHOT_GROUPS

BY_SHOTS = ("top1", "fidelity_ensemble")


def per_sample_measures(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher_logits: torch.Tensor | None,
    teacher_names: Sequence[str],
) -> dict[str, torch.Tensor]:
    """Named values of each sample, (B,): the model alone, then against each teacher and ensemble.

    logits (B, C), labels (B,), teacher_logits (K, B, C) in the order of `teacher_names`, or None.
    """
    logits = logits.detach().float()
    measures = {
        "top1": correct_per_sample(logits, labels),
        "entropy_nats": predictive_entropy_per_sample(logits),
    }
    if teacher_logits is not None:
        teachers = dict(zip(teacher_names, teacher_logits.float(), strict=True))
        teachers["ensemble"] = ensemble_logits(teacher_logits)
        for name, other in teachers.items():
            measures |= _against(name, other, logits)
    return measures


def _against(name: str, teacher: torch.Tensor, student: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        f"fidelity_{name}": agreement_per_sample(student, teacher),
        f"kl_{name}_to_student_nats": kl_divergence_per_sample(teacher, student),
        f"kl_student_to_{name}_nats": kl_divergence_per_sample(student, teacher),
        f"entropy_{name}_nats": predictive_entropy_per_sample(teacher),
    }


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

    def update(
        self,
        terms: Mapping[str, torch.Tensor],
        logits: torch.Tensor,
        labels: torch.Tensor,
        teacher_logits: torch.Tensor | None,
    ) -> None:
        """Add a batch: the terms of its loss (scalars, means over it), logits (B, C), labels (B,),
        teachers (K, B, C)."""
        measures = per_sample_measures(logits, labels, teacher_logits, self._teacher_names)
        sums = [term.detach().double() * len(labels) for term in terms.values()]
        sums += [values.double().sum() for values in measures.values()]
        self._names = [*terms, *measures]
        self._sums = self._sums + torch.stack(sums)
        self._count += len(labels)
        if self._shots is not None:
            self._add_shots(measures, labels)

    def _add_shots(self, measures: dict[str, torch.Tensor], labels: torch.Tensor) -> None:
        """Rows: number of samples, then the sum of each measure; a column for each group."""
        self._shot_names = [name for name in BY_SHOTS if name in measures]
        in_group = F.one_hot(self._shots[labels], len(SHOT_GROUPS)).double()  # (B, groups)
        rows = [in_group.sum(0)]
        rows += [measures[name].double() @ in_group for name in self._shot_names]
        self._shot_sums = self._shot_sums + torch.stack(rows)

    def add_up(self, ranks: Ranks) -> None:
        """Add what the other processes saw, none of whom may have seen nothing at all."""
        self._count = ranks.total(self._count)
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
