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
pair() { # pair STRENGTH FLAGS...: where the teacher diverged, the student is not tried
  (CELLS=T1s+s$1 train train_teacher.py "$DATASET" "" --strength "$@")
  CELLS=T1s+s${1}_Ss+s$1 train train_student.py "$DATASET" "" --strength "$@"
}
students=
for s in ${STRENGTHS:-0 0.25 0.5 0.75 1}; do
  students="$students T1s+s${s}_Ss+s$s"
  step pair "$s" "$@"
done
CELLS=$students last_step measure script/evaluate.py "" --output-dir "$(runs_folder "$@")"
