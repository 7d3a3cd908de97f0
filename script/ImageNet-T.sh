#!/usr/bin/env bash
# The four teachers of ImageNet's 2T grid: T1 and T2, on the weak and on the strong view.
#
#   bash script/ImageNet-T.sh [FLAGS]     flags go to train_teacher.py, such as --epochs 2
#
# DATA     data root with train/ and val/ (default: data)
# DATASET  data set (default: ImageNet)
# RECIPE   file of settings (default: the data set's own in script/recipes)
# CELLS    cells to train, names or groups (default: T1w T1s T2w T2s)
# SEEDS    has no effect: a teacher's number is its seed
# GPUS     devices to spread cells over, a process each: "0 1 2", or "cpu cpu"
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements.txt
train train_teacher.py "${DATASET:-ImageNet}" "${RECIPE:-}" "${CELLS:-T1w T1s T2w T2s}" "$@"
