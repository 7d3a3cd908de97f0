#!/usr/bin/env bash
# The study of results/README.md, one replicate after the other: 11 teachers and 34 students of each
# seed of SEEDS (default: 1 to 10), side by side. DATASET is photographs, RECIPE that of
# results/study, and the variants are those of script/causes.yaml.
#
#   DATA=data/study bash script/study.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
help_with train_student.py "$@"
export RECIPE=${RECIPE:-$ROOT/results/study/recipe.yaml}
dataset=${DATASET:-photographs} flags=(--variants "$ROOT/script/causes.yaml" "$@")
overlap="r0 r50 r95 placebo95" students="0T 1T 2T"
second="T2w T2w+left T2w+right $(printf 'T2w+%s ' $overlap)"
for s in Sw Ss; do
  students+=" T2w_$s T2s_$s $(printf "T1w_T2w+%s_$s " $overlap) T1w_T2w_$s+kl T1w_T2w_$s+shuffled"
  students+=" T1w+left_T2w+right_$s T1w+left_T2w+left_$s"
done
replicate() { # of the seed SEEDS: without all of its teachers it is none, and goes no further
  (CELLS="T1w T1w+left T1s T2s" train train_teacher.py "$dataset" "" "${flags[@]}")
  (CELLS=$second train train_teacher.py "$dataset" "" "${flags[@]}")
  CELLS=$students train train_student.py "$dataset" "" "${flags[@]}"
}
for seed in ${SEEDS:-1 2 3 4 5 6 7 8 9 10}; do SEEDS=$seed step replicate; done
exit "$diverged"
