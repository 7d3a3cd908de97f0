"""Measures of classifiers, of pairs of them and of where they look.

Every function takes NumPy arrays as well as tensors, and refuses with a ValueError what has no
meaning. Logits are (N, C): N samples, C classes; labels and predictions (N,) class numbers. What is
one number is a float; what has one for each sample is a float64 or bool tensor, which `np.asarray`
reads. Units are in the names or here; intervals are at 95%. `help(metrics.NAME)` has the formula,
its source and an example.

Of one model:
    top1_accuracy                        (N, C), (N,) -> fraction that is right
    correct_per_sample                   (N, C), (N,) -> (N,) bool
    negative_log_likelihood_per_sample   (N, C), (N,) -> (N,) nats
    brier_score_per_sample               (N, C), (N,) -> (N,) from 0 to 2
    expected_calibration_error           (N, C), (N,) -> ECE in [0, 1]
    equal_mass_calibration_error         (N, C), (N,) -> the same over bins of as many samples each
    maximum_calibration_error            (N, C), (N,) -> largest gap of a bin, in [0, 1]
    reliability_bins                     (N, C), (N,) -> counts, accuracy and confidence by bin
    top_label_confidence                 (N, C) -> (N,) probability of the prediction
    predictive_entropy                   (N, C) -> mean, nats
    predictive_entropy_per_sample        (N, C) -> (N,) nats

Of two models, or of several:
    top1_agreement                       two (N, C) -> fidelity, fraction that agrees
    agreement_per_sample                 two (N, C) -> (N,) bool
    kl_divergence                        two (N, C), p and q -> mean KL(p || q), nats
    kl_divergence_per_sample             two (N, C) -> (N,) nats
    js_divergence_per_sample             two (N, C) -> (N,) nats, 0 to ln 2
    ensemble_logits                      (K, N, C) of K models -> (N, C) their mean
    cohen_kappa                          two (N,) predictions -> agreement above chance, up to 1
    error_consistency                    two (N,) bool, who is right -> the same of errors
    mutual_information                   two (N,) predictions -> nats
    mutual_information_chance_floor      two (N,) predictions -> nats of shuffled pairs
    mutual_information_interval          two (N,) predictions -> (low, high) nats
    linear_cka                           two (N, D) features -> CKA, 0 on average by chance, up to 1

Of where models look:
    class_activation_map                 model, images (N, 3, H, W) -> (N, h, w)
    grad_cam                             model, images, classes (N,) -> (N, h, w)
    attention_rollout                    vision transformer, images -> (N, h, w)
    binarize                             maps (N, h, w), size -> (N, H, W) bool
    equal_area_masks                     maps (N, h, w), size -> (N, H, W) bool
    masks_of_half                        maps (N, h, w) of a half, size -> (N, H, W) bool
    intersection_over_union              masks (M, N, H, W) of M models -> mean IoU in [0, 1]
    intersection_over_union_per_image    masks (M, N, H, W) -> (N,)
    shuffled_overlap                     masks (M, N, H, W) -> IoU by chance
    set_overlap                          M maps (N, h, w), size -> IoU, pooled and by chance
    rank_correlation_per_image           two maps (N, h, w) -> (N,) in [-1, 1]
    pointing_hits                        maps (N, h, w), objects (N, H, W) bool -> (N,) bool

Intervals:
    interval                             any measure, its arrays -> (low, high)
    bootstrap_intervals                  values (N,) by name -> (low, high) of their means by name
    means_with_intervals                 values (N,) by name -> means and ends by name
    bootstrap_ratio                      two (N,) -> (low, high) of the ratio of their means
    bootstrap_calibration_error          (N, C), (N,) -> (low, high) of the ECE
    over_replicates                      (R,) values, variance that they share -> mean, interval, p

Names are found in their modules when they are first asked for: to import the package loads nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "agreement": (
        "agreement_per_sample", "cohen_kappa", "correct_per_sample", "ensemble_logits",
        "error_consistency", "js_divergence_per_sample", "kl_divergence",
        "kl_divergence_per_sample", "top1_accuracy", "top1_agreement",
    ),
    "attention": ("attention_rollout", "class_activation_map"),
    "bootstrap": (
        "bootstrap_calibration_error", "bootstrap_intervals", "bootstrap_ratio", "interval",
        "means_with_intervals",
    ),
    "calibration": (
        "brier_score_per_sample", "equal_mass_calibration_error", "expected_calibration_error",
        "maximum_calibration_error", "negative_log_likelihood_per_sample", "reliability_bins",
        "top_label_confidence",
    ),
    "gradient_maps": ("grad_cam",),
    "half_images": ("masks_of_half",),
    "information": (
        "mutual_information", "mutual_information_chance_floor", "mutual_information_interval",
        "predictive_entropy", "predictive_entropy_per_sample",
    ),
    "intervals": ("over_replicates",),
    "representations": ("linear_cka",),
    "overlap": (
        "binarize", "equal_area_masks", "intersection_over_union",
        "intersection_over_union_per_image",
        "pointing_hits", "rank_correlation_per_image", "set_overlap", "shuffled_overlap",
    ),
}  # fmt: skip
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return importlib.import_module(f"metrics.{name}")
    if name in _MODULES:
        return getattr(importlib.import_module(f"metrics.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'metrics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_NAMES]
