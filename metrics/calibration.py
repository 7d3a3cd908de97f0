"""How far a classifier's confidence is from its accuracy, and two proper scores.

Every binned measure goes through ``binned_sums`` and ``calibration_gap``: there is one binning and
one reduction. Confidence is the largest softmax probability, in float64. The measures need two
numbers of each sample, whether it is right and how confident; where these are kept and the logits
are not (millions of images), the functions of ``columns`` take them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.agreement import correct_per_sample, log_probabilities
from metrics.arrays import takes_arrays
from metrics.conventions import BINS
from metrics.validation import (
    check_count,
    check_labels,
    check_logits_and_labels,
    check_logits_shape,
)

WEIGHTINGS = ("sample", "bin")


@dataclass(frozen=True)
class ReliabilityBins:
    """A reliability diagram of n samples: bin b is (edges[b], edges[b + 1]].

    ``accuracy`` and mean ``confidence`` are 0 in a bin without samples: draw where counts > 0.
    """

    edges: Tensor  # (n_bins + 1,) float64, from 0 to 1
    counts: Tensor  # (n_bins,) float64, adds up to n
    accuracy: Tensor  # (n_bins,) float64, in [0, 1]
    confidence: Tensor  # (n_bins,) float64, in [0, 1]


@takes_arrays
def top_label_confidence(logits: Tensor) -> Tensor:
    """Probability of the predicted class. (B, C) -> (B,) float64.

    >>> top_label_confidence(np.log([[0.2, 0.8]]))
    tensor([0.8000], dtype=torch.float64)
    """
    check_logits_shape(logits)
    return logits.detach().double().softmax(dim=1).amax(dim=1)


@takes_arrays
def equal_width_bin(confidence: Tensor, n_bins: int) -> Tensor:
    """Bin number 0..n_bins-1 of each confidence: right-closed bins, so 1.0 is in the last one.

    A confidence of exactly 0, left of every bin, counts as the first bin's.

    >>> equal_width_bin(np.array([0.05, 0.5, 1.0]), 10)
    tensor([0, 4, 9])
    """
    inner_edges = _edges(n_bins, confidence)[1:-1]
    return torch.bucketize(confidence.contiguous(), inner_edges)


@takes_arrays
def equal_mass_bin(confidence: Tensor, n_bins: int) -> Tensor:
    """Bin number of each confidence by rank: sizes differ by at most one where no two are equal.

    Equal confidences share a bin, whatever the order of the samples.

    >>> equal_mass_bin(np.array([0.9, 0.8, 0.99, 0.7]), 2)
    tensor([1, 0, 1, 0])
    """
    ordered = confidence.sort().values
    rank = torch.searchsorted(ordered, confidence.contiguous(), right=True)  # 1..n, ties the last
    return (rank * n_bins - 1) // len(confidence)


@takes_arrays
def binned_sums(columns: Tensor, index: Tensor, n_bins: int) -> Tensor:
    """Per-bin totals (3, n_bins) float64: samples, correct predictions, confidence."""
    sums = torch.zeros(n_bins, 3, dtype=torch.float64, device=columns.device)
    return sums.index_add_(0, index, columns).T


@takes_arrays
def equal_width_sums(columns: Tensor, n_bins: int) -> Tensor:
    """Totals (3, n_bins) of ``sample_columns`` (B, 3) in equal-width bins."""
    check_count(n_bins, name="n_bins")
    return binned_sums(columns, equal_width_bin(columns[:, 2], n_bins), n_bins)


@takes_arrays
def equal_mass_sums(columns: Tensor, n_bins: int) -> Tensor:
    """Totals (3, n_bins) of ``sample_columns`` (B, 3) in bins of as many samples each."""
    check_count(n_bins, name="n_bins")
    return binned_sums(columns, equal_mass_bin(columns[:, 2], n_bins), n_bins)


@takes_arrays
def sample_columns(correct: Tensor, confidence: Tensor) -> Tensor:
    """What one sample adds to its bin: 1, whether it is correct, its confidence.

    Two (B,) -> (B, 3) float64.

    >>> sample_columns(np.array([True, False]), np.array([0.9, 0.8]))
    tensor([[1.0000, 1.0000, 0.9000],
            [1.0000, 0.0000, 0.8000]], dtype=torch.float64)
    """
    confidence = confidence.double()
    return torch.stack([torch.ones_like(confidence), correct.double(), confidence], dim=1)


@takes_arrays
def columns_of(logits: Tensor, labels: Tensor) -> Tensor:
    """``sample_columns`` of logits (B, C) and labels (B,). -> (B, 3)

    Raises:
        ValueError: wrong shapes, no samples, NaN or infinity, or a label outside 0..C-1.
    """
    check_logits_and_labels(logits, labels)
    return sample_columns(correct_per_sample(logits, labels), top_label_confidence(logits))


@takes_arrays
def calibration_gap(sums: Tensor, *, weighting: str = "sample") -> Tensor:
    """Mean of |accuracy - confidence| over bins. (..., 3, n_bins) totals -> (...).

    ``"sample"`` weights a bin by its share of the samples; ``"bin"`` weights all n_bins alike,
    and one without samples contributes 0.

    Raises:
        ValueError: another weighting.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting: expected one of {WEIGHTINGS}, got {weighting!r}")
    if weighting == "bin":
        return _gap_per_bin(sums).mean(dim=-1)
    counts = sums[..., 0, :]
    return (counts * _gap_per_bin(sums)).sum(dim=-1) / counts.sum(dim=-1)


@takes_arrays
def reliability_bins(logits: Tensor, labels: Tensor, *, n_bins: int = BINS) -> ReliabilityBins:
    """Counts, accuracy and mean confidence in equal-width bins. (B, C), (B,).

    Niculescu-Mizil and Caruana 2005, "Predicting good probabilities with supervised learning".

    Raises:
        ValueError: wrong shapes, no samples, NaN or infinity, label outside 0..C-1, n_bins < 1.

    >>> logits, labels = np.log([[0.2, 0.8], [0.3, 0.7]]), np.array([1, 0])
    >>> reliability_bins(logits, labels, n_bins=4).accuracy
    tensor([0., 0., 0., 1.], dtype=torch.float64)
    """
    return reliability(equal_width_sums(columns_of(logits, labels), n_bins))


@takes_arrays
def reliability(sums: Tensor) -> ReliabilityBins:
    """The diagram of ``equal_width_sums`` (3, n_bins)."""
    counts, correct, confidence = sums
    share, n_bins = counts.clamp_min(1), len(counts)
    return ReliabilityBins(_edges(n_bins, sums), counts, correct / share, confidence / share)


@takes_arrays
def expected_calibration_error(
    logits: Tensor,
    labels: Tensor,
    *,
    n_bins: int = BINS,
    weighting: str = "sample",
) -> float:
    """Expected calibration error in [0, 1]: sum_b (n_b / n) |acc_b - conf_b|. (B, C), (B,).

    Naeini et al. 2015; Guo et al. 2017, "On calibration of modern neural networks", section 2,
    with equal-width right-closed bins. ``weighting="bin"`` is the unweighted mean over all n_bins,
    empty ones as 0: what the published code reports, with 10 bins.

    Raises:
        ValueError: as ``reliability_bins``, or an unknown weighting.

    >>> logits, labels = np.log([[0.2, 0.8], [0.3, 0.7]]), np.array([1, 0])
    >>> round(expected_calibration_error(logits, labels), 4)
    0.45
    """
    sums = equal_width_sums(columns_of(logits, labels), n_bins)
    return calibration_gap(sums, weighting=weighting).item()


@takes_arrays
def maximum_calibration_error(logits: Tensor, labels: Tensor, *, n_bins: int = BINS) -> float:
    """Largest |acc_b - conf_b| of the equal-width bins (Naeini et al. 2015), in [0, 1].

    Raises:
        ValueError: as ``reliability_bins``.

    >>> logits, labels = np.log([[0.2, 0.8], [0.3, 0.7]]), np.array([1, 0])
    >>> round(maximum_calibration_error(logits, labels), 4)
    0.7
    """
    return largest_gap(equal_width_sums(columns_of(logits, labels), n_bins)).item()


@takes_arrays
def largest_gap(sums: Tensor) -> Tensor:
    """Largest |accuracy - confidence| of the bins. (..., 3, n_bins) totals -> (...)."""
    return _gap_per_bin(sums).amax(dim=-1)


@takes_arrays
def equal_mass_calibration_error(logits: Tensor, labels: Tensor, *, n_bins: int = BINS) -> float:
    """Expected calibration error over bins of (nearly) as many samples each, in [0, 1].

    The adaptive binning of Nguyen and O'Connor 2015, "Posterior calibration and exploratory
    analysis". Equal confidences are never split; fewer samples than bins leave some bins empty.

    Raises:
        ValueError: as ``reliability_bins``.

    >>> logits, labels = np.log([[0.2, 0.8], [0.3, 0.7]]), np.array([1, 0])
    >>> round(equal_mass_calibration_error(logits, labels, n_bins=1), 4)
    0.25
    """
    return calibration_gap(equal_mass_sums(columns_of(logits, labels), n_bins)).item()


@takes_arrays
def negative_log_likelihood_per_sample(logits: Tensor, labels: Tensor) -> Tensor:
    """-ln p(label) of each sample, nats: the cross-entropy. (B, C), (B,) -> (B,) float64.

    Raises:
        ValueError: shapes that do not fit, or a label that is no class.

    >>> negative_log_likelihood_per_sample(np.log([[0.2, 0.8]]), np.array([1]))
    tensor([0.2231], dtype=torch.float64)
    """
    check_logits_shape(logits)
    check_labels(labels, *logits.shape)
    return F.nll_loss(log_probabilities(logits), labels.long(), reduction="none")


@takes_arrays
def brier_score_per_sample(logits: Tensor, labels: Tensor) -> Tensor:
    """sum_c (p_c - 1[c is the label])^2 of each sample, from 0 to 2. (B, C), (B,) -> (B,) float64.

    Brier 1950, equation 2: the sum runs over all classes, so with two classes its mean is twice the
    binary score that scikit-learn reports. What is not finite stays so.

    Raises:
        ValueError: shapes that do not fit, or a label that is no class.

    >>> brier_score_per_sample(np.log([[0.2, 0.8]]), np.array([1]))
    tensor([0.0800], dtype=torch.float64)
    """
    check_logits_shape(logits)
    check_labels(labels, *logits.shape)
    probabilities = logits.detach().double().softmax(dim=1)
    truth = F.one_hot(labels.long(), logits.shape[1])
    return (probabilities - truth).square().sum(dim=1)


def _edges(n_bins: int, like: Tensor) -> Tensor:
    return torch.linspace(0, 1, n_bins + 1, dtype=torch.float64, device=like.device)


def _gap_per_bin(sums: Tensor) -> Tensor:
    counts, correct, confidence = sums.unbind(dim=-2)
    return (correct - confidence).abs() / counts.clamp_min(1)
