"""Teachers that are asked about another image of the class."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from conftest import DATASET, IMAGE_SIZE, ON_CPU, TINY, Bench, learner_of
from test_side_by_side import result, same
from test_training import records, weights

import train_student
import train_teacher
from common.errors import UserError, run_program
from dataloader.loader import ViewLoader
from dataloader.subsets import partners_of
from dataloader.views import CIFAR_STATISTICS, cifar_view
from engine.config import StudentConfig, TeacherConfig
from engine.data import PARTNERS, load_data
from engine.flags import read_recipe
from engine.loop import train_epoch
from engine.progress import Progress
from engine.scheduling import side_by_side, train_each, train_together
from engine.teachers import Answers, Teachers
from losses.loss import Maps
from models.frozen_teachers import FrozenTeachers
from models.registry import build_model

FEW = ("--max-train-images", 300, "--max-test-images", 40, "--epochs", 2)


class TestDerangement:
    def test_each_image_has_another_of_its_class_and_is_the_partner_of_one(self):
        labels = np.random.default_rng(0).permutation(np.repeat(np.arange(7), range(2, 9)))
        partners = partners_of(labels, 5)
        assert np.array_equal(labels[partners], labels)
        assert np.array_equal(np.sort(partners), np.arange(len(labels)))
        assert not (partners == np.arange(len(labels))).any()

    def test_it_is_fixed_for_a_stream(self):
        labels = np.repeat([0, 1], 30)
        assert np.array_equal(partners_of(labels, 1), partners_of(labels, 1))
        assert not np.array_equal(partners_of(labels, 1), partners_of(labels, 2))
        assert partners_of(labels[:4], 1001).tolist() == GOLDEN

    def test_two_images_are_each_others(self):
        assert partners_of(np.array([3, 0, 0, 3]), 1).tolist() == [3, 2, 1, 0]

    def test_an_image_alone_in_its_class_is_refused(self):
        with pytest.raises(UserError, match="class 4 has one training image"):
            partners_of(np.array([0, 0, 4]), 1)


GOLDEN = [1, 3, 0, 2]


def config_of(cell="T1w_Sw", **settings):
    return StudentConfig(
        dataset=DATASET, cell=cell, image_size=IMAGE_SIZE, batch_size=64, workers=0,
        device="cpu", max_train_images=300, max_test_images=40, warmup_epochs=0, **settings,
    )  # fmt: skip


class TestViews:
    def test_partners_have_the_draws_of_the_images_whose_place_they_take(self):
        """Their view, made by hand: image pi(i), with the generator of i."""
        config = config_of()
        data = load_data(config, others=[PARTNERS])
        images, pi = data.train.images, partners_of(data.train.images.labels, config.stream)
        dataset = ViewLoader(images, data.train.view, seed=0, batch_size=1)._loader.dataset
        pairs = list(zip(data.train.epoch(3), data.others[PARTNERS].epoch(3), strict=True))
        for (index, _, labels), (same_index, views, same_labels) in pairs:
            assert torch.equal(index, same_index) and torch.equal(labels, same_labels)
            for k, view in zip(index.tolist(), views, strict=True):
                dataset.seed = config.stream
                expected = data.train.view(images.image(pi[k]), dataset._draws((3, k)))
                assert torch.equal(view, expected)

    def test_they_are_made_only_where_somebody_asks(self):
        assert not load_data(config_of()).others

    def test_images_may_not_be_left_out(self):
        with pytest.raises(UserError, match="use --on-bad-image error"):
            load_data(config_of(on_bad_image="skip"), others=[PARTNERS])


def net(seed):
    torch.manual_seed(seed)
    return build_model("resnet8", 10)


@pytest.fixture
def loaders(few_images):
    """Of 40 images, and of their partners."""
    return [
        ViewLoader(images, cifar_view("weak", IMAGE_SIZE), seed=0, batch_size=40)
        for images in (few_images, few_images.subset(partners_of(few_images.labels, 1)))
    ]


class TestStep:
    """One step on one batch, with the teachers' answers worked out apart."""

    def step(self, loaders, share, **settings):
        teachers = Teachers(("T1w", "T2w"), FrozenTeachers([net(1), net(2)]), ({},) * 2)
        learner = learner_of(net(0), cell="T1w_T2w_Sw", shuffle_teachers=share, **settings)
        learner.start_epoch(0)
        bar = Progress("", total=1, done=0, logs=[], silent=True)
        partners = {PARTNERS: loaders[1].epoch(0)} if share else {}
        (sums,) = train_epoch([learner], loaders[0].epoch(0), teachers, ON_CPU, bar, partners)
        return learner, sums.means()

    def answers(self, loaders):
        """Of both teachers to the images, then to the partners: twice (2, 40, 10)."""
        given = [CIFAR_STATISTICS.normalise(next(loader.epoch(0))[1]) for loader in loaders]
        return [torch.stack([net(seed).eval()(own) for seed in (1, 2)]).detach() for own in given]

    @pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
    def test_the_loss_is_of_the_answers_about_the_partners_drawn(self, loaders, share):
        learner, means = self.step(loaders, share, ce_weight=0.0, temperature=2.0)
        index = torch.arange(40)
        drawn = learner._shuffled(index) if 0 < share < 1 else torch.full((40,), share == 1)
        assert 10 < drawn.sum() < 30 or share != 0.5
        about_images, about_partners = self.answers(loaders)
        taught = torch.where(drawn[:, None], about_partners, about_images)
        student = net(0).train()(CIFAR_STATISTICS.normalise(next(loaders[0].epoch(0))[1]))
        p, q = (taught / 2).softmax(-1), (student / 2).softmax(-1)
        expected = (p * (p.log() - q.log())).sum(-1).mean()
        assert means["distillation"] == pytest.approx(expected.item(), rel=1e-4)
        agreement = (taught[0].argmax(-1) == student.argmax(-1)).double().mean().item()
        assert means["fidelity_T1w"] == pytest.approx(agreement)

    def test_who_is_drawn_is_a_function_of_stream_epoch_and_index(self):
        learner, other = (
            learner_of(net(0), cell="T1w_Sw", seed=s, shuffle_teachers=0.4) for s in (1, 2)
        )
        index = torch.arange(2000)
        for one in (learner, other):
            one.start_epoch(1)
        drawn = learner._shuffled(index)
        assert drawn.double().mean().item() == pytest.approx(0.4, abs=0.04)
        assert torch.equal(learner._shuffled(index.flip(0)), drawn.flip(0))
        assert not torch.equal(other._shuffled(index), drawn)
        learner.start_epoch(2)
        assert not torch.equal(learner._shuffled(index), drawn)

    def test_maps_are_replaced_as_the_logits_are(self):
        own, other = (
            Answers(
                ("T1w",),
                torch.full((1, 2, 3), x),
                (Maps((torch.full((2, 1, 1, 1), x),), torch.full((2, 3, 1, 1), x)),),
            )
            for x in (0.0, 1.0)
        )
        mixed = own.replaced(other, torch.tensor([False, True]))
        assert mixed.logits[0, :, 0].tolist() == [0, 1]
        (maps,) = mixed.maps
        for found in (maps.classes, *maps.features):
            assert found[:, 0, 0, 0].tolist() == [0, 1]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Two teachers, and a placebo."""
    folder = tmp_path_factory.mktemp("partners")
    (folder / "tiny.yaml").write_text(TINY)
    bench = Bench(folder / "runs", folder / "tiny.yaml")
    for cell in ("T1w", "T2w"):
        bench.teacher(cell, *FEW)
    return bench


class TestRuns:
    def test_students_with_and_without_shuffling_are_as_alone(self, bench, teachers_asked):
        """Views, partners' views and answers are made once for those who ask."""
        plain = StudentConfig(cell="T1w_T2w_Sw", **read_recipe(bench.recipe, StudentConfig))
        settings = ({}, {"shuffle_teachers": 1.0}, {"shuffle_teachers": 0.3}, {"ce_weight": 0.0})
        shared = {
            "dataset": DATASET, "epochs": 2, "max_train_images": 300, "max_test_images": 40,
            "output_dir": str(bench.folder),
        }  # fmt: skip
        configs = [
            dataclasses.replace(plain, cell=f"T1w_T2w_Sw+{k}", **shared, **own)
            for k, own in enumerate(settings)
        ]
        for config in configs:
            train_each([[config]], train_together)
        runs = [bench.run(config.cell, 1) for config in configs]
        alone = [result(run) for run in runs]
        assert not any(same(alone[0]["weights"], other["weights"]) for other in alone[1:])
        teachers_asked.clear()
        (group,) = side_by_side([dataclasses.replace(own, resume="never") for own in configs])
        train_each([group], train_together)
        assert all(map(same, map(result, runs), alone))
        epochs, test = 2, 1  # a batch each; in training the images' and the partners'
        assert teachers_asked == [2] * (2 * epochs + test)

    def test_validation_is_about_the_images_themselves(self, bench):
        """With all weight on the labels the student is the same, and so is its validation."""
        flags = (*FEW, "--ce-weight", 1)
        own = bench.student("T1w_Sw+own", *flags)
        shuffled = bench.student("T1w_Sw+others", *flags, "--shuffle-teachers", 1)
        assert same(weights(own), weights(shuffled))
        for a, b in zip(records(own), records(shuffled), strict=True):
            assert {**a["validation"], "loss": 0} == {**b["validation"], "loss": 0}
            name = "kl_T1w_to_student_nats"
            assert a["train"][name] != b["train"][name]

    def test_a_placebo_is_held_to_the_maps_of_the_partners(self, bench):
        flags = (*FEW, "--beside", "T1w", "--map-correlation", 0.95)
        held = bench.teacher("T2w+r95", *flags)
        placebo = bench.teacher("T2w+placebo95", *flags, "--map-placebo")
        assert not same(weights(held), weights(placebo))
        recorded = json.loads(placebo.environment.read_text())["teachers"]
        assert recorded == json.loads(held.environment.read_text())["teachers"]

    def test_a_run_without_teachers_shuffles_nothing(self, bench):
        flags = (*FEW, "--epochs", 1)
        own, shuffled = (bench.student(f"Sw+{s}", *flags, "--shuffle-teachers", s) for s in (0, 1))
        assert same(weights(own), weights(shuffled))
        assert StudentConfig(cell="Sw", shuffle_teachers=1.0).shuffled_share == 0
        assert TeacherConfig(cell="T1w").shuffled_share == 0

    @pytest.mark.parametrize(
        ("program", "cell", "flags", "message"),
        [
            (train_student, "T1w_Sw+x", ("--shuffle-teachers", 1.5), "is 1.5: at least 0 and at"),
            (
                train_student, "T1w_Sw+x",
                ("--shuffle-teachers", 1, "--max-train-images", 100), "has one training image",
            ),
            (
                train_teacher, "T2w+x",
                ("--beside", "T1w", "--map-placebo", "--on-bad-image", "skip"), "every image",
            ),
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_one_line(self, bench, capsys, program, cell, flags, message):
        assert run_program(program.main, bench.flags(cell, *FEW, *flags)) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not bench.run(cell, 1).path.exists()
