#!/usr/bin/env bash
# The six teachers of CIFAR-100-imb100: T1 to T3, on the weak and on the strong view.
#
#   bash script/cifar100_imb-T.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
train train_teacher.py CIFAR100_imb100 "T" "$@"
