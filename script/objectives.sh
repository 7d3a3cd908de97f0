#!/usr/bin/env bash
# One pair of teachers, students by each objective and each combination of the two (docs/losses.md), side
# by side, on the weak and on the strong view; then every measurement of them, all below runs/objectives:
# its variants (script/objectives.yaml) share names with those of causes.sh and zscore.sh. DATASET is
# CIFAR100, PAIR the teachers (T1w_T2w), LOSSES some of the variants.
#
#   SEEDS="1 2 3" bash script/objectives.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
help_with train_student.py "$@"
set_dataset CIFAR100 "$@"
set -- --output-dir runs/objectives "$@"
pair=${PAIR:-T1w_T2w} students=
variants=$ROOT/script/objectives.yaml
losses=${LOSSES:-$(sed -n 's/^\([a-z0-9-]*\):.*/\1/p' "$variants")}
for s in Sw Ss; do students+=" $s $(printf "${pair}_$s+%s " $losses)"; done
CELLS=${pair//_/ } step train train_teacher.py "$DATASET" "" "$@"
CELLS=$students step train train_student.py "$DATASET" "" --variants "$variants" "$@"
CELLS="${pair//_/ } $students" step measure script/evaluate.py "" --output-dir "$(runs_folder "$@")"
CELLS=${students//S[ws] /} last_step measure evaluation/compare_objectives.py "" \
  --output-dir "$(runs_folder "$@")"
