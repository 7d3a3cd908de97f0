"""A teacher whose attention maps are held to those of another one."""

import json

import numpy as np
import pytest
import torch
from conftest import TINY, Bench, inputs
from test_side_by_side import result, same, several
from test_training import records, weights

import train_teacher
from common.errors import UserError, run_program
from common.files import sha256
from dataloader.datasets import load_split
from engine.checkpoint import load_model
from engine.config import TeacherConfig
from engine.objectives import objective_of
from losses.loss import Maps, Seen
from losses.map_correlation import MapCorrelation, correlation, label_map
from metrics.attention import class_activation_map, select_maps
from models.frozen_teachers import FrozenTeachers

FEW = ("--max-train-images", 100, "--max-test-images", 40, "--epochs", 2)
BESIDE = ("--beside", "T1w", "--map-correlation", 0.5, "--map-weight", 2)


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestCorrelation:
    def test_of_a_case_worked_by_hand(self):
        """(1, 2, 3, 6) - 3 and (0, 1, 1, 2) - 1: 5 / sqrt(14 * 2)."""
        a, b = torch.tensor([[[1.0, 2], [3, 6]]]), torch.tensor([[[0.0, 1], [1, 2]]])
        torch.testing.assert_close(correlation(a, b), torch.tensor([5 / 28**0.5]))

    def test_is_numpys_of_each_image_whatever_scale_and_shift(self):
        a, b = maps(5, 4, 3), 1e-4 * maps(5, 4, 3, seed=1) + 1e-3
        expected = [np.corrcoef(x.flatten(), y.flatten())[0, 1] for x, y in zip(a, b, strict=True)]
        np.testing.assert_allclose(correlation(a, b), expected, atol=1e-5)
        torch.testing.assert_close(correlation(a, -3 * a + 7), -torch.ones(5))

    @pytest.mark.parametrize("value", [0.0, 0.1, -1e5])
    def test_of_a_constant_map_is_0_and_its_gradient_finite(self, value):
        a, b = torch.full((1, 7, 7), value, requires_grad=True), maps(1, 7, 7)
        assert correlation(a, b).item() == correlation(b, a).item() == 0
        (correlation(a, b) - 0.5).square().sum().backward()
        assert torch.equal(a.grad, torch.zeros(1, 7, 7))

    def test_its_gradient_is_that_of_finite_differences(self):
        a, b = maps(3, 2, 3).double().requires_grad_(), maps(3, 2, 3, seed=1).double()
        assert torch.autograd.gradcheck(lambda own: correlation(own, b), a)


class TestLoss:
    def seen(self, own, reference, labels):
        count, classes = own.shape[:2]
        logits = torch.zeros(1, count, classes)
        return Seen(
            torch.zeros(count, classes), logits, labels, Maps((), own), (Maps((), reference),)
        )

    def test_maps_are_of_the_label_with_the_mean_over_classes_removed(self):
        own, labels = maps(6, 4, 3, 3), torch.tensor([0, 3, 1, 2, 2, 0])
        torch.testing.assert_close(label_map(Maps((), own), labels), select_maps(own, labels))

    def test_it_is_the_mean_squared_distance_from_the_dose(self):
        own, other, labels = maps(4, 3, 2, 2), maps(4, 3, 2, 2, seed=1), torch.tensor([0, 1, 2, 0])
        found = [
            np.corrcoef(*(select_maps(x, labels)[k].flatten() for x in (own, other)))[0, 1]
            for k in range(4)
        ]
        loss = MapCorrelation(map_correlation=0.25)(self.seen(own, other, labels))
        assert loss.item() == pytest.approx(np.mean([(r - 0.25) ** 2 for r in found]), abs=1e-5)

    def test_the_objective_adds_it_to_the_labels_with_its_weight(self):
        config = TeacherConfig(cell="T2w", beside="T1w", map_correlation=-1, map_weight=3)
        seen = self.seen(own := maps(4, 3, 2, 2), own, torch.zeros(4).long())
        terms = objective_of(config)(seen)
        assert terms["map_correlation"].item() == pytest.approx(4)
        assert terms["loss"].item() == pytest.approx(np.log(3) + 3 * 4)
        plain = objective_of(TeacherConfig(cell="T2w"))
        assert set(plain.terms) == {"cross_entropy"}
        assert not plain.needs

    def test_maps_of_other_sizes_are_refused(self):
        seen = self.seen(maps(1, 3, 2, 2), maps(1, 3, 4, 4), torch.tensor([0]))
        with pytest.raises(UserError, match="maps of 2x2 and 4x4 positions cannot be correlated"):
            MapCorrelation()(seen)


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """T1w, and T2w trained beside it and not; to be read, not changed."""
    folder = tmp_path_factory.mktemp("beside")
    (folder / "tiny.yaml").write_text(TINY)
    bench = Bench(folder / "runs", folder / "tiny.yaml")
    bench.teacher("T1w", *FEW)
    bench.teacher("T2w", *FEW)
    bench.teacher("T2w+r50", *FEW, *BESIDE)
    return bench


def mean_correlation(bench, cell):
    """With T1w, over test images of the checkpoints of both."""
    images = load_split("synthetic_imb10", "test", bench.folder, most=40)
    given, labels = inputs(images), torch.from_numpy(images.labels)
    models = [load_model(bench.run(c, 1).checkpoint("last"))[1] for c in ("T1w", cell)]
    return correlation(*(class_activation_map(m, given, target=labels) for m in models))


class TestTraining:
    def test_the_term_is_that_of_the_checkpoints(self, beside):
        last = records(beside.run("T2w+r50", 1))[-1]["validation"]
        expected = (mean_correlation(beside, "T2w+r50") - 0.5).square().mean().item()
        assert last["map_correlation"] == pytest.approx(expected, abs=1e-3)
        assert last["loss"] == pytest.approx(last["cross_entropy"] + 2 * expected, abs=5e-3)
        assert 0 <= last["fidelity_T1w"] <= 1

    def test_it_moves_the_weights_and_a_weight_of_0_does_not(self, beside):
        plain = weights(beside.run("T2w", 1))
        assert not same(weights(beside.run("T2w+r50", 1)), plain)
        flags = (*FEW, *BESIDE[:-1], 0)
        assert same(weights(beside.teacher("T2w+unweighted", *flags)), plain)

    def test_the_reference_is_recorded_and_stays_as_it_is(self, beside):
        run, reference = beside.run("T2w+r50", 1), beside.run("T1w", 1).checkpoint("last")
        recorded = json.loads(run.environment.read_text())["teachers"]
        assert recorded == {"T1w": {"file": str(reference), "sha256": sha256(reference)}}

    def test_teachers_of_one_number_learn_side_by_side(self, beside, monkeypatch):
        """As alone, and the reference answers once for all."""
        asked, genuine = [], FrozenTeachers.forward

        def count(self, images, **how):
            asked.append(len(self))
            return genuine(self, images, **how)

        monkeypatch.setattr(FrozenTeachers, "forward", count)
        expected = result(beside.run("T2w+r50", 1))
        flags = [*FEW, *BESIDE, "--resume", "never"]
        train_teacher.main(several(beside, "T2w+r50", "T2w+again", flags=map(str, flags)))
        assert same(result(beside.run("T2w+r50", 1)), expected)
        assert same(result(beside.run("T2w+again", 1))["weights"], expected["weights"])
        training, test = 1 * 2, 1  # batches; the test's: logits once, and maps in each epoch
        assert asked == [1] * (training + test + 2 * test)

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--beside", "T2w+wrong"], "--beside T2w+wrong is the teacher itself"),
            (["--beside", "Sw"], "unknown teacher cell 'Sw'"),
            (["--beside", "T3w"], "teacher T3w of T2w+wrong is missing"),
            (["--map-placebo"], "--map-placebo is of the maps of another teacher"),
            (["--map-correlation", "1.5"], "--map-correlation is 1.5: at least -1 and at most 1"),
            (["--beside", "T1w", "--arch", "mobilenet_v3_small"], "has a net without class maps"),
            (["--beside", "T1w", "--arch", "resnet18_small_stem"], "2x2 and 4x4 positions"),
        ],
    )
    def test_what_cannot_be_is_one_line(self, beside, capsys, flags, message):
        argv = beside.flags("T2w+wrong", *FEW, *flags)
        assert run_program(train_teacher.main, argv) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
