"""What teachers say of other images than the learners see: image by image of the same class, under
the same draws (`--shuffle-teachers`, `--map-placebo`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from dataloader.loader import Batch
from dataloader.mixing import Mix
from engine.compute import Compute
from engine.learner import Learner
from engine.mixing import mixed
from engine.teachers import Answers, Teachers


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


def paired(
    batches: Iterable[Batch], partners: Iterable[Batch] | None
) -> Iterator[tuple[Batch, Batch | None]]:
    """Each batch with that of the partners, if there are any."""
    if partners is None:
        return ((batch, None) for batch in batches)
    return zip(batches, partners, strict=True)
