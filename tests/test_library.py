"""`metrics` as a library: what it shows, arrays of other libraries, examples that hold, and an
interval for every measure."""

import doctest
import importlib
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import metrics
from metrics.arrays import as_tensors
from metrics.bootstrap import bootstrap_calibration_error, interval, means_with_intervals
from metrics.calibration import maximum_calibration_error

ROOT = Path(__file__).parent.parent
MODULES = sorted(path.stem for path in (ROOT / "metrics").glob("[a-z]*.py"))
LISTED = re.findall(r"^    (\w+) {2,}\S.* -> \S", metrics.__doc__, re.MULTILINE)


@pytest.fixture(scope="module")
def models():
    """Logits of two models of 300 samples and 5 classes that are often right, and the labels."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 300)
    signal = 2 * np.eye(5)[labels]
    return *(signal + random.normal(size=(300, 5)) for _ in range(2)), labels


def test_the_docstring_lists_what_all_names():
    assert sorted(LISTED) == metrics.__all__
    assert set(metrics.__all__) <= set(dir(metrics))
    assert all(callable(getattr(metrics, name)) for name in metrics.__all__)


def test_a_name_that_is_not_there_is_told():
    with pytest.raises(AttributeError, match="fidelity"):
        metrics.fidelity  # noqa: B018


def test_the_import_loads_nothing_heavy():
    code = "import sys, metrics; print(*{'torch', 'numpy'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (shown.returncode, shown.stdout.strip()) == (0, "")


@pytest.mark.parametrize("name", metrics.__all__)
def test_each_function_has_an_example(name):
    assert ">>>" in getattr(metrics, name).__doc__


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name):
    module = importlib.import_module(f"metrics.{name}")
    found = doctest.testmod(module, extraglobs={"np": np, "torch": torch})
    assert found.failed == 0


PAIRS = ("top1_agreement", "kl_divergence", "js_divergence_per_sample")
SCORES = (
    "top1_accuracy",
    "expected_calibration_error",
    "negative_log_likelihood_per_sample",
    "brier_score_per_sample",
)


@pytest.mark.parametrize("name", [*PAIRS, *SCORES])
@pytest.mark.parametrize("dtype", ["<f8", "<f4", ">f4", "<f2", np.longdouble])
def test_arrays_give_what_tensors_give(models, name, dtype):
    p, q, labels = models
    p, other = p.astype(dtype), q.astype(dtype) if name in PAIRS else labels.astype(">i2")
    known = {np.dtype(np.longdouble): np.float64}
    tensors = [
        torch.tensor(own.astype(known.get(own.dtype, own.dtype.newbyteorder("="))))
        for own in (p, other)
    ]
    for array in (p, np.asfortranarray(p), p[::-1][::-1]):
        of_arrays = getattr(metrics, name)(array, other)
        assert np.array_equal(of_arrays, getattr(metrics, name)(*tensors))


def test_arrays_are_read_in_lists_and_by_name():
    maps = np.random.default_rng(0).random((20, 3, 3))
    listed = metrics.set_overlap([maps, maps[::-1]], size=np.int64(6))
    tensors = [torch.from_numpy(own.copy()) for own in (maps, maps[::-1])]
    assert listed.pooled == metrics.set_overlap(tensors, 6).pooled
    assert metrics.top1_accuracy(logits=np.eye(2), labels=np.array([0, 1], np.uint16)) == 1


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32])
def test_class_numbers_may_be_small_integers(dtype):
    a, b = np.array([0, 1, 1, 100], dtype), np.array([0, 1, 0, 100], dtype)
    wide = [each.astype(np.int64) for each in (a, b)]
    for measure in (metrics.cohen_kappa, metrics.mutual_information):
        for given in ((a, b), tuple(map(torch.from_numpy, (a, b)))):
            assert measure(*given) == measure(*wide)
    logits = torch.eye(4, 300)
    assert metrics.top1_accuracy(logits, torch.tensor([0, 1, 2, 100], dtype=torch.uint8)) == 0.75


def test_an_array_that_may_not_be_written_to_is_left_alone(recwarn):
    logits = np.eye(2)
    logits.flags.writeable = False
    as_tensors(logits)[0, 0] = 5
    assert logits[0, 0] == 1
    assert not recwarn


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="array of numbers"):
        metrics.top1_accuracy(np.array([["a", "b"]]), np.array([0]))


def test_information_needs_no_class_count():
    random = np.random.default_rng(0)
    a = random.integers(0, 30, 500)
    b = np.where(random.random(500) < 0.5, a, random.integers(0, 30, 500))
    for correction in (None, "grassberger"):
        counted = metrics.mutual_information(a, b, 30, correction=correction)
        assert metrics.mutual_information(a, b, correction=correction) == counted
        far = metrics.mutual_information(a * 10**9, b, correction=correction)
        assert far == pytest.approx(counted, abs=1e-12)
    floors = [metrics.mutual_information_chance_floor(a, b, *count) for count in ([], [30])]
    assert floors[0] == floors[1]
    with pytest.raises(ValueError, match="predictions_a"):
        metrics.mutual_information(-a - 1, b)


MEANS = {
    "top1_accuracy": "correct_per_sample",
    "top1_agreement": "agreement_per_sample",
    "kl_divergence": "kl_divergence_per_sample",
    "predictive_entropy": "predictive_entropy_per_sample",
}


@pytest.mark.parametrize("name", MEANS)
def test_the_interval_of_a_mean_is_that_of_its_samples(models, name):
    p, q, labels = models
    given = {"top1_accuracy": (p, labels), "predictive_entropy": (p,)}.get(name, (p, q))
    per_sample = getattr(metrics, MEANS[name])
    row = means_with_intervals({"own": per_sample(*given)})
    expected = (row["own_low"], row["own_high"])
    assert interval(getattr(metrics, name), *given) == expected
    assert interval(per_sample, *given) == expected


def test_the_interval_of_the_calibration_error_is_its_own(models):
    p, _, labels = models
    ece = metrics.expected_calibration_error
    assert interval(ece, p, labels) == bootstrap_calibration_error(p, labels)
    ten = bootstrap_calibration_error(p, labels, n_bins=10, resamples=50, confidence=0.9, seed=3)
    own = interval(partial(ece, n_bins=10), p, labels, resamples=50, confidence=0.9, seed=3)
    assert own == ten


def test_any_other_number_is_computed_on_each_resample(models):
    p, _, labels = models

    def mean_top(logits):
        return logits[:, 0].double().mean()

    low, high = interval(mean_top, p)
    standard_error = p[:, 0].std() / np.sqrt(300)
    assert (low + high) / 2 == pytest.approx(p[:, 0].mean())
    assert high - low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)
    of_bins = interval(maximum_calibration_error, p, labels, resamples=20)
    assert of_bins[0] < metrics.maximum_calibration_error(p, labels) < of_bins[1]


def test_the_interval_of_a_cka_holds_what_many_samples_give():
    """95% of trials by its name, a little more in truth; of resamples with repetition it would be
    centred where no sample is, and twice as wide."""
    random, halves = np.random.default_rng(0), []
    found = []
    for _ in range(40):
        x = random.normal(size=(100, 20))
        y = x + random.normal(size=(100, 20))
        found.append(metrics.linear_cka(x, y))
        low, high = interval(metrics.linear_cka, x, y, resamples=40)
        assert (low + high) / 2 == pytest.approx(found[-1])
        halves.append((high - low) / 2)
    inside = np.abs(np.array(found) - np.mean(found)) <= halves
    assert inside.mean() >= 0.9
    assert 0.8 < np.mean(halves) / (1.96 * np.std(found)) < 1.8


def test_the_interval_of_information_by_hand():
    """A fair coin seen through noise: 4 pairs, whose pointwise information has two values."""
    a, b = np.array([0] * 50 + [1] * 50), np.array([0] * 40 + [1] * 50 + [0] * 10)
    agree, differ = np.log(0.4 / 0.25), np.log(0.1 / 0.25)
    information = 0.8 * agree + 0.2 * differ
    spread = np.sqrt(0.8 * agree**2 + 0.2 * differ**2 - information**2)
    half = 1.959964 * spread / np.sqrt(100)
    expected = pytest.approx((information - half, information + half))
    assert metrics.mutual_information_interval(a, b) == expected
    assert interval(metrics.mutual_information, a, b) == expected


def test_the_interval_of_information_holds_the_truth():
    """95% of trials by its name; 40 trials of a fair four-sided die seen through noise."""
    random, held = np.random.default_rng(0), 0
    noise = np.array([0.7, 0.1, 0.1, 0.1])
    truth = np.log(4) + (noise * np.log(noise)).sum()
    for _ in range(40):
        a = random.integers(0, 4, 500)
        b = (a + random.choice(4, 500, p=noise)) % 4
        low, high = interval(partial(metrics.mutual_information, correction="grassberger"), a, b)
        held += low <= truth <= high
    assert held >= 34


@pytest.mark.parametrize(
    ("arrays", "settings", "word"),
    [
        ((), {}, "arrays"),
        ((np.eye(3), np.arange(2)), {}, "arrays"),
        ((np.zeros((0, 2)), np.zeros(0, int)), {}, "arrays"),
        ((np.eye(3), np.arange(3)), {"resamples": 0}, "resamples"),
        ((np.eye(3), np.arange(3)), {"confidence": 0}, "confidence"),
        ((np.eye(3), np.arange(3)), {"confidence": 1}, "confidence"),
    ],
)
def test_an_interval_that_means_nothing_is_refused(arrays, settings, word):
    with pytest.raises(ValueError, match=word):
        interval(metrics.maximum_calibration_error, *arrays, **settings)


def test_the_interval_of_a_measure_is_refused_where_the_measure_is():
    """Means over samples are taken of values whose own functions look at shapes alone."""
    logits, wrong = np.array([[np.nan, 0], [1, 0], [0, 1]]), np.array([0, 0, 7])
    with pytest.raises(ValueError, match="NaN"):
        interval(metrics.top1_accuracy, logits, np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="class numbers"):
        interval(metrics.top1_accuracy, np.nan_to_num(logits), wrong)
    with pytest.raises(ValueError, match="NaN"):
        interval(metrics.top1_agreement, logits, logits)
    with pytest.raises(ValueError, match="2 or more"):
        interval(metrics.cohen_kappa, wrong, wrong, resamples=1)


@pytest.mark.parametrize(
    ("measure", "arrays"),
    [
        ("negative_log_likelihood_per_sample", (np.zeros((2, 2)), np.array([0, -100]))),
        ("negative_log_likelihood_per_sample", (np.zeros((2, 2)), np.array([0, 5]))),
        ("brier_score_per_sample", (np.zeros((3, 2)), np.array([1]))),
        ("brier_score_per_sample", (np.zeros((1, 2)), np.array([1.7]))),
        ("top_label_confidence", (np.array([0.0, 1.0]),)),
        ("cohen_kappa", (np.array([0, -1]), np.array([0, 1]))),
        ("cohen_kappa", (np.array([0, 1]), np.array([0.0, 1.0]))),
        ("cohen_kappa", (np.array([], int), np.array([], int))),
    ],
)
def test_what_a_score_cannot_be_of_is_refused(measure, arrays):
    with pytest.raises(ValueError, match=r"expected|must lie|no samples"):
        getattr(metrics, measure)(*arrays)


def test_kappa_does_not_depend_on_how_classes_are_numbered():
    p, q = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert metrics.cohen_kappa(p * 10**12, q * 10**12) == metrics.cohen_kappa(p, q)


def test_a_measure_that_is_undefined_on_a_resample_is_refused():
    predictions = np.array([0, 0, 0, 1])  # kappa of one class is NaN
    with pytest.raises(ValueError, match="on resamples"):
        interval(metrics.cohen_kappa, predictions, predictions)
