"""Each loss: what its published implementation gives, cases worked by hand, and the edges."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from common.errors import UserError
from losses.attention_transfer import attention_transfer
from losses.class_map import ClassMap, map_cosine
from losses.decoupled import DecoupledKL, decoupled_kl
from losses.dist import dist
from losses.hard_label import teacher_label_cross_entropy
from losses.kl import softened_kl
from losses.logit_mse import logit_mse
from losses.loss import Maps, Seen
from losses.registry import LOSSES
from losses.standardised import standardised_kl

with np.load(Path(__file__).parent / "data" / "published_losses.npz") as arrays:
    GIVEN = {name: torch.from_numpy(arrays[name]) for name in arrays}
LABELS = GIVEN["labels"]
FEATURES = [f"feat_s{stage}" for stage in range(3)]
TEACHER_FEATURES = [GIVEN[f"feat_t{stage}"] for stage in range(3)]

kl = softened_kl
z = standardised_kl
dkd = partial(decoupled_kl, labels=LABELS)


def of_logits(loss, teachers=1, factor=1.0, **settings):
    """A loss as a function of the student's logits."""
    return lambda student: factor * loss(student, GIVEN["teachers"][:teachers], **settings)


def features(*student):
    return attention_transfer(student, TEACHER_FEATURES[: len(student)])


def maps(student):
    return map_cosine(student.squeeze(1), GIVEN["map_t"].squeeze(1))


# Computed with megvii-research/mdistiller (KD, DKD, AT), sunshangquan/logit-standardization-KD,
# hunto/image_classification_sota (DIST), jhoon-oh/kd_data (MSE), samuelstanton/gnosis (hard label),
# szagoruyko/attention-transfer, m-parchami/GoodTeachersExplain (cosine of maps),
# Rorozhl/CA-MKD (mean of losses): value, norm of the gradient, the student's side of the input.
PUBLISHED = {
    "KD T=1": (of_logits(kl, temperature=1), 1.7886469366935567, 0.14743513145292822),
    "KD T=3": (of_logits(kl, factor=9, temperature=3), 2.5809925491001806, 0.19216905408127213),
    "KD T=4": (of_logits(kl, factor=16, temperature=4), 2.6121558769390987, 0.19146267360507446),
    "KD T=10": (of_logits(kl, factor=100, temperature=10), 2.5971157521119266, 0.1843690816113276),
    "KD of 3 teachers": (
        of_logits(kl, teachers=3, factor=16, temperature=4),
        4.107941448033238,
        0.1978172170885893,
    ),
    "z-score T=2": (of_logits(z, temperature=2), 0.7275668802114694, 0.038250729368510164),
    "z-score T=4": (of_logits(z, temperature=4), 0.7447932357363072, 0.037348660166113865),
    "DKD 1 8 T=4": (
        of_logits(dkd, temperature=4, alpha=1, beta=8),
        20.82626842682176,
        1.5827647982053883,
    ),
    "DKD 1 2 T=4": (
        of_logits(dkd, temperature=4, alpha=1, beta=2),
        5.5550215090126684,
        0.4035475730371917,
    ),
    "DKD 1 .5 T=1": (
        of_logits(dkd, temperature=1, alpha=1, beta=0.5),
        1.4569456412728943,
        0.12932563106228911,
    ),
    "DKD 1 0 T=4": (
        of_logits(dkd, temperature=4, alpha=1, beta=0),
        0.46460586974297174,
        0.10276710986540283,
    ),
    "DKD 0 1 T=4": (
        of_logits(dkd, temperature=4, alpha=0, beta=1),
        2.5452078196348484,
        0.19819104147637748,
    ),
    "DIST 1 1 T=4": (
        of_logits(dist, temperature=4, beta=1, gamma=1),
        25.662275522288674,
        1.392556896252663,
    ),
    "DIST 1 1 T=1": (
        of_logits(dist, temperature=1, beta=1, gamma=1),
        1.333307962586843,
        0.15245035873534762,
    ),
    "DIST 1 0 T=4": (
        of_logits(dist, temperature=4, beta=1, gamma=0),
        12.071722529408174,
        0.7288389223221877,
    ),
    "DIST 0 1 T=4": (
        of_logits(dist, temperature=4, beta=0, gamma=1),
        13.5905529928805,
        0.7596072295831922,
    ),
    "MSE": (of_logits(logit_mse), 5.319239399203285, 0.3646655796480964),
    "hard label": (
        of_logits(teacher_label_cross_entropy),
        2.162155636023447,
        0.21484090243289536,
    ),
    "attention": (features, 0.1331161588656515, 0.02126484648968793, FEATURES),
    "attention, first": (features, 0.011977620943977425, 0.0006204812957458814, FEATURES[:1]),
    "maps": (maps, 0.9737917298025233, 0.06567553490309672, ["map_s"]),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_is_the_published_one(name):
    loss, value, norm, *names = PUBLISHED[name]
    inputs = [GIVEN[each].clone().requires_grad_() for each in (names[0] if names else ["student"])]
    found = loss(*inputs)
    found.backward()
    assert found.item() == pytest.approx(value, rel=2e-6)
    gradient = torch.cat([each.grad.flatten() for each in inputs])
    assert gradient.norm().item() == pytest.approx(norm, rel=2e-6)


LOGIT_LOSSES = {
    "kl": partial(softened_kl, temperature=3.0),
    "standardised": partial(standardised_kl, temperature=2.0),
    "decoupled": lambda s, t: decoupled_kl(
        s, t, LABELS[: len(s)], temperature=4.0, alpha=1.0, beta=8.0
    ),
    "dist": partial(dist, temperature=4.0, beta=1.0, gamma=1.0),
    "logit_mse": logit_mse,
    "hard_label": teacher_label_cross_entropy,
}


@pytest.mark.parametrize("loss", LOGIT_LOSSES.values(), ids=LOGIT_LOSSES)
class TestLogits:
    def test_of_several_teachers_it_is_the_mean_of_each(self, loss):
        student, teachers = GIVEN["student"], GIVEN["teachers"]
        each = torch.stack([loss(student, teacher[None]) for teacher in teachers])
        torch.testing.assert_close(loss(student, teachers), each.mean())

    def test_it_computes_in_float32(self, loss):
        student, teachers = GIVEN["student"].bfloat16(), GIVEN["teachers"].bfloat16()
        found = loss(student, teachers)
        assert found.dtype == torch.float32
        assert found == loss(student.float(), teachers.float())

    @pytest.mark.parametrize("size", [1e3, 1e30])
    def test_it_is_finite_where_a_softmax_is_0(self, loss, size):
        student = GIVEN["student"].sign().mul(size if loss is not logit_mse else 1e3)
        student.requires_grad_()
        found = loss(student, -student.detach()[None])
        found.backward()
        assert found.isfinite()
        assert student.grad.isfinite().all()

    def test_constant_logits_have_a_finite_gradient(self, loss):
        """As a net's whose head starts at 0."""
        student = torch.zeros(16, 10, requires_grad=True)
        found = loss(student, GIVEN["teachers"])
        found.backward()
        assert found.isfinite()
        assert student.grad.isfinite().all()
        assert student.grad.abs().max() < 1e7

    @pytest.mark.parametrize(
        ("student", "teachers"),
        [((4, 5), (4, 5)), ((4, 5), (0, 4, 5)), ((4, 5), (1, 4, 6)), ((5,), (1, 5))],
    )
    def test_shapes_that_do_not_fit_are_named(self, loss, student, teachers):
        with pytest.raises(ValueError, match=r"must be \(K, B, C\)|must be \(B, C\)"):
            loss(torch.zeros(student), torch.zeros(teachers))


class TestByHand:
    def test_standardised_logits_forget_scale_and_shift(self):
        student, teachers = GIVEN["student"], GIVEN["teachers"]
        same = standardised_kl(5 * teachers[0] - 3, teachers[:1], temperature=2.0)
        assert same.item() == pytest.approx(0, abs=1e-6)
        moved = standardised_kl(student * 7 + 2, teachers, temperature=2.0)
        torch.testing.assert_close(moved, standardised_kl(student, teachers, temperature=2.0))

    def test_the_two_parts_of_kl(self):
        """KL = KL(b) + (1 - p_y of the teacher) KL(n): equation 6 of the paper."""
        student, teacher = torch.tensor([[0.3, -1.0, 2.0]]), torch.tensor([[[1.0, 0.5, -0.5]]])
        labels = torch.tensor([2])
        parts = partial(decoupled_kl, student, teacher, labels, temperature=1.0)
        rest = 1 - teacher.softmax(-1)[0, 0, 2]
        whole = parts(alpha=1.0, beta=0.0) + rest * parts(alpha=0.0, beta=1.0)
        torch.testing.assert_close(whole, softened_kl(student, teacher, temperature=1.0))

    def test_a_sure_label_leaves_the_others_to_compare(self):
        student = torch.tensor([[300.0, 1.0, 0.0]], requires_grad=True)
        teacher = torch.tensor([[[300.0, 0.0, 1.0]]])
        found = decoupled_kl(
            student, teacher, torch.tensor([0]), temperature=1.0, alpha=1.0, beta=1.0
        )
        q = 1 / (1 + math.e)
        assert found.item() == pytest.approx((1 - 2 * q), rel=1e-6)  # the logits differ by 1
        found.backward()
        assert student.grad[0, 1:].abs().min() > 0.1

    def test_two_classes_have_no_others(self):
        with pytest.raises(UserError, match="decoupled is undefined for 2 classes"):
            decoupled_kl(
                torch.zeros(1, 2), torch.zeros(1, 1, 2), torch.zeros(1).long(),
                temperature=1.0, alpha=1.0, beta=1.0,
            )  # fmt: skip

    def test_dist_sees_correlation_alone(self):
        p = GIVEN["student"].softmax(-1)
        mixed = (0.5 * p + 0.5 * p.mean(0)).log()  # each class's column scaled and shifted
        found = dist(mixed, p.log()[None], temperature=1.0, beta=0.0, gamma=1.0)
        assert found.item() == pytest.approx(0, abs=1e-6)

    def test_each_teacher_has_its_own_hard_label(self):
        student = torch.tensor([[1.0, 2.0, 3.0]])
        teachers = torch.tensor([[[9.0, 0.0, 0.0]], [[0.0, 9.0, 0.0]]])
        expected = -student.log_softmax(-1)[0, :2].mean()
        torch.testing.assert_close(teacher_label_cross_entropy(student, teachers), expected)

    def test_squares_are_taken_after_pooling(self):
        ones = torch.tensor([[[[1.0, -1.0], [1.0, 1.0]]]]).repeat(1, 1, 1, 2)  # (1, 1, 2, 4)
        small = torch.tensor([[[[3.0, 4.0]]]])
        found = attention_transfer([small], [ones])
        pooled = torch.tensor([0.5, 0.5]) ** 2
        expected = (F.normalize(torch.tensor([9.0, 16.0]), dim=0) - F.normalize(pooled, dim=0)) ** 2
        torch.testing.assert_close(found, expected.mean())

    def test_dead_features_have_no_gradient(self):
        dead = torch.zeros(2, 3, 4, 4, requires_grad=True)
        attention_transfer([dead], [torch.ones(2, 3, 4, 4)]).backward()
        assert torch.equal(dead.grad, torch.zeros_like(dead))

    def test_nets_of_other_depths_are_refused(self):
        with pytest.raises(UserError, match="the student has 2, its teacher 1"):
            attention_transfer([torch.ones(1, 1, 2, 2)] * 2, [torch.ones(1, 1, 2, 2)])

    def test_maps_of_two_sizes(self):
        large = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]])
        assert map_cosine(torch.tensor([[[2.0, 0.0]]]), large).item() == pytest.approx(0)
        assert map_cosine(torch.tensor([[[0.0, 2.0]]]), large).item() == pytest.approx(1)
        assert map_cosine(torch.tensor([[[-1.0, 0.0]]]), large).item() == pytest.approx(2)
        with pytest.raises(ValueError, match=r"maps must be \(B, h, w\)"):
            map_cosine(torch.ones(2, 3, 3), torch.ones(1, 3, 3))

    def test_an_empty_map_has_no_gradient(self):
        empty = torch.zeros(2, 3, 3, requires_grad=True)
        found = map_cosine(empty, torch.ones(2, 3, 3))
        found.backward()
        assert found == 1
        assert empty.grad.isfinite().all()

    @pytest.mark.parametrize(("of", "chosen"), [("label", [1, 0]), ("teachers", [2, 2])])
    def test_whose_map(self, of, chosen):
        """Of the class, minus the mean of all classes."""
        torch.manual_seed(0)
        own, theirs = torch.randn(2, 3, 2, 2), torch.randn(2, 2, 3, 4, 4)
        logits = torch.tensor([[[9.0, 0.0, 8.0]] * 2, [[0.0, 9.0, 8.0]] * 2])  # means 4.5 4.5 8
        teacher_maps = tuple(Maps(classes=each) for each in theirs)
        labels = torch.tensor([1, 0])
        seen = Seen(torch.zeros(2, 3), logits, labels, Maps(classes=own), teacher_maps)
        rows = torch.arange(2)
        expected = [
            map_cosine((own - own.mean(1, True))[rows, chosen],
                       (each - each.mean(1, True))[rows, chosen])
            for each in theirs
        ]  # fmt: skip
        torch.testing.assert_close(ClassMap(map_class=of)(seen), torch.stack(expected).mean())


@pytest.mark.parametrize("sides", [(1, 4), (4, 1), (1, 1)])
def test_maps_of_a_single_place_are_refused(sides):
    """Of the student or of a teacher: pooled to one place any two are alike."""
    student, teacher = (Maps(classes=torch.rand(2, 3, side, side)) for side in sides)
    seen = Seen(torch.zeros(2, 3), torch.zeros(1, 2, 3), torch.zeros(2).long(), student, (teacher,))
    with pytest.raises(UserError, match="maps of the student or a teacher have a single one"):
        ClassMap()(seen)


def test_the_registry_has_them_with_their_published_weights():
    weights = {name: loss.published_weight for name, loss in LOSSES.items()}
    assert weights == {
        "kl": None,
        "standardised": 9.0,
        "decoupled": 1.0,
        "dist": 2.0,
        "logit_mse": 1.0,
        "hard_label": None,
        "attention": 1000.0,
        "class_map": 1.0,
    }


def test_decoupled_grows_over_its_first_epochs():
    loss = DecoupledKL()
    assert [loss.ramp(epoch) for epoch in (0, 1, 9, 19, 20, 300)] == [0.05, 0.1, 0.5, 1, 1, 1]
    assert DecoupledKL(decoupled_ramp=0).ramp(0) == 1
    assert LOSSES["kl"]().ramp(0) == 1
