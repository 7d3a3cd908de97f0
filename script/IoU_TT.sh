#!/usr/bin/env bash
# Overlap of two teachers' attention, for every pair that has a student.
#
#   bash script/IoU_TT.sh [FLAGS]     flags go to metrics.calculate_iou (--help lists them)
#
# DATA     data root (default: data)
# DATASET  data set (default: CIFAR100)
# CELLS    cells to measure, names or groups (default: 2T)
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements.txt
measure metrics.calculate_iou "${CELLS:-2T}" --group T_T --name iou_T_T "$@"
