import math

import pytest
import torch
from conftest import learner_of

from engine.schedule import learning_rate_factors

WARMUP = [1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8, 1.0]


@pytest.mark.parametrize(
    ("epochs", "milestones", "expected"),
    [  # the published schedules: warm-up, then a factor for each stretch of epochs
        (61, [25, 40, 60], WARMUP + 17 * [1] + 15 * [0.1] + 20 * [0.01] + 1 * [0.001]),
        (61, [55], WARMUP + 47 * [1] + 6 * [0.1]),
        (200, [190, 195], WARMUP + 182 * [1] + 5 * [0.1] + 5 * [0.01]),
        (
            175,
            [160, 165, 170],
            WARMUP + 152 * [1] + 5 * [0.1] + 5 * [0.01] + 5 * [0.001],
        ),
    ],
)
def test_every_epoch_of_the_published_multistep_schedules(epochs, milestones, expected):
    factors = learning_rate_factors("multistep", epochs, milestones=milestones, warmup_epochs=8)
    assert factors == pytest.approx(expected)


def test_cosine_without_warmup_is_torchs():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=60)
    expected = []
    for _ in range(60):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert learning_rate_factors("cosine", 60) == pytest.approx(expected)


def test_cosine_after_warmup():
    factors = learning_rate_factors("cosine", 4, warmup_epochs=2)
    assert factors == pytest.approx([0.5, 1.0, 1.0, (1 + math.cos(math.pi / 2)) / 2])


def test_a_warmup_longer_than_the_run():
    assert learning_rate_factors("cosine", 2, warmup_epochs=8) == pytest.approx([1 / 8, 2 / 8])


def test_the_rate_is_set_before_the_epochs_first_step():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    learner = learner_of(model, lr=2.0, momentum=0.0, epochs=4, warmup_epochs=4)
    assert learner.start_epoch(0) == 0.5
    learner.step(model(torch.ones(1, 1)).sum())  # gradient 1, so the step is the rate
    assert model.weight.item() == -0.5
    assert learner.start_epoch(3) == 2.0
    learner.step(model(torch.ones(1, 1)).sum())
    assert model.weight.item() == -2.5
