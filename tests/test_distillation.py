import math

import pytest
import torch
import torch.nn.functional as F

from losses.distillation import distillation_loss
from losses.kl import SoftenedKL
from losses.loss import Seen


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def softened_kl(student, teachers, *, temperature):
    seen = Seen(student, teachers, torch.zeros(len(student)).long())
    return SoftenedKL(temperature=temperature)(seen)


def test_hand_worked_case():
    # Student (1/2, 1/2); the teacher's odds at temperature 2 are exp(ln 9 / 2) = 3 to 1.
    student = torch.zeros(1, 2)
    teacher = torch.tensor([[[math.log(9.0), 0.0]]])
    kl = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    expected = 0.6 * math.log(2) + 0.4 * 4 * kl
    loss = distillation_loss(student, teacher, torch.tensor([0]), temperature=2.0, ce_weight=0.6)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_mean_over_batch_and_teachers_by_a_second_route():
    student, teachers = draw(5, 7), draw(3, 5, 7, seed=1)
    labels = torch.arange(5)
    p = torch.softmax(teachers / 3, -1)
    q = torch.softmax(student / 3, -1)
    kl = sum((p[k, b] * (p[k, b] / q[b]).log()).sum() for k in range(3) for b in range(5)) / 15
    expected = 0.6 * F.cross_entropy(student, labels) + 0.4 * 9 * kl
    actual = distillation_loss(student, teachers, labels, temperature=3.0, ce_weight=0.6)
    torch.testing.assert_close(actual, expected)


def test_limits_of_the_weight():
    student, teachers, labels = draw(4, 6), draw(2, 4, 6, seed=1), torch.tensor([0, 1, 2, 3])
    hard = distillation_loss(student, teachers, labels, temperature=3.0, ce_weight=1.0)
    torch.testing.assert_close(hard, F.cross_entropy(student, labels))
    soft = distillation_loss(student, teachers, labels, temperature=3.0, ce_weight=0.0)
    torch.testing.assert_close(soft, 9 * softened_kl(student, teachers, temperature=3.0))


def test_gradient_at_the_teachers_own_logits_is_the_labels_part_alone():
    student = draw(4, 6).requires_grad_()
    labels = torch.tensor([5, 4, 3, 2])
    teachers = student.detach().expand(2, -1, -1)
    loss = distillation_loss(student, teachers, labels, temperature=3.0, ce_weight=0.6)
    (actual,) = torch.autograd.grad(loss, student)
    (hard,) = torch.autograd.grad(0.6 * F.cross_entropy(student, labels), student)
    torch.testing.assert_close(actual, hard, atol=1e-7, rtol=1e-5)


def test_the_temperature_squared_keeps_the_size_of_the_gradient():
    # For T -> infinity the soft gradient tends to (student - teacher) / C, for centred logits.
    student = draw(1, 4).requires_grad_()
    teacher = draw(1, 1, 4, seed=1)
    loss = distillation_loss(student, teacher, torch.tensor([0]), temperature=1000.0, ce_weight=0.0)
    (gradient,) = torch.autograd.grad(loss, student)
    difference = (student - student.mean()) - (teacher[0] - teacher[0].mean())
    torch.testing.assert_close(gradient, difference.detach() / 4, atol=2e-3, rtol=0.02)


def test_only_the_student_gets_a_gradient_scaled_by_the_batch_not_the_classes():
    student, teachers = draw(8, 100), draw(1, 8, 100, seed=1)
    one = softened_kl(student[:1], teachers[:, :1], temperature=1.0)
    torch.testing.assert_close(
        softened_kl(student[:1].repeat(8, 1), teachers[:, :1].repeat(1, 8, 1), temperature=1.0), one
    )


@pytest.mark.parametrize(
    ("student", "teachers", "labels"),
    [
        ((4, 6), (4, 6), (4,)),
        ((4, 6), (0, 4, 6), (4,)),
        ((4, 6), (1, 4, 5), (4,)),
        ((4, 6), (1, 4, 6), (3,)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(student, teachers, labels):
    with pytest.raises(ValueError, match="must be"):
        distillation_loss(
            torch.zeros(student),
            torch.zeros(teachers),
            torch.zeros(labels, dtype=torch.long),
            temperature=3.0,
            ce_weight=0.6,
        )
