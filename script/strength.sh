#!/usr/bin/env bash
# A sweep over the strength of the strong view: a teacher and its student at 0, .25, .5, .75 and 1,
# as the variants T1s+s0.25 and T1s+s0.25_Ss+s0.25, then every measurement of them. DATASET is
# CIFAR100, STRENGTHS the values.
#
#   bash script/strength.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
help_with train_student.py "$@"
set_dataset CIFAR100 "$@"
students=
for s in ${STRENGTHS:-0 0.25 0.5 0.75 1}; do
  teacher=T1s+s$s student=T1s+s${s}_Ss+s$s
  students="$students $student"
  (CELLS=$teacher train train_teacher.py "$DATASET" "" --strength "$s" "$@")
  (CELLS=$student train train_student.py "$DATASET" "" --strength "$s" "$@")
done
CELLS=$students measure script/evaluate.py "" --output-dir "$(runs_folder "$@")"
