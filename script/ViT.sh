#!/usr/bin/env bash
# The paper's appendix E: two transformers teach a third one of finer patches, on weak and strong views.
# T1 and T2 of both views, then the students without and with two teachers, then every measurement, all
# below runs/ViT; their attention is the rollout. DATASET is CIFAR100_imb100 (synthetic is for a CPU),
# CELLS the students, RECIPE script/recipes/<data set>_vit.yaml (imb100 also has _vit_32px).
#
#   bash script/ViT.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
help_with train_student.py "$@"
set_dataset CIFAR100_imb100 "$@"
recipe=$(echo "$DATASET" | tr '[:upper:]' '[:lower:]')_vit.yaml
export RECIPE=${RECIPE:-$ROOT/script/recipes/$recipe}
set -- --output-dir runs/ViT "$@"
students=${CELLS:-0T 2T}
CELLS="T1w T1s T2w T2s" step train train_teacher.py "$DATASET" "" "$@"
CELLS=$students step train train_student.py "$DATASET" "" "$@"
CELLS=$students last_step measure script/evaluate.py "" --output-dir "$(runs_folder "$@")"
