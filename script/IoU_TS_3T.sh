#!/usr/bin/env bash
# Overlap of a student's attention with its three teachers'.
#
#   bash script/IoU_TS_3T.sh [FLAGS]     flags go to metrics.calculate_iou (--help lists them)
#
# DATA     data root (default: data)
# DATASET  data set (default: CIFAR100)
# CELLS    cells to measure, names or groups (default: 3T)
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements.txt
measure metrics.calculate_iou "${CELLS:-3T}" --group T_S --name iou_T_S_3T "$@"
