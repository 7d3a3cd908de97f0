"""One pass over a loader, training or evaluation of one or many models, and runs side by
side, each from its first epoch, or the one after its last, to its metrics.json.

Each teacher answers once a batch; then each model takes its own step, one after the other, so that
memory holds one model's activations."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from common.errors import DivergedError
from dataloader.loader import Batch, ViewLoader
from dataloader.mixing import Mix
from dataloader.worker_processes import living_workers
from engine.compute import Compute, enough_memory_for
from engine.config import Config
from engine.data import PARTNERS, RunData, load_data
from engine.learner import Learner, new_learner
from engine.mixing import UNMIXED, mixed, mixes_of
from engine.partners import NOTHING, Asked, OfPartners, paired
from engine.processes import Ranks
from engine.progress import Epochs, Progress
from engine.questions import views_of
from engine.records import Record
from engine.run import Runs
from engine.sums import EpochSums
from engine.teachers import KnownTeachers, Teachers, load_teachers
from engine.training_run import TrainingRun
from engine.waiting import Waiting
from losses.objective import Objective


def train_epoch(
    learners: Sequence[Learner],
    batches: Iterable[Batch],
    teachers: Teachers,
    compute: Compute,
    progress: Progress,
    others: Mapping[str, Iterable[Batch]] = NOTHING,
    mixes: Iterator[Mix] = UNMIXED,
) -> list[EpochSums]:
    """Train each model on each batch once; what was measured just before each step, by model.

    others: the same batches otherwise (RunData.others). mixes: one for each step.

    Of several processes each has its part of a batch, and all make the step of the whole batch.
    """
    sums = [EpochSums(learner.teacher_names, compute.device) for learner in learners]
    needs = _needs(learner.objective for learner in learners)
    asked, of_partners = Asked.of(teachers, learners), OfPartners.of(teachers, learners)
    for batch, other in paired(batches, others):
        index, part = batch[0], len(batch[0])
        whole = compute.ranks.total(part)
        if whole == 0:
            continue  # none of its images can be read
        share = compute.ranks.size * part / whole  # undoes the mean over the processes
        mix = next(mixes)
        images, labels, minor = mixed(batch, mix, compute)
        with compute.autocast():
            answers = asked.answer(images, other, mix, needs, compute)
        about_others = of_partners.answer(other.get(PARTNERS), mix, needs, compute)
        for learner, added in zip(learners, sums, strict=True):
            heard = learner.heard(answers, about_others, index, compute)
            with compute.autocast():
                seen = learner.seen(index, images, labels, heard, minor)
            terms = learner.objective(seen)
            learner.step(terms["loss"] * share)
            added.update(terms, seen)
        progress.step(sums)
    for learner, added in zip(learners, sums, strict=True):
        compute.ranks.take_buffers(learner.model)
        added.add_up(compute.ranks)
    return sums


@torch.no_grad()
def evaluate(
    learners: Sequence[Learner],
    batches: Iterable[Batch],
    teachers: KnownTeachers,
    compute: Compute,
    progress: Progress,
    shot_groups: torch.Tensor | None = None,
) -> list[EpochSums]:
    """What each model answers in eval mode. shot_groups: (C,) group of each class, of a long-tailed
    set."""
    groups = None if shot_groups is None else compute.send(shot_groups)
    sums = [EpochSums(learner.teacher_names, compute.device, groups) for learner in learners]
    needs = _needs(learner.validation_objective for learner in learners)
    for learner in learners:
        learner.model.eval()
    for index, views, labels in batches:
        images, labels = compute.inputs(views), compute.send(labels)
        answers = teachers.answer(index, images, needs, compute)
        for learner, added in zip(learners, sums, strict=True):
            with compute.autocast():
                seen = learner.validated(index, images, labels, answers)
            added.update(learner.validation_objective(seen), seen)
        progress.step()
    for added in sums:
        added.add_up(compute.ranks)
    return sums


def _needs(objectives: Iterable[Objective]) -> frozenset[str]:
    """What any of them needs besides logits."""
    return frozenset().union(*(objective.needs for objective in objectives))


def answers_of(
    teachers: Teachers, batches: Iterable[Batch], compute: Compute, *, size: int, num_classes: int
) -> KnownTeachers:
    """The teachers, their logits over `size` images known by index; 0 where skipped or another
    process's.

    The test view is the same in every epoch, so its teachers are queried once.
    """
    if teachers.models is None:
        return KnownTeachers(teachers, None)
    known = torch.zeros(len(teachers.names), size, num_classes)
    for index, views, _ in batches:
        with compute.autocast():
            known[:, index] = teachers.models(compute.inputs(views)).float().cpu()
    return KnownTeachers(teachers, known)


@dataclass
class Course:
    """What the runs share: images under one view, in one order, and who teaches."""

    data: RunData
    teachers: Teachers
    compute: Compute
    progress: Progress
    training_seconds: float = 0.0  # of this session

    @cached_property
    def waiting(self) -> Waiting:
        """For images, in the training time of this session."""
        return Waiting(self.compute.device)

    def epoch(self, runs: Sequence[TrainingRun], epoch: int) -> list[Record]:
        """Train all `runs` on `epoch` (from 0), and validate them where it is time to: a record
        each."""
        started = time.monotonic()
        rates = [run.learner.start_epoch(epoch) for run in runs]
        learners = [run.learner for run in runs]
        batches = self.waiting.counted(self.data.train.epoch(epoch))
        others = {
            name: self.waiting.counted(loader.epoch(epoch))
            for name, loader in self.data.others.items()
        }
        mixes = mixes_of(runs[0].config, epoch)
        train = train_epoch(
            learners, batches, self.teachers, self.compute, self.progress, others, mixes
        )
        self.training_seconds += time.monotonic() - started
        skipped = {"train": self.compute.ranks.total(self.data.train.skipped)}
        trained = [sums.means() for sums in train]
        validated: list[dict[str, Any]] = [{} for _ in runs]
        if runs[0].config.evaluates(epoch + 1):
            validated = self._validated(runs, trained)
            skipped["validation"] = self.compute.ranks.total(self.data.validation.skipped)
        last = {"skipped_images": skipped, "seconds": round(time.monotonic() - started, 3)}
        return [
            {"epoch": epoch + 1, "lr": rate, "train": training, **tested, **last}
            for rate, training, tested in zip(rates, trained, validated, strict=True)
        ]

    def _validated(
        self, runs: Sequence[TrainingRun], trained: Sequence[dict[str, float]]
    ) -> list[dict[str, Any]]:
        """What an epoch's records say of validation; `trained`: what they say of training."""
        validation = self.means(runs, self.data.validation, self._known_validation)
        return [
            {
                "validation": validated,
                **view,
                "gap_points": 100 * (before["top1"] - validated["top1"]),
            }
            for before, validated, view in zip(
                trained, validation, self._augmented(runs), strict=True
            )
        ]

    def _augmented(self, runs: Sequence[TrainingRun]) -> list[dict[str, dict[str, float]]]:
        """What each of `runs` does on validation images under the training view, if it is asked."""
        if self.data.augmented is None:
            return [{} for _ in runs]
        found = self.means(runs, self.data.augmented, self._known_augmented)
        return [{"validation_view": means} for means in found]

    def means(
        self, runs: Sequence[TrainingRun], loader: ViewLoader, teachers: KnownTeachers
    ) -> list[dict[str, float]]:
        """What each of `runs` does on a loader's images, which the teachers know."""
        sums = evaluate(
            [run.learner for run in runs],
            loader.epoch(0),
            teachers,
            self.compute,
            self.progress,
            self.data.shot_groups,
        )
        return [each.means() for each in sums]

    def finish(self, runs: Sequence[TrainingRun]) -> None:
        """Write the results of `runs`, whose last epoch is done."""
        if not runs:
            return
        if not runs[0].history:
            self._adopt(runs)
        else:
            self._finish(runs)
            self._say_how_long_it_waited(runs)

    def _say_how_long_it_waited(self, runs: Sequence[TrainingRun]) -> None:
        if not (self.training_seconds and self.compute.ranks.is_main):
            return
        for run in runs:
            told = self.waiting.told(self.training_seconds, run.config.workers)
            self.progress.line(f"{run.config.cell}  {told}", run.directory.log)

    def _adopt(self, runs: Sequence[TrainingRun]) -> None:
        """Runs of no epoch: weights that were trained elsewhere."""
        tests = self.means(runs, self.data.test, self._known_test)
        for run, test in zip(runs, tests, strict=True):
            run.adopt(self.data.num_classes)
            run.finish(self.data, {"last": test, "best": test})

    def _finish(self, runs: Sequence[TrainingRun]) -> None:
        if self.data.selected_on == "test":
            last = [run.history[-1]["validation"] for run in runs]
            best = [run.history[run.best_epoch - 1]["validation"] for run in runs]
        else:
            last = self.means(runs, self.data.test, self._known_test)
            for run in runs:
                run.go_back_to_best()
            best = self.means(runs, self.data.test, self._known_test)
        for run, *tests in zip(runs, last, best, strict=True):
            run.finish(self.data, dict(zip(("last", "best"), tests, strict=True)))

    @cached_property
    def _known_validation(self) -> KnownTeachers:
        return self._answers(self.data.validation)

    @cached_property
    def _known_augmented(self) -> KnownTeachers:
        assert self.data.augmented is not None
        return self._answers(self.data.augmented)

    @cached_property
    def _known_test(self) -> KnownTeachers:
        return self._answers(self.data.test)

    def _answers(self, loader: ViewLoader) -> KnownTeachers:
        return answers_of(
            self.teachers,
            loader.epoch(0),
            self.compute,
            size=len(loader.images),
            num_classes=self.data.num_classes,
        )


def train_group(configs: Sequence[Config], ranks: Ranks) -> None:
    """Train the runs of a group side by side: they see the same images, and so do the teachers that
    any of them names."""
    views = [view for config in configs for view in views_of(config).values()]
    partners = [PARTNERS] if any(config.shuffled_share for config in configs) else []
    data = load_data(configs[0], ranks, others=dict.fromkeys([*views, *partners]))
    compute = Compute.of(configs[0], data.statistics, ranks)

    def begun(config: Config) -> TrainingRun:
        directory = Runs.beside(config).of_config(config)
        goes_on = directory.goes_on(config)
        learner = new_learner(config, data.num_classes, compute, goes_on=goes_on)
        return TrainingRun(config, directory, learner, goes_on)

    with enough_memory_for(len(configs)):
        teachers = load_teachers(configs, data.num_classes, compute)
        runs = [begun(compute.settled(config)) for config in configs]
        train(runs, data, teachers, compute)


def train(runs: Sequence[TrainingRun], data: RunData, teachers: Teachers, compute: Compute) -> None:
    """Train every run for its epochs, resuming where it stopped, and write its results.

    A run ahead of the others waits for them. One whose loss is no longer finite stops, the others
    go on, and a DivergedError says so at the end; any other error stops all.
    """
    running, reasons = list(runs), []
    with ExitStack() as closing:
        closing.enter_context(_stopping(running, compute.ranks))
        closing.enter_context(living_workers())
        closing.enter_context(enough_memory_for(len(runs)))
        for run in runs:
            run.start(teachers, data.train.view.description, compute)
        course = Course(data, teachers, compute, _progress(runs, data, compute))
        closing.callback(course.progress.close)
        course.finish([run for run in running if run.is_trained()])
        while together := _furthest_behind(running):
            records = course.epoch(together, len(together[0].history))
            for run, record in zip(together, records, strict=True):
                if reason := run.divergence(record):
                    run.stop(reason)
                    running.remove(run)
                    reasons.append(str(reason))
                else:
                    run.add(record, data.num_classes)
                    run.report(data.selected_on, course.progress)
            course.finish([run for run in together if run.is_trained()])
    if reasons:
        raise DivergedError("; ".join(reasons))


@contextmanager
def _stopping(running: list[TrainingRun], ranks: Ranks) -> Iterator[None]:
    """Stops those that are `running` at its end, with the reason where it is an error."""
    try:
        yield
    except BaseException as error:
        reason = ranks.reason(error)
        for run in running:
            run.stop(reason)
        raise
    for run in running:
        run.stop()


def _furthest_behind(runs: Sequence[TrainingRun]) -> list[TrainingRun]:
    """Of the runs with epochs to do, those that have done the fewest."""
    waiting = [run for run in runs if not run.is_trained()]
    done = min((len(run.history) for run in waiting), default=0)
    return [run for run in waiting if len(run.history) == done]


def _progress(runs: Sequence[TrainingRun], data: RunData, compute: Compute) -> Progress:
    """Of all batches to come: training and validation of each epoch, then the test: of the last
    and the best weights, which are the same where there is no epoch."""
    tested_on = [loader for loader in (data.validation, data.augmented) if loader is not None]
    config, loaders = runs[0].config, (data.train, *tested_on)
    passes = (0 if data.selected_on == "test" else 2) if config.epochs else 1
    evaluated = [config.evaluates(epoch + 1) for epoch in range(config.epochs)]
    batches, images = (
        [sizes[0] + sum(sizes[1:]) * tested for tested in evaluated]
        for sizes in (list(map(len, loaders)), [len(loader.images) for loader in loaders])
    )
    epochs = Epochs.of(batches, images) if config.epochs else None
    return Progress(
        config.cell if len(runs) == 1 else f"{len(runs)} {config.role}s",
        total=sum(batches) + passes * len(data.test),
        done=sum(batches[: min(len(run.history) for run in runs)]),
        logs=[run.directory.log for run in runs],
        epochs=epochs,
        silent=not compute.ranks.is_main,
    )
