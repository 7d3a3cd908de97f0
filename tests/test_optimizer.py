"""AdamW beside SGD: which weights decay, how long a step may be, and going on from a checkpoint."""

import copy
import math
from pathlib import Path

import pytest
import torch
from conftest import Bench, learner_of
from torch import nn

from common.errors import UserError
from engine.checkpoint import load
from engine.config import StudentConfig
from engine.optimizer import check_state, decay_groups, load_state, optimizer_of
from engine.schedule import learning_rate_factors
from losses.distillation import distillation_loss
from models.registry import build_model
from models.small_vit import small_vit

WHERE = Path("last.pt")
ADAMW = {"optimizer": "adamw", "lr": 0.1, "weight_decay": 0.5, "epochs": 1}


def stepped(model, **settings):
    """The learner after one step whose gradient is 3 for the first weight, 4 for the second."""
    learner = learner_of(model, **settings)
    learner.start_epoch(0)
    learner.step(model(torch.tensor([[3.0, 4.0]])).sum())
    return learner


def two_weights():
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    return model


def test_the_first_step_of_adamw_by_hand():
    """Both moments, corrected for their start, are the gradient and its square: a step of one
    rate, after the weights have lost rate times decay of themselves."""
    model = two_weights()
    stepped(model, **ADAMW)
    assert model.weight.tolist()[0] == pytest.approx([1 - 0.1 * 0.5 - 0.1] * 2)


def test_momentum_is_of_the_gradients_mean():
    learner = stepped(two_weights(), **ADAMW, momentum=0.8)
    assert learner.optimizer.param_groups[0]["betas"] == (0.8, 0.999)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_gradient_is_cut_to_the_largest_norm(optimizer):
    """(3, 4) has norm 5: cut to 1 it is (.6, .8)."""
    model = two_weights()
    settings = {"optimizer": optimizer, "lr": 1.0, "momentum": 0.0, "epochs": 1}
    learner = stepped(model, clip_norm=1.0, **settings)
    if optimizer == "sgd":
        assert model.weight.tolist()[0] == pytest.approx([0.4, 0.2])
    else:
        state = learner.optimizer.state_dict()["state"][0]
        assert state["exp_avg"].tolist()[0] == pytest.approx([0.6, 0.8])
    untouched = two_weights()
    stepped(untouched, clip_norm=5.1, **settings | {"optimizer": "sgd"})
    assert untouched.weight.tolist()[0] == [-2.0, -3.0]


def test_weights_of_layers_decay_and_nothing_else():
    model = small_vit(4, 10, 32)
    names = {id(own): name for name, own in model.named_parameters()}
    decayed, others = decay_groups(model, 0.05)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.05, 0.0)
    of = {names[id(own)] for own in others["params"]}
    assert {"class_token", "encoder.pos_embedding", "conv_proj.bias", "encoder.ln.weight"} <= of
    kept = {names[id(own)] for own in decayed["params"]}
    assert all(name.endswith("weight") for name in kept)
    assert {"conv_proj.weight", "heads.head.weight"} <= kept
    assert kept | of == set(names.values())


def test_sgd_decays_all_weights_alike_as_before():
    model = build_model("resnet8", 10)
    learner = learner_of(model, weight_decay=0.1, lr=0.3, momentum=0.7)
    expected = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.7, weight_decay=0.1)
    assert learner.optimizer.state_dict() == expected.state_dict()


def test_a_cosine_of_a_period_of_its_own_is_torchs():
    """The published weak teachers of ImageNet: it falls for 30 epochs and rises for 30."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30, eta_min=0.02)
    expected = []
    for _ in range(60):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    learner = learner_of(
        two_weights(), schedule="cosine", epochs=60, cosine_period=30, cosine_end=0.02
    )
    assert learner.rates == pytest.approx(expected)


def test_equation_8_of_the_paper_is_half_of_it_at_twice_the_rate():
    """CE + T^2 KL at a rate, and half of it, a weight of .5 on both, at two rates."""
    images, taught, labels = torch.randn(8, 5), torch.randn(2, 8, 3), torch.arange(8) % 3
    p = (taught / 10).softmax(-1)

    def equation_8(logits):
        kl = (p * (p.log() - (logits / 10).log_softmax(-1))).sum(-1).mean()
        return nn.functional.cross_entropy(logits, labels) + 100 * kl

    def ours(logits):
        return distillation_loss(logits, taught, labels, temperature=10.0, ce_weight=0.5)

    weights = []
    for loss, rate in ((equation_8, 0.1), (ours, 0.2)):
        torch.manual_seed(0)
        model = nn.Linear(5, 3)
        learner = learner_of(model, lr=rate, epochs=1)
        learner.start_epoch(0)
        for _ in range(3):
            learner.step(loss(model(images)))
        weights.append(model.weight)
    torch.testing.assert_close(*weights)


def test_without_one_it_is_the_cosine_of_before_to_the_bit():
    before = [(1 + math.cos(math.pi * epoch / 7)) / 2 for epoch in range(7)]
    assert learning_rate_factors("cosine", 7) == before


class TestSavedStates:
    @pytest.fixture
    def adamw(self):
        return stepped(two_weights(), **ADAMW).optimizer

    def test_its_own_is_taken(self, adamw):
        check_state(adamw, adamw.state_dict(), WHERE)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda state: state.pop("step"),
            lambda state: state.pop("exp_avg_sq"),
            lambda state: state.update(exp_avg=torch.ones(1, 3)),
            lambda state: state.update(exp_avg=torch.full((1, 2), math.nan)),
            lambda state: state.update(exp_avg_sq=torch.full((1, 2), -1.0)),
            lambda state: state.update(step=torch.tensor(-1.0)),
            lambda state: state.update(step=torch.ones(2)),
            lambda state: state.update(step="1"),
        ],
    )
    def test_a_damaged_one_is_refused(self, adamw, damage):
        saved = copy.deepcopy(adamw.state_dict())
        damage(saved["state"][0])
        with pytest.raises(UserError, match=r"last\.pt, momentum 0 "):
            check_state(adamw, saved, WHERE)

    def test_each_refuses_the_others(self, adamw):
        settings = {"lr": 0.1, "weight_decay": 0.5, "epochs": 1}
        sgd = stepped(two_weights(), **settings).optimizer
        with pytest.raises(UserError):
            check_state(adamw, sgd.state_dict(), WHERE)
        changed = optimizer_of(two_weights(), StudentConfig(cell="Sw", **ADAMW | {"momentum": 0.5}))
        with pytest.raises(UserError, match="another optimiser"):
            check_state(changed, adamw.state_dict(), WHERE)

    def test_of_another_device_it_takes_this_ones_kernel(self, adamw):
        saved = copy.deepcopy(adamw.state_dict())
        saved["param_groups"][0]["fused"] = True
        load_state(adamw, saved, None)
        assert adamw.param_groups[0]["fused"] is None
        assert saved["param_groups"][0]["fused"] is True


class KilledError(Exception):
    pass


def test_an_interrupted_run_of_adamw_ends_in_the_same_bits(tmp_path, tiny_recipe, monkeypatch):
    import engine.checkpoint

    flags = ("--optimizer", "adamw", "--lr", 0.003, "--weight-decay", 0.05, "--clip-norm", 1)
    few = ("--max-train-images", 96, "--max-test-images", 16, "--batch-size", 16)
    whole = Bench(tmp_path / "whole", tiny_recipe).student("Sw", *flags, *few)
    expected = load(whole.checkpoint("last"))[1]
    genuine, calls = engine.checkpoint.save, []

    def kill(path, *args):
        calls.append(path)
        if [call.name for call in calls].count("last.pt") == 2:
            raise KilledError
        return genuine(path, *args)

    bench = Bench(tmp_path / "cut", tiny_recipe)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(engine.checkpoint, "save", kill)
        bench.student("Sw", *flags, *few)
    found = load(bench.student("Sw", *flags, *few).checkpoint("last"))[1]
    assert all(torch.equal(found["model"][key], own) for key, own in expected["model"].items())
    states = (own["optimizer"]["state"] for own in (found, expected))
    for one, other in zip(*(own.values() for own in states), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)


def test_another_optimizer_is_another_run(tmp_path, tiny_recipe):
    bench = Bench(tmp_path / "runs", tiny_recipe)
    few = ("--max-train-images", 32, "--max-test-images", 8, "--epochs", 1)
    bench.student("Sw", *few)
    with pytest.raises(UserError, match="--optimizer was sgd, now adamw"):
        bench.student("Sw", *few, "--optimizer", "adamw")
