"""How alike two classifiers answer: top-1 agreement (fidelity), KL and JS divergence, accuracy.

``*_per_sample`` functions return one value for each sample and look at shapes alone, so that a
training loop can add up their float64 sums on the device without waiting for it; what is not
finite in the logits is not finite in the divergences. The functions that return a float also
refuse NaN, infinity and empty input. Every result is detached from the graph.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.arrays import takes_arrays
from metrics.validation import (
    check_labels,
    check_labels_shape,
    check_logits,
    check_logits_and_labels,
    check_logits_shape,
    check_same_shape,
)


@takes_arrays
def log_probabilities(logits: Tensor) -> Tensor:
    """Natural logarithm of the softmax, in float64. (B, C) -> (B, C), detached.

    >>> log_probabilities(np.array([[0.0, 0.0]])).exp()
    tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    return F.log_softmax(logits.detach().double(), dim=1)


@takes_arrays
def ensemble_logits(teacher_logits: Tensor) -> Tensor:
    """Mean over the teachers of their logits, in float64. (K, B, C) -> (B, C).

    Raises:
        ValueError: the input is not (K, B, C) with K >= 1.

    >>> ensemble_logits(np.array([[[1.0, 0.0]], [[3.0, 4.0]]]))
    tensor([[2., 2.]], dtype=torch.float64)
    """
    if teacher_logits.ndim != 3 or teacher_logits.shape[0] == 0:
        shape = tuple(teacher_logits.shape)
        raise ValueError(
            f"teacher_logits: expected shape (teachers, samples, classes), got {shape}"
        )
    return teacher_logits.detach().double().mean(dim=0)


@takes_arrays
def correct_per_sample(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the largest logit is the label's. (B, C), (B,) -> (B,) bool; of ties, the first.

    >>> correct_per_sample(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 0]))
    tensor([ True, False])
    """
    check_logits_shape(logits)
    check_labels_shape(labels, logits.shape[0])
    return logits.argmax(dim=1) == labels


@takes_arrays
def top1_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Fraction of samples, in [0, 1], whose largest logit is the label's. (B, C), (B,).

    Raises:
        ValueError: wrong shapes, no samples, NaN or infinity, or a label outside 0..C-1.

    >>> top1_accuracy(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 0]))
    0.5
    """
    check_logits_and_labels(logits, labels)
    return _mean(correct_per_sample(logits, labels))


@takes_arrays
def agreement_per_sample(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Whether both models predict the same class. Two (B, C) -> (B,) bool; of ties, the first.

    >>> p, q = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> agreement_per_sample(p, q)
    tensor([ True, False])
    """
    _check_pair_shape(p_logits, q_logits)
    return p_logits.argmax(dim=1) == q_logits.argmax(dim=1)


@takes_arrays
def top1_agreement(p_logits: Tensor, q_logits: Tensor) -> float:
    """Fidelity: the fraction of samples, in [0, 1], on which both predict the same class.

    Average top-1 agreement of Stanton et al. 2021, "Does Knowledge Distillation Really Work?",
    equation 5. Symmetric. Both inputs (B, C).

    Raises:
        ValueError: shapes that differ or are not (B, C), no samples, NaN or infinity.

    >>> p, q = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> top1_agreement(p, q)
    0.5
    """
    _check_pair(p_logits, q_logits)
    return _mean(agreement_per_sample(p_logits, q_logits))


@takes_arrays
def kl_divergence_per_sample(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL(p || q) = sum_c p_c (ln p_c - ln q_c) in nats. Two (B, C) -> (B,) float64.

    >>> kl_divergence_per_sample(np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]]))
    tensor([0.1438], dtype=torch.float64)
    """
    _check_pair_shape(p_logits, q_logits)
    return kl_from_log_probabilities(log_probabilities(p_logits), log_probabilities(q_logits))


@takes_arrays
def kl_from_log_probabilities(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) in nats of models that broadcast. (..., B, C), (..., B, C) -> (..., B).

    >>> kl_from_log_probabilities(np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]]))
    tensor([0.1438], dtype=torch.float64)
    """
    # Rounding alone can take the sum a little below zero, where no divergence is.
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1).clamp_min(0)


@takes_arrays
def kl_divergence(p_logits: Tensor, q_logits: Tensor) -> float:
    """KL(p || q) in nats, mean over samples: the cost of using q where p is right.

    Kullback and Leibler 1951. Not symmetric: for KL(teacher || student) the teacher comes first.
    Both inputs (B, C).

    Raises:
        ValueError: shapes that differ or are not (B, C), no samples, NaN or infinity.

    >>> p, q = np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])
    >>> round(kl_divergence(p, q), 4), round(kl_divergence(q, p), 4)
    (0.1438, 0.1308)
    """
    _check_pair(p_logits, q_logits)
    return _mean(kl_divergence_per_sample(p_logits, q_logits))


@takes_arrays
def js_divergence_per_sample(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """(KL(p || m) + KL(q || m)) / 2 in nats, with m = (p + q) / 2. Two (B, C) -> (B,) float64.

    Lin 1991, "Divergence measures based on the Shannon entropy": symmetric, from 0 to ln 2.

    >>> js_divergence_per_sample(np.array([[99.0, 0.0]]), np.array([[0.0, 99.0]]))
    tensor([0.6931], dtype=torch.float64)
    """
    _check_pair_shape(p_logits, q_logits)
    log_p, log_q = log_probabilities(p_logits), log_probabilities(q_logits)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return (kl_from_log_probabilities(log_p, log_m) + kl_from_log_probabilities(log_q, log_m)) / 2


def _check_pair_shape(p_logits: Tensor, q_logits: Tensor) -> None:
    check_logits_shape(p_logits, name="p_logits")
    check_logits_shape(q_logits, name="q_logits")
    check_same_shape(p_logits, q_logits, names="p_logits and q_logits")


def _check_pair(p_logits: Tensor, q_logits: Tensor) -> None:
    check_logits(p_logits, name="p_logits")
    check_logits(q_logits, name="q_logits")


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


@takes_arrays
def cohen_kappa(p: Tensor, q: Tensor) -> float:
    """Agreement of two models' predicted classes above what their frequencies alone would give,
    (observed - chance) / (1 - chance). (N,), (N,) integers; Cohen 1960. NaN where both always
    predict the same one class.

    Raises:
        ValueError: shapes that differ, no samples, or class numbers below 0.

    >>> cohen_kappa(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]))
    0.5
    """
    check_same_shape(p, q, names="p and q")
    for labels, name in ((p, "p"), (q, "q")):
        check_labels(labels, labels.numel(), torch.iinfo(torch.long).max, name=name)
    names, numbers = torch.stack([p, q]).unique(return_inverse=True)  # classes as they occur
    shares = [torch.bincount(each, minlength=len(names)).double() / len(p) for each in numbers]
    return _above_chance((p == q).double().mean(), shares[0] @ shares[1])


@takes_arrays
def error_consistency(correct_p: Tensor, correct_q: Tensor) -> float:
    """Whether two models err on the same images, above what their accuracies alone would give:
    kappa of being right. (N,), (N,) bool; Geirhos, Meding and Wichmann 2020, "Beyond accuracy". NaN
    where both are always right, or always wrong.

    Raises:
        ValueError: shapes that differ, or no samples.

    >>> both = np.array([True, True, False, False])
    >>> error_consistency(both, both), error_consistency(both, ~both)
    (1.0, -1.0)
    """
    return cohen_kappa(correct_p.long(), correct_q.long())


def disagreement(p: Tensor, q: Tensor, labels: Tensor) -> dict[str, float]:
    """Where two models do not agree, as shares of the samples: `only_p_right`, `only_q_right`, and
    `wrong_apart`, both wrong with different classes. (N,) integers each.

    The three add up to 1 - agreement, and the second minus the first is the top-1 of q minus that
    of p, both exactly: a student can agree less with its teacher by being right where it is wrong.

    Raises:
        ValueError: shapes that differ, or no samples.
    """
    check_same_shape(p, q, names="p and q")
    check_same_shape(p, labels, names="p and labels")
    if len(p) == 0:
        raise ValueError("p and q: no samples")
    right_p, right_q = p == labels, q == labels
    parts = {
        "only_p_right": right_p & ~right_q,
        "only_q_right": right_q & ~right_p,
        "wrong_apart": ~right_p & ~right_q & (p != q),
    }
    return {name: _mean(part) for name, part in parts.items()}


def _above_chance(observed: Tensor, chance: Tensor) -> float:
    return ((observed - chance) / (1 - chance)).item() if chance < 1 else math.nan
