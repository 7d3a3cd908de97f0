#!/usr/bin/env bash
# Agreement of every student with its teachers, then the table of all finished cells with what has
# been measured of them so far (ECE.sh, IoU_*.sh, Affinity/).
#
#   bash script/report.sh [FLAGS]     flags go to metrics.calculate_agreement (--help lists them)
#
# DATASET  data set (default: CIFAR100)
# CELLS    students whose agreement is measured (default: 1T 2T 3T)
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements.txt
measure metrics.calculate_agreement "${CELLS:-1T 2T 3T}" "$@"
"$PYTHON" -m metrics.report --dataset "${DATASET:-CIFAR100}" --output-dir "$(runs_folder "$@")"
