"""MixUp and CutMix: the formulas, and training with them."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from conftest import ON_CPU, TINY, Bench, learner_of
from test_partners import loaders, net  # noqa: F401
from test_processes import CPU, loader, silent, together
from test_side_by_side import killed, result, same, several
from torchvision.transforms import v2

import train_student
import train_teacher
from common.errors import UserError, run_program
from common.random_streams import seeded_draws
from dataloader.mixing import CUTMIX, MIXES, MIXUP, Mix, cut, drawn_mix
from dataloader.views import CIFAR_STATISTICS
from engine.compute import Compute
from engine.config import StudentConfig, TeacherConfig
from engine.data import PARTNERS
from engine.loop import train_epoch
from engine.mixing import mixed, mixes_of
from engine.processes import ALONE
from engine.scheduling import side_by_side
from engine.teachers import Teachers
from losses.cross_entropy import CrossEntropy
from losses.loss import Minor, Seen
from models.frozen_teachers import FrozenTeachers

FEW = ("--max-train-images", 300, "--max-test-images", 20, "--epochs", 2, "--batch-size", 32)


class TestFormulas:
    def test_mixup_by_hand(self):
        mixed = Mix(0.25)(torch.full((1, 3, 2, 2), 4.0), torch.full((1, 3, 2, 2), 8.0))
        assert torch.equal(mixed, torch.full((1, 3, 2, 2), 5.0))

    def test_cutmix_by_hand(self):
        """A quarter of 8 x 8 pixels is a square of 4; at the corner a quarter of it is left."""
        assert cut(0.25, 4, 4, 8) == Mix(16 / 64, (2, 2, 6, 6))
        corner = cut(0.25, 0, 8, 8)
        assert corner == Mix(4 / 64, (0, 6, 2, 8))
        mixed = corner(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8))
        assert mixed.sum() == 3 * 4
        assert mixed[0, :, 6:, :2].eq(1).all()  # below, on the left

    @pytest.mark.parametrize(("how", "published"), [(MIXUP, v2.MixUp), (CUTMIX, v2.CutMix)])
    @pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
    def test_it_is_torchvisions_of_the_same_draws(self, how, published, alpha):
        images, labels = torch.randn(6, 3, 16, 16), torch.arange(6)
        for step in range(20):
            mix = drawn_mix(TeacherConfig(mix=how, mix_alpha=alpha), 16, 1, 2, step)
            with seeded_draws("mix", 1, 2, step):
                theirs, weights = published(alpha=alpha, num_classes=6)(images, labels)
            torch.testing.assert_close(mix(images, images.roll(1, 0)), theirs)
            ours = (1 - mix.share) * F.one_hot(labels) + mix.share * F.one_hot(labels.roll(1))
            torch.testing.assert_close(ours.float(), weights, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("alpha", [0.01, 1000])
    def test_every_alpha_admitted_gives_a_share(self, alpha):
        for how in (MIXUP, CUTMIX):
            config = TeacherConfig(mix=how, mix_alpha=alpha)
            assert all(0 <= drawn_mix(config, 8, k).share <= 1 for k in range(50))

    def test_a_share_of_the_batches(self):
        config = TeacherConfig(cell="T1w", mix=MIXUP, mix_probability=0.3)
        shares = [mix.share for mix in itertools.islice(mixes_of(config, 0), 400)]
        assert sum(share > 0 for share in shares) == pytest.approx(400 * 0.3, abs=30)

    def test_it_is_a_function_of_stream_epoch_and_step(self):
        def few(seed, epoch):
            config = StudentConfig(cell="Sw", seed=seed, mix=CUTMIX)
            return [*itertools.islice(mixes_of(config, epoch), 5)]

        assert few(1, 0) == few(1, 0)
        different = [*few(1, 0), *few(1, 1), *few(2, 0)]
        assert len(set(different)) == len(different)

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_each_label_has_its_images_share_of_the_cross_entropy(self, smoothing):
        """That to the mixed distributions, which torch knows by itself."""
        logits, labels, others = torch.randn(5, 4), torch.arange(5) % 4, torch.arange(5) % 3
        found = CrossEntropy(label_smoothing=smoothing)(
            Seen(logits, None, labels, minor=Minor(others, 0.3))
        )
        target = 0.7 * F.one_hot(labels, 4) + 0.3 * F.one_hot(others, 4)
        expected = F.cross_entropy(logits, target, label_smoothing=smoothing)
        torch.testing.assert_close(found, expected)


class TestStep:
    """A batch of 40, the answers and losses worked out apart."""

    @pytest.mark.parametrize("share", [0.2, 0.9])
    @pytest.mark.parametrize("shuffled", [False, True])
    def test_teachers_and_student_see_the_mixed_pixels(self, loaders, share, shuffled):  # noqa: F811
        teachers = Teachers(("T1w", "T2w"), FrozenTeachers([net(1), net(2)]), ({},) * 2)
        settings = {"temperature": 2.0, "shuffle_teachers": float(shuffled)}
        learner = learner_of(net(0), cell="T1w_T2w_Sw", **settings)
        learner.start_epoch(0)
        batches, partners = (each.epoch(0) for each in loaders)
        (sums,) = train_epoch(
            [learner],
            batches,
            teachers,
            ON_CPU,
            silent(),
            {PARTNERS: partners},
            iter([Mix(share)]),
        )
        means = sums.means()
        pictures, of_partners = (
            (1 - share) * given + share * given.roll(1, 0)
            for given in (CIFAR_STATISTICS.normalise(next(each.epoch(0))[1]) for each in loaders)
        )
        _, _, labels = next(loaders[0].epoch(0))
        asked = of_partners if shuffled else pictures
        p = torch.stack([(net(k).eval()(asked) / 2).softmax(-1) for k in (1, 2)])
        student = net(0).train()(pictures)
        kl = (p * (p.log() - (student / 2).log_softmax(-1))).sum(-1).mean()
        assert means["distillation"] == pytest.approx(kl.item(), rel=1e-4)
        target = (1 - share) * F.one_hot(labels) + share * F.one_hot(labels.roll(1))
        expected = F.cross_entropy(student, target).item()
        assert means["cross_entropy"] == pytest.approx(expected, rel=1e-4)
        larger = labels if share < 0.5 else labels.roll(1)
        right = (student.argmax(-1) == larger).float().mean().item()
        assert means["top1"] == pytest.approx(right)

    def test_a_box_is_of_the_image_before(self):
        views, labels = torch.randint(256, (40, 3, 16, 16)).byte(), torch.arange(40)
        images, own, minor = mixed((labels, views, labels), cut(0.25, 4, 4, 16), ON_CPU)
        plain = ON_CPU.inputs(views)
        assert torch.equal(images[1:, :, :8, :8], plain[:-1, :, :8, :8])
        assert torch.equal(images[0, :, :8, :8], plain[-1, :, :8, :8])
        assert torch.equal(images[..., 8:], plain[..., 8:])
        assert torch.equal(own, labels)
        assert torch.equal(minor.labels, labels.roll(1))
        assert minor.share == 0.25


def all_batches(ranks, folder):
    """What each process sees of an epoch's mixed batches, saved."""
    compute = Compute(CPU, "none", CIFAR_STATISTICS, ranks)
    seen, mixes = [], mixes_of(StudentConfig(cell="Sw", mix=CUTMIX, image_size=32), 0)
    for batch in loader(ranks, bad=True).epoch(0):
        if ranks.total(len(batch[0])):
            images, labels, minor = mixed(batch, next(mixes), compute)
            seen.append([images, labels, minor.labels])
    torch.save(seen, folder / f"seen{ranks.size}_{ranks.rank}.pt")


def test_processes_mix_the_same_images_as_one(tmp_path):
    """Some images are left out, and nothing is left of the last one for the other processes."""
    all_batches(ALONE, tmp_path)
    assert together(3, all_batches, tmp_path) == ([0] * 3, [])
    alone = torch.load(tmp_path / "seen1_0.pt", weights_only=True)
    parts = [torch.load(tmp_path / f"seen3_{rank}.pt", weights_only=True) for rank in range(3)]
    assert len(alone) == 4
    for whole, *shared in zip(alone, *parts, strict=True):
        for values, *own in zip(whole, *shared, strict=True):
            assert torch.equal(values, torch.cat(own))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Two teachers, one of them trained on mixed images."""
    folder = tmp_path_factory.mktemp("mixing")
    (folder / "tiny.yaml").write_text(TINY)
    bench = Bench(folder / "runs", folder / "tiny.yaml")
    bench.teacher("T1w", *FEW)
    bench.teacher("T1w+mixed", *FEW, "--mix", MIXUP, "--mix-alpha", 0.2)
    return bench


class TestRuns:
    @pytest.mark.parametrize("how", [MIXUP, CUTMIX])
    def test_a_run_killed_resumes_to_the_same_bits(self, bench, monkeypatch, how):
        """Alone, and side by side with another."""
        flags = (*FEW, "--mix", how)
        name, other = f"T1w_Sw+{how}", f"T1w+mixed_Sw+{how}"
        whole = result(bench.student(name, *flags))
        argv = several(bench, name, other, flags=flags)
        killed(monkeypatch, 3, lambda: train_student.main([*argv, "--resume", "never"]))
        train_student.main(argv)
        again = result(bench.run(name, 1))
        assert same(again["weights"], whole["weights"])
        assert same(again["records"], whole["records"])

    def test_a_teacher_is_trained_with_it_too(self, bench):
        plain, mixed = (result(bench.run(cell, 1)) for cell in ("T1w", "T1w+mixed"))
        assert not same(plain["weights"], mixed["weights"])

    def test_students_of_other_mixing_see_other_images(self):
        configs = [StudentConfig(cell=f"T1w_Sw+{how}", mix=how) for how in MIXES]
        configs += [StudentConfig(cell="T2w_Sw+mixup", mix=MIXUP, loss="dist")]
        groups = [[config.cell for config in group] for group in side_by_side(configs)]
        assert groups == [["T1w_Sw+none"], ["T1w_Sw+mixup", "T2w_Sw+mixup"], ["T1w_Sw+cutmix"]]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"loss": "decoupled"}, "--loss decoupled asks for the one label of an image"),
            ({"loss": "kl+class_map"}, "--loss class_map asks for the one label"),
            ({"combine": "confidence"}, "--combine confidence asks for the one label"),
        ],
    )
    def test_what_needs_one_label_is_refused(self, settings, message):
        StudentConfig(cell="T1w_T2w_Sw", **settings)
        with pytest.raises(UserError, match=message):
            StudentConfig(cell="T1w_T2w_Sw", mix=MIXUP, **settings)

    def test_a_map_of_the_teachers_class_may_be_learnt(self):
        StudentConfig(cell="T1w_Sw", mix=MIXUP, loss="class_map", map_class="teachers")

    @pytest.mark.parametrize(
        ("program", "flags", "message"),
        [
            (train_student, ["--mix", "blend"], "--mix"),
            (train_student, ["--mix", "mixup", "--mix-alpha", "0"], "--mix-alpha is 0.0: at least"),
            (train_student, ["--mix-probability", "0.5"], "are of --mix mixup or cutmix"),
            (train_teacher, ["--mix", "mixup", "--beside", "T2w"], "--mix makes images of two"),
        ],
    )
    def test_bad_settings_are_one_line(self, tiny_recipe, capsys, program, flags, message):
        cell = "T1w" if program is train_teacher else "T1w_Sw"
        argv = ["--dataset", "synthetic", "--cell", cell, "--recipe", str(tiny_recipe), *flags]
        assert run_program(program.main, argv) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
