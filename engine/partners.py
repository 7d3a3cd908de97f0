"""What teachers say of other images than the learners see, under the same draws: image by image of
the same class (`--shuffle-teachers`, `--map-placebo`), or under another view (`--teachers-see`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from dataloader.loader import Batch
from dataloader.mixing import Mix
from engine.compute import Compute
from engine.learner import Learner
from engine.mixing import mixed
from engine.teachers import Answers, Teachers

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class OfPartners:
    """The teachers of those learners who hear of other images for a share of their own."""

    teachers: Teachers

    @classmethod
    def of(cls, teachers: Teachers, learners: Sequence[Learner]) -> OfPartners:
        """Of all teachers the ones whom such learners hear."""
        shuffled = [learner for learner in learners if learner.shuffled_share]
        return cls(teachers.only({question for one in shuffled for question in one.questions}))

    def answer(
        self, partners: Batch | None, mix: Mix, needs: Collection[str], compute: Compute
    ) -> Answers:
        """To a batch of partners, mixed as the images are; nothing where nobody asks."""
        if partners is None or not self.teachers.names:
            return Answers()
        images, *_ = mixed(partners, mix, compute)
        with compute.autocast():
            return self.teachers.answer(images, needs, teaching=True)


@dataclass(frozen=True)
class Asked:
    """The teachers that are asked about what the learners see, and those about their own views of
    it."""

    teachers: Teachers
    of_views: Mapping[str, Teachers]

    @classmethod
    def of(cls, teachers: Teachers, learners: Sequence[Learner]) -> Asked:
        """All of them, where the learners want them asked."""
        views = {text: view for one in learners for text, view in one.other_views.items()}
        if not views:
            return cls(teachers, NOTHING)
        of_views = {
            view: teachers.only([text for text in views if views[text] == view])
            for view in views.values()
        }
        return cls(teachers.only({*teachers.names} - {*views}), of_views)

    def answer(
        self,
        images: torch.Tensor,
        others: Mapping[str, Batch],
        mix: Mix,
        needs: Collection[str],
        compute: Compute,
    ) -> Answers:
        """To inputs (B, 3, H, W), or to the same images under other views, mixed as they are."""
        answers = self.teachers.answer(images, needs, teaching=True)
        for view, teachers in self.of_views.items():
            viewed, *_ = mixed(others[view], mix, compute)
            answers = answers.joined(teachers.answer(viewed, needs, teaching=True))
        return answers


def paired(
    batches: Iterable[Batch], others: Mapping[str, Iterable[Batch]]
) -> Iterator[tuple[Batch, dict[str, Batch]]]:
    """Each batch, and those in its place."""
    for batch, *places in zip(batches, *others.values(), strict=True):
        yield batch, dict(zip(others, places, strict=True))
