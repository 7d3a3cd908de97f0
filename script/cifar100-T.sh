#!/usr/bin/env bash
# The six teachers of CIFAR-100: T1 to T3, on the weak and on the strong view.
#
#   bash script/cifar100-T.sh [FLAGS]     flags go to train_teacher.py, such as --epochs 2
#
# DATA     data root (default: data)
# DATASET  data set (default: CIFAR100)
# RECIPE   file of settings (default: the data set's own in script/recipes)
# CELLS    cells to train, names or groups (default: T)
# SEEDS    has no effect: a teacher's number is its seed
# GPUS     devices to spread cells over, a process each: "0 1 2", or "cpu cpu"
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements.txt
train train_teacher.py "${DATASET:-CIFAR100}" "${RECIPE:-}" "${CELLS:-T}" "$@"
