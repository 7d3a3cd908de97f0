#!/usr/bin/env bash
# The arms of docs/causes.md, weak teachers and students of both views: the overlap of the teachers'
# maps at doses, with a placebo; fidelity at the same teachers, by the weight on them, the temperature
# and answers about other images; teachers of halves of the images. DATASET is CIFAR100, the variants
# are those of script/causes.yaml. report.sh judges what is finished.
#
#   bash script/causes.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
help_with train_student.py "$@"
dataset=${DATASET:-CIFAR100} flags=(--variants "$ROOT/script/causes.yaml" "$@")
overlap="r0 r25 r50 r75 r95 placebo95"
fidelity="kl0 kl10 kl80 kl T1 T10 shuffled hard halves same-half whole"
second="T2w T2w+left T2w+right $(printf 'T2w+%s ' $overlap)" students=
for s in Sw Ss; do
  students+=" T1w_T2w_$s T1w+left_T2w+right_$s T1w+left_T2w+left_$s"
  students+=" $(printf "T1w_T2w+%s_$s " $overlap) $(printf "T1w_T2w_$s+%s " $fidelity)"
done
CELLS="T1w T1w+left" step train train_teacher.py "$dataset" "" "${flags[@]}"
CELLS=$second step train train_teacher.py "$dataset" "" "${flags[@]}"
CELLS=$students last_step train train_student.py "$dataset" "" "${flags[@]}"
