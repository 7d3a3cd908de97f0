"""Teachers that are asked about an image under their own view of it."""

import dataclasses

import pytest
import torch
from conftest import DATASET, IMAGE_SIZE, ON_CPU, TINY, Bench, learner_of
from test_mixing import FEW
from test_partners import config_of, net
from test_processes import silent
from test_side_by_side import result, same

import train_student
from common.errors import UserError
from dataloader.loader import ViewLoader
from dataloader.mixing import Mix
from dataloader.views import CIFAR_STATISTICS, cifar_view
from engine.config import StudentConfig
from engine.data import load_data
from engine.flags import read_recipe
from engine.loop import train_epoch
from engine.questions import questions_of, views_of
from engine.scheduling import side_by_side, train_each, train_together
from engine.teachers import Teachers
from models.frozen_teachers import FrozenTeachers


def test_only_another_view_is_another_question():
    config = StudentConfig(cell="T1w_T2s_Sw", teachers_see="own")
    assert [*questions_of(config)] == ["T1w", "T2s strong"]
    assert views_of(config) == {"T2s strong": "strong"}
    assert not views_of(StudentConfig(cell="T1w_T2s_Sw"))
    assert [*questions_of(StudentConfig(cell="T1w_T2s_Sw"))] == ["T1w", "T2s"]


def test_it_is_of_the_image_itself():
    with pytest.raises(UserError, match="leave --shuffle-teachers out"):
        StudentConfig(cell="T1s_Sw", teachers_see="own", shuffle_teachers=0.5)


def test_the_other_view_is_what_a_student_of_that_view_sees():
    """To the pixel, and in the same order: crop and flip are those of the student's own."""
    data = load_data(config_of("T1s_Sw", teachers_see="own"), others=["strong"])
    strong = load_data(config_of("T1s_Ss")).train.epoch(2)
    found = data.others["strong"].epoch(2)
    for batch, expected, plain in zip(found, strong, data.train.epoch(2), strict=True):
        assert all(map(torch.equal, batch, expected))
        assert torch.equal(batch[0], plain[0])
        assert not torch.equal(batch[1], plain[1])


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_each_teacher_answers_about_its_own_view(few_images, share):
    """Mixed as the student's, and in the order of the teachers; the loss worked out apart."""
    loaders = {
        view: ViewLoader(few_images, cifar_view(view, IMAGE_SIZE), seed=0, batch_size=40)
        for view in ("weak", "strong")
    }
    teachers = Teachers(("T2s strong", "T1w"), FrozenTeachers([net(2), net(1)]), ({},) * 2)
    learner = learner_of(net(0), cell="T1w_T2s_Sw", teachers_see="own", temperature=2.0)
    learner.start_epoch(0)
    batches, others = loaders["weak"].epoch(0), {"strong": loaders["strong"].epoch(0)}
    (sums,) = train_epoch(
        [learner], batches, teachers, ON_CPU, silent(), others, iter([Mix(share)])
    )
    given = [CIFAR_STATISTICS.normalise(next(own.epoch(0))[1]) for own in loaders.values()]
    seen = [(1 - share) * images + share * images.roll(1, 0) for images in given]
    answers = [net(k).eval()(own) for k, own in zip((1, 2), seen, strict=True)]
    p = (torch.stack(answers) / 2).softmax(-1)
    student = net(0).train()(seen[0])
    kl = (p * (p.log() - (student / 2).log_softmax(-1))).sum(-1).mean().item()
    means = sums.means()
    assert means["distillation"] == pytest.approx(kl, rel=1e-4)
    agreement = (answers[1].argmax(-1) == student.argmax(-1)).double().mean().item()
    assert means["fidelity_T2s"] == pytest.approx(agreement)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "tiny.yaml").write_text(TINY)
    bench = Bench(folder / "runs", folder / "tiny.yaml")
    bench.teacher("T1w", *FEW)
    bench.teacher("T2s", *FEW)
    return bench


def test_students_are_as_alone_and_each_question_is_asked_once(bench, monkeypatch):
    plain = StudentConfig(cell="T2s_Sw", **read_recipe(bench.recipe, StudentConfig))
    shared = {
        "dataset": DATASET, "epochs": 1, "batch_size": 32, "max_train_images": 300,
        "max_test_images": 20, "output_dir": str(bench.folder),
    }  # fmt: skip
    configs = [
        dataclasses.replace(plain, **shared, **own)
        for own in (
            {"cell": "T2s_Sw"},
            {"cell": "T2s_Sw+own", "teachers_see": "own"},
            {"cell": "T1w_T2s_Sw+own", "teachers_see": "own", "loss": "kl+class_map"},
        )
    ]
    for config in configs:
        train_each([[config]], train_together)
    runs = [bench.run(config.cell, 1) for config in configs]
    alone = [result(run) for run in runs]
    assert not same(alone[0]["weights"], alone[1]["weights"])
    asked, genuine = [], FrozenTeachers.forward

    def count(self, images, **how):
        asked.append(len(self))
        return genuine(self, images, **how)

    monkeypatch.setattr(FrozenTeachers, "forward", count)
    (group,) = side_by_side([dataclasses.replace(own, resume="never") for own in configs])
    train_each([group], train_together)
    assert all(map(same, map(result, runs), alone))
    assert asked == [2, 1] * 3 + [3]  # T2s and T1w, T2s about its view; at last the test


def test_a_teacher_of_the_students_view_is_asked_as_by_default(bench):
    flags = (*FEW, "--epochs", 1)
    plain = result(bench.student("T1w_Sw", *flags))
    train_student.main(bench.flags("T1w_Sw+own", *flags, "--teachers-see", "own"))
    assert same(plain["weights"], result(bench.run("T1w_Sw+own", 1))["weights"])
