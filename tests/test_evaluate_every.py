"""Epochs that are trained and not tested."""

import json

import pytest
import torch
from conftest import Bench
from test_side_by_side import killed, result, same
from test_training import records, weights

from common.errors import UserError
from engine.config import TeacherConfig
from evaluation.claims_figures import followed

FEW = ("--max-train-images", 80, "--max-test-images", 40, "--epochs", 5)


@pytest.fixture
def bench(tmp_path, tiny_recipe):
    return Bench(tmp_path / "runs", tiny_recipe)


def those_tested(run):
    return [record["epoch"] for record in records(run) if "validation" in record]


@pytest.mark.parametrize(
    ("every", "epochs"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (5, [5]), (100, [5])]
)
def test_the_last_epoch_is_always_tested(every, epochs):
    config = TeacherConfig(cell="T1w", epochs=5, evaluate_every=every)
    assert [epoch for epoch in range(1, 6) if config.evaluates(epoch)] == epochs


def test_it_changes_no_bit_of_training_and_what_is_tested_is_the_same(bench):
    """The best epoch is the best of those that were tested."""
    every, second, last = (
        bench.teacher(f"T1w+{n}", *FEW, "--evaluate-every", n) for n in (1, 2, 100)
    )
    assert [those_tested(run) for run in (every, second, last)] == [[1, 2, 3, 4, 5], [2, 4, 5], [5]]
    for run in (second, last):
        assert same(weights(run), weights(every))
        for whole, record in zip(records(every), records(run), strict=True):
            assert record["train"] == whole["train"]
            assert record.get("validation", whole["validation"]) == whole["validation"]
            assert ("gap_points" in record) == ("validation" in record["skipped_images"])
    top1 = {r["epoch"]: r["validation"]["top1"] for r in records(second) if "validation" in r}
    assert json.loads(second.metrics.read_text())["best"]["epoch"] == max(top1, key=top1.get)
    assert "epoch 4/5  train loss" in last.log.read_text()
    assert last.log.read_text().count("test loss") == 1
    assert len(followed(every).top1) == 5
    assert followed(second).top1 == []


@pytest.mark.parametrize(("every", "moment"), [(2, 2), (2, 4), (100, 3)])
def test_a_run_goes_on_to_the_same_bits(bench, monkeypatch, every, moment):
    """Also where no epoch was tested yet, and so there is no best one."""
    flags = (*FEW, "--evaluate-every", every)
    whole = bench.teacher("T1w", *flags)
    expected = result(whole)
    whole.path.rename(whole.path.with_name("whole"))
    killed(monkeypatch, moment, lambda: bench.teacher("T1w", *flags))
    assert whole.checkpoint("best").is_file() == (moment > every)
    assert same(result(bench.teacher("T1w", *flags)), expected)


def test_a_best_epoch_that_was_not_tested_is_refused(bench):
    run = bench.teacher("T1w", *FEW, "--evaluate-every", 2)
    run.metrics.unlink()
    content = torch.load(run.checkpoint("last"), weights_only=True)
    torch.save(content | {"best_epoch": 3}, run.checkpoint("last"))
    with pytest.raises(UserError, match="names no epoch that was tested as the best"):
        bench.teacher("T1w", *FEW, "--evaluate-every", 2)
