#!/usr/bin/env bash
# The paper's section 6.3: the students of two teachers with the softened KL of the logits, and of both
# nets' logits as z-scores (--loss standardised), at equal weight and temperature, then every measurement;
# report/paper.md shows gap and fidelity side by side. The second ones are variants, T1w_T2w_Sw+standardised;
# TEACHERS (T1 and T2 of both views) are trained if they are missing. DATASET is CIFAR100, CELLS 2T,
# WEIGHT .4: the recipes' 1 - ce_weight, which is the first ones' weight.
#
#   bash script/zscore.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
help_with train_student.py "$@"
set_dataset CIFAR100 "$@"
weight=${WEIGHT:-0.4} cells=${CELLS:-2T} variants=
for cell in $cells; do variants="$variants $cell+standardised"; done
CELLS=${TEACHERS:-T1w T1s T2w T2s} step train train_teacher.py "$DATASET" "" "$@"
CELLS=$cells step train train_student.py "$DATASET" "" "$@"
CELLS=$variants step train train_student.py "$DATASET" "" --loss standardised --kd-weight "$weight" "$@"
CELLS="$cells $variants" last_step measure script/evaluate.py "" --output-dir "$(runs_folder "$@")"
