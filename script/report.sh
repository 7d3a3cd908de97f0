#!/usr/bin/env bash
# The table of all finished cells of a data set: bash script/report.sh [FLAGS]
#
# DATASET  data set (default: CIFAR100)
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements.txt
"$PYTHON" -m metrics.report --dataset "${DATASET:-CIFAR100}" "$@"
