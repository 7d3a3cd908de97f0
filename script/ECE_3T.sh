#!/usr/bin/env bash
# Calibration of the teachers and of the students with three of them, with reliability diagrams.
#
#   bash script/ECE_3T.sh [FLAGS]     flags go to metrics.calculate_ece (--help lists them)
#
# DATA     data root (default: data)
# DATASET  data set (default: CIFAR100)
# CELLS    cells to measure, names or groups (default: T 3T)
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements.txt
measure metrics.calculate_ece "${CELLS:-T 3T}" --name ece_3T "$@"
