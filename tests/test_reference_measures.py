"""The published code's variants do what their names say, and differ from the defaults."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import mutual_info_score

from metrics.information import batch_averaged_mutual_information, mutual_information


def labels(seed, n, classes):
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


def test_batches_are_averaged_the_short_last_one_included():
    a, b = labels(0, 250, 6), labels(1, 250, 6)
    parts = [mutual_info_score(a[s : s + 100], b[s : s + 100]) for s in (0, 100, 200)]
    found = batch_averaged_mutual_information(a, b, 6, batch_size=100)
    assert found == pytest.approx(sum(parts) / 3)


def test_independent_predictions_score_three_and_a_half_nats():
    a, b = labels(0, 12_800, 100), labels(1, 12_800, 100)
    assert batch_averaged_mutual_information(a, b, 100) == pytest.approx(3.5, abs=0.05)
    assert mutual_information(a, b, 100, correction="grassberger") < 0.1


def test_one_batch_is_the_plug_in_estimate():
    a, b = labels(2, 90, 5), labels(3, 90, 5)
    assert batch_averaged_mutual_information(a, b, 5) == mutual_information(a, b, 5)


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (torch.tensor([0, 1]), torch.tensor([0, 1]), {"batch_size": 0}, "batch_size"),
        (torch.tensor([0, 1]), torch.tensor([0]), {}, "expected shape"),
        (torch.tensor([0, 2]), torch.tensor([0, 1]), {}, r"0\.\.1"),
    ],
)
def test_bad_input_is_refused(a, b, options, message):
    with pytest.raises(ValueError, match=message):
        batch_averaged_mutual_information(a, b, 2, **options)
