"""What is measured of a model, a pair and a set of maps: each number's column, declared once.

The tables, the report and its page of cells read them here. A new one is a line: of a number for
each image, say what makes it (`per_image`), and its mean and interval are computed.
"""

from __future__ import annotations

import itertools

from dataloader.views import GRID_LETTERS
from engine.cells import TEACHER_NUMBERS
from evaluation.tables import Column
from metrics.agreement import (
    agreement_per_sample,
    js_divergence_per_sample,
    kl_divergence_per_sample,
)
from metrics.information import predictive_entropy_per_sample
from metrics.shots import SHOT_GROUPS


def _by_shots(name: str, heading: str = "") -> tuple[Column, ...]:
    """Of many-, medium- and few-shot classes; `heading` has a place for the group's name."""
    return tuple(
        Column(f"{name}_{group}", heading.format(group), decimals=1, unit="%")
        for group in SHOT_GROUPS
    )


# Of a run's own record, in the report's units there.
RUN_ACCURACY = (
    Column("top1_last", "top-1", decimals=1, unit="%"),
    Column("top1_best", "top-1 of the best epoch", decimals=1, unit="%"),
    *_by_shots("top1", "{}-shot"),
    Column("gap_points", "gap", decimals=1, unit="points"),
)
RUN_AGREEMENT = (
    Column("fidelity_ensemble", "fidelity to the ensemble", decimals=1, unit="%"),
    *_by_shots("fidelity", "{}-shot"),
)
RUN_INFORMATION = (
    Column("kl_ensemble_to_student_nats", "KL(ensemble, student)"),
    Column("kl_student_to_ensemble_nats", "KL(student, ensemble)"),
    Column("entropy_nats", "entropy"),
)

# Of a model. per_image: of its Answers.
CALIBRATION = (
    Column("top1", per_image=lambda answers: answers.correct, better="higher"),
    Column("ece", "ECE", better="lower"),
    *map(Column, ("ece_low", "ece_high", "mce", "ece_equal_mass")),
    Column("nll_nats", per_image=lambda answers: answers.nll_nats, better="lower"),
    Column("brier", per_image=lambda answers: answers.brier, better="lower"),
    Column("ece_bin_mean"),
    *_by_shots("top1"),
    *_by_shots("ece"),
)

# Of a model and a view.
AFFINITY = (
    *map(Column, ("top1_view", "top1_base", "top1_test")),
    Column("affinity", "affinity"),
    *map(Column, ("affinity_low", "affinity_high", "affinity_to_test")),
    Column("diversity", "diversity"),
    *_by_shots("top1_view"),
)

# Of a pair, p and q; the report's are the teachers' ensemble and the student. per_image: of the
# logits of both.
AGREEMENT = (
    Column("fidelity", per_image=agreement_per_sample),
    *map(Column, ("fidelity_low", "fidelity_high")),
    *_by_shots("fidelity"),
    Column("cohen_kappa", "kappa"),
    Column("error_consistency", "error consistency"),
    Column("fidelity_p_right", "where the ensemble is right", 1, "%", name="fidelity_right"),
    Column("fidelity_p_wrong", "where it is wrong", 1, "%", name="fidelity_wrong"),
)
DISAGREEMENT = (  # in the files, not on the screen
    Column(
        "top1_q_minus_p_points",
        "student minus ensemble",
        1,
        "points",
        name="student_minus_ensemble_points",
    ),
    Column("only_q_right", "student alone right", 1, "%", name="student_alone_right"),
    Column("only_p_right", "ensemble alone right", 1, "%", name="ensemble_alone_right"),
    Column("wrong_apart", "both wrong, apart", 1, "%", name="both_wrong_apart"),
)
INFORMATION = (
    Column("kl_p_to_q_nats", per_image=kl_divergence_per_sample),
    Column("kl_q_to_p_nats", per_image=lambda p, q: kl_divergence_per_sample(q, p)),
    Column("js_nats", per_image=js_divergence_per_sample),
    Column("mutual_information_nats", "mutual information"),
    Column("chance_floor_nats", "its chance floor"),
)
ENTROPIES = (  # in the files, not on the screen
    Column(
        "entropy_p_nats", "entropy of the ensemble", name="entropy_ensemble_nats",
        per_image=lambda p, _: predictive_entropy_per_sample(p),
    ),
    Column("entropy_q_nats", per_image=lambda _, q: predictive_entropy_per_sample(q)),
)  # fmt: skip

REPRESENTATIONS = (Column("linear_cka"),)  # of the features of both
# The same of each teacher and the student, and of each two teachers, in the report.
ALIGNMENTS = tuple(
    Column(f"linear_cka_{p}_{q}", f"{p} and {q}")
    for p, q in itertools.combinations((*(f"T{k}" for k in TEACHER_NUMBERS), "S"), 2)
)

# A student's fidelity to its teachers, as the report asks for it.
FIDELITIES = (
    *(
        Column(f"fidelity_ensemble_{view}", f"{view} view", decimals=1, unit="%")
        for view in GRID_LETTERS.values()
    ),
    Column("fidelity_ensemble_train", "training images", decimals=1, unit="%"),
    *(Column(f"fidelity_T{k}_test", f"to T{k}", decimals=1, unit="%") for k in TEACHER_NUMBERS),
)

# Of a student and its ensemble under the student's own training view (the paper's figure 3), by
# measure and images.
OWN_VIEW = {
    (measure, images): Column(
        f"{measure}_own_view_{images}", f"{words}, own view, {images} images", *how
    )
    for measure, words, how in (
        ("fidelity", "fidelity", (1, "%")),
        ("mutual_information_nats", "MI", (3, "nats")),
    )
    for images in ("training", "test")
}


def _overlap(among: str, heading: str) -> tuple[Column, ...]:
    """Of the maps of several models, in the report under `iou_<among>`."""
    name = f"iou_{among}"
    return (
        Column("iou", heading, name=name),
        Column("iou_low", name=f"{name}_low"),
        Column("iou_high", name=f"{name}_high"),
        Column("iou_chance", "chance", name=f"{name}_chance"),
        Column("iou_pooled"),
        *map(Column, ("iou_in_image", "iou_in_image_low", "iou_in_image_high")),  # of halves
        Column("constant_maps", name=f"{name}_constant_maps"),
        *map(Column, ("object_iou", "object_iou_low", "object_iou_high", "pointing_game")),
    )


OVERLAP = {  # by the group of models
    "T_T": _overlap("teachers", "IoU, teachers"),
    "T_S": _overlap("student", "IoU, teachers and student"),
}
