#!/usr/bin/env bash
# The students of CIFAR-100-imb100 with three teachers (cifar100_imb-T.sh trains those).
#
#   bash script/3T_cifar100_imb.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
train train_student.py CIFAR100_imb100 "3T" "$@"
