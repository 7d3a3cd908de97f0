#!/usr/bin/env bash
# The students of CIFAR-100 with three teachers (cifar100-T.sh trains those).
#
#   bash script/3T_cifar100.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
train train_student.py CIFAR100 "3T" "$@"
