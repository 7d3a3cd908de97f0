#!/usr/bin/env bash
# The students of CIFAR-100-imb100 with no, one and two teachers (cifar100_imb-T.sh trains those).
#
#   bash script/cifar100_imb.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
train train_student.py CIFAR100_imb100 "0T 1T 2T" "$@"
