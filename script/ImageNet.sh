#!/usr/bin/env bash
# The students of ImageNet with two teachers (ImageNet-T.sh trains those).
#
#   bash script/ImageNet.sh [FLAGS]     flags go to train_student.py, such as --epochs 2
#
# DATA     data root with train/ and val/ (default: data)
# DATASET  data set (default: ImageNet)
# RECIPE   file of settings (default: the data set's own in script/recipes)
# CELLS    cells to train, names or groups (default: 2T)
# SEEDS    seeds of the students (default: 1)
# GPUS     devices to spread cells over, a process each: "0 1 2", or "cpu cpu"
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements.txt
train train_student.py "${DATASET:-ImageNet}" "${RECIPE:-}" "${CELLS:-2T}" "$@"
