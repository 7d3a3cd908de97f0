"""Bootstrap confidence intervals over samples, vectorised: a resample is a row of counts.

A resample of n samples is fixed by how often it takes each of them, so the totals of many
resamples and many measures are one product, counts (R, n) times values (n, m). All measures see
the same resamples: the difference of two of them may be passed as a measure of its own, and its
interval then respects their correlation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from statistics import NormalDist
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.agreement import (
    agreement_per_sample,
    correct_per_sample,
    kl_divergence,
    kl_divergence_per_sample,
    top1_accuracy,
    top1_agreement,
)
from metrics.arrays import takes_arrays
from metrics.calibration import (
    calibration_gap,
    columns_of,
    equal_width_bin,
    equal_width_sums,
    expected_calibration_error,
)
from metrics.conventions import BINS
from metrics.information import (
    mutual_information,
    mutual_information_interval,
    predictive_entropy,
    predictive_entropy_per_sample,
)
from metrics.representations import linear_cka
from metrics.validation import check_confidence, check_count, check_finite

CELLS_PER_CHUNK = 2**22  # counts held at a time: 32 MiB as int64, as much again as float64
MOST_SHARED = 2**26  # counts kept for other measures: 64 MiB as bytes, 1,000 of 67,000 samples


@takes_arrays
def bootstrap_intervals(
    per_sample: Mapping[str, Tensor],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals (low, high) of the means of per-sample values, each (n,).

    Efron 1979; percentile method of Efron and Tibshirani 1993, chapter 13. The draws come from a
    generator of their own, on the CPU, so a seed means the same on every device.

    Raises:
        ValueError: no measures, values that are not (n,) with one n >= 1, NaN or infinity,
            resamples < 1, or confidence outside (0, 1).

    >>> low, high = bootstrap_intervals({"top1": np.arange(100) < 70})["top1"]
    >>> round(low, 2), round(high, 2)
    (0.61, 0.79)
    """
    _check_measures(per_sample)
    _check_options(resamples, confidence)
    values = torch.stack([column.detach().double().cpu() for column in per_sample.values()], dim=1)
    means = resampled_sums(values, resamples=resamples, seed=seed) / len(values)
    low, high = _quantiles(means, confidence)
    return dict(zip(per_sample, zip(low.tolist(), high.tolist(), strict=True), strict=True))


@takes_arrays
def means_with_intervals(per_sample: Mapping[str, Tensor], *, seed: int = 0) -> dict[str, float]:
    """Mean of each measure as `name`, its 95% interval as `name_low` and `name_high`.

    Raises:
        ValueError: as ``bootstrap_intervals``.

    >>> row = means_with_intervals({"top1": np.arange(100) < 70})
    >>> {name: round(value, 2) for name, value in row.items()}
    {'top1': 0.7, 'top1_low': 0.61, 'top1_high': 0.79}
    """
    row: dict[str, float] = {}
    for name, (low, high) in bootstrap_intervals(per_sample, seed=seed).items():
        mean = per_sample[name].double().mean().item()
        row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return row


@takes_arrays
def bootstrap_ratio(
    numerator: Tensor, denominator: Tensor, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95% percentile interval of mean(numerator) / mean(denominator) of paired samples, each (n,).

    Resamples whose denominator is 0 are left out. Raises:
        ValueError: as ``bootstrap_intervals``, or a denominator that is 0 throughout.

    >>> half = np.arange(100.0)
    >>> bootstrap_ratio(half, 2 * half)
    (0.5, 0.5)
    """
    _check_measures({"numerator": numerator, "denominator": denominator})
    values = torch.stack([numerator, denominator], dim=1).double().cpu()
    top, bottom = resampled_sums(values, resamples=resamples, seed=seed).unbind(1)
    if not bool((bottom != 0).any()):
        raise ValueError("denominator: is 0 throughout, so the ratio is undefined")
    low, high = _quantiles(top[bottom != 0] / bottom[bottom != 0], 0.95).tolist()
    return low, high


@takes_arrays
def bootstrap_calibration_error(
    logits: Tensor,
    labels: Tensor,
    *,
    n_bins: int = BINS,
    weighting: str = "sample",
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval (low, high) of ``expected_calibration_error``. (B, C), (B,).

    The basic bootstrap interval (Davison and Hinkley 1997, section 5.2), 2 e - quantile, cut off at
    0. Noise within bins adds to a sum of absolute gaps, in the sample as in each resample of it:
    percentile intervals sit above the truth, and of a calibrated model never contain it. For the
    same reason this one may lie mostly below the estimate e. At n = 1,000 a nominal 95% covered
    a true error of 0.1 in 90% of trials, and a true error of 0 in about half.

    Raises:
        ValueError: as ``expected_calibration_error``, resamples < 1, or confidence outside (0, 1).

    >>> logits = np.tile([[2.0, 0.0]], (400, 1))  # 88% sure, and 70% right
    >>> low, high = bootstrap_calibration_error(logits, (np.arange(400) >= 280).astype(int))
    >>> round(low, 2), round(high, 2)
    (0.14, 0.22)
    """
    _check_options(resamples, confidence)
    columns = columns_of(logits, labels).cpu()
    gap = partial(calibration_gap, weighting=weighting)
    return _basic_interval(columns, gap, n_bins, resamples, confidence, seed)


@takes_arrays
def bootstrap_calibration_gap(columns: Tensor, *, n_bins: int = BINS) -> tuple[float, float]:
    """The same interval, at 95%, from ``sample_columns`` (B, 3) of the samples."""
    return _basic_interval(columns.cpu(), calibration_gap, n_bins, 1000, 0.95, 0)


def _basic_interval(
    columns: Tensor,
    gap: Callable[[Tensor], Tensor],
    n_bins: int,
    resamples: int,
    confidence: float,
    seed: int,
) -> tuple[float, float]:
    estimate = gap(equal_width_sums(columns, n_bins)).item()
    in_bin = F.one_hot(equal_width_bin(columns[:, 2], n_bins), n_bins)
    values = (columns[:, :, None] * in_bin[:, None, :]).flatten(1)  # (n, 3 * n_bins)
    sums = resampled_sums(values, resamples=resamples, seed=seed).unflatten(1, (3, n_bins))
    low, high = _quantiles(gap(sums), confidence)
    return max(0.0, 2 * estimate - high.item()), max(0.0, 2 * estimate - low.item())


def resample_counts(n: int, *, resamples: int, seed: int) -> Tensor:
    """How often each of n samples is in each resample, (R, n) float64; a row adds up to n."""
    return _resample_counts(n, resamples, torch.Generator().manual_seed(seed))


@takes_arrays
def resampled_sums(values: Tensor, *, resamples: int, seed: int) -> Tensor:
    """Column totals of ``resamples`` draws of n rows with replacement. (n, m) -> (R, m), CPU."""
    # Taken at once: small tensors between the chunks' large ones would keep their memory in use.
    totals = values.new_empty(resamples, values.shape[1])
    parts = totals.split(_rows_at_once(len(values)))
    for counts, part in zip(_chunks(len(values), resamples, seed), parts, strict=True):
        torch.mm(counts, values, out=part)
    return totals


def _chunks(n: int, resamples: int, seed: int) -> Iterator[Tensor]:
    """Counts of all resamples, some rows at a time, (rows, n) float64."""
    if n * resamples > MOST_SHARED:
        return _drawn_chunks(n, resamples, seed)
    return (part.double() for part in _shared_counts(n, resamples, seed).split(_rows_at_once(n)))


@lru_cache(maxsize=2)
def _shared_counts(n: int, resamples: int, seed: int) -> Tensor:
    """Those of all measures of n samples, drawn once, (R, n) uint8: a resample holds a sample once
    on average, and 256 times in none of 10^500."""
    return torch.cat([counts.byte() for counts in _drawn_chunks(n, resamples, seed)])


def _drawn_chunks(n: int, resamples: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for rows in torch.arange(resamples).split(_rows_at_once(n)):
        yield _resample_counts(n, len(rows), generator)


def _rows_at_once(n: int) -> int:
    return max(1, CELLS_PER_CHUNK // n)


def _resample_counts(n: int, rows: int, generator: torch.Generator) -> Tensor:
    """How often each of n samples is drawn: rows of multinomial counts, (rows, n) float64."""
    drawn = torch.randint(n, (rows, n), generator=generator)
    cells = drawn + n * torch.arange(rows)[:, None]
    return cells.flatten().bincount(minlength=rows * n).view(rows, n).double()


def _quantiles(statistics: Tensor, confidence: float) -> Tensor:
    """Lower and upper end of the central mass, over dimension 0. (R, ...) -> (2, ...)."""
    tail = (1 - confidence) / 2
    levels = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    return statistics.quantile(levels, dim=0)


def _check_measures(per_sample: Mapping[str, Tensor]) -> None:
    lengths = {tuple(values.shape) for values in per_sample.values()}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1:
        raise ValueError(f"per_sample: expected measures of one shape (n,), got {sorted(lengths)}")
    for name, values in per_sample.items():
        check_finite(values, name=name)


def _check_options(resamples: int, confidence: float) -> None:
    check_count(resamples, name="resamples")
    check_confidence(confidence)


MEAN_OF: Mapping[Callable[..., Any], Callable[..., Tensor]] = {
    top1_accuracy: correct_per_sample,
    top1_agreement: agreement_per_sample,
    kl_divergence: kl_divergence_per_sample,
    predictive_entropy: predictive_entropy_per_sample,
}


@takes_arrays
def interval(
    measure: Callable[..., Any],
    *arrays: Tensor,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval (low, high) of any measure of arrays whose n rows are samples.

    Of a mean over samples, and of what returns a value for each, (n,): ``bootstrap_intervals``. Of
    the expected calibration error: ``bootstrap_calibration_error``. Of the mutual information:
    ``mutual_information_interval``. Any other number is computed anew on each resample, the same
    rows of all arrays, and the interval is the normal one, e -+ z s with the resamples' spread s
    (Efron and Tibshirani 1993). Of ``linear_cka``, to which a sample that is drawn twice is two
    that are alike, s is that of random halves of the samples (Shao and Wu 1989); it is a little
    wide. Settings of the measure go in by ``functools.partial``.

    Raises:
        ValueError: as the measure; arrays of different lengths, or none; resamples < 1 (for the
            normal interval < 2), confidence outside (0, 1), or a measure that is no finite number
            on each resample.

    >>> from metrics.agreement import cohen_kappa
    >>> a, b = np.arange(900) % 2, np.arange(900) % 3 % 2
    >>> low, high = interval(cohen_kappa, a, b)
    >>> round(low, 2), round(high, 2)
    (-0.06, 0.06)
    """
    _check_options(resamples, confidence)
    _check_rows(arrays)
    function, settings = _taken_apart(measure)
    options: dict[str, Any] = {"resamples": resamples, "confidence": confidence, "seed": seed}
    if function is mutual_information:
        return partial(mutual_information_interval, **settings, confidence=confidence)(*arrays)
    if function is expected_calibration_error:
        return partial(bootstrap_calibration_error, **settings, **options)(*arrays)
    estimate = measure(*arrays)
    if measure in MEAN_OF:
        estimate = MEAN_OF[measure](*arrays)
    if isinstance(estimate, Tensor) and estimate.shape == (len(arrays[0]),):
        return bootstrap_intervals({"measure": estimate}, **options)["measure"]
    if resamples < 2:
        raise ValueError(f"resamples: a spread takes 2 or more, got {resamples}")
    draw = _half if function is linear_cka else _with_replacement
    spread = _on_resamples(measure, arrays, draw, resamples, seed).std().item()
    half = NormalDist().inv_cdf((1 + confidence) / 2) * spread
    return float(estimate) - half, float(estimate) + half


def _taken_apart(measure: Callable[..., Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function, and what `functools.partial` has set of it."""
    if isinstance(measure, partial) and not measure.args:
        return measure.func, measure.keywords
    return measure, {}


def _on_resamples(
    measure: Callable[..., Any],
    arrays: tuple[Tensor, ...],
    draw: Callable[[int, torch.Generator], Tensor],
    resamples: int,
    seed: int,
) -> Tensor:
    """(R,) float64, the measure of the rows that each resample draws."""
    generator, count = torch.Generator().manual_seed(seed), len(arrays[0])
    drawn = (draw(count, generator) for _ in range(resamples))
    values = [float(measure(*(array[rows] for array in arrays))) for rows in drawn]
    check_finite(torch.tensor(values), name="the measure on resamples")
    return torch.tensor(values, dtype=torch.float64)


def _with_replacement(count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(count, (count,), generator=generator)


def _half(count: int, generator: torch.Generator) -> Tensor:
    """Without repetition: halves spread around the value of their whole as wholes do around the
    truth."""
    return torch.randperm(count, generator=generator)[: count // 2]


def _check_rows(arrays: tuple[Tensor, ...]) -> None:
    lengths = sorted({len(array) for array in arrays})
    if len(lengths) != 1 or lengths[0] == 0:
        raise ValueError(f"arrays: expected rows of the same n >= 1 samples, got {lengths}")
