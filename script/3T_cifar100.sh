#!/usr/bin/env bash
# The students of CIFAR-100 with three teachers (cifar100-T.sh trains those).
#
#   bash script/3T_cifar100.sh [FLAGS]     flags go to train_student.py, such as --epochs 2
#
# DATA     data root (default: data)
# DATASET  data set (default: CIFAR100)
# RECIPE   file of settings (default: the data set's own in script/recipes)
# CELLS    cells to train, names or groups (default: 3T)
# SEEDS    seeds of the students (default: 1)
# GPUS     devices to spread cells over, a process each: "0 1 2", or "cpu cpu"
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements.txt
train train_student.py "${DATASET:-CIFAR100}" "${RECIPE:-}" "${CELLS:-3T}" "$@"
