#!/usr/bin/env bash
# Overlap of a student's attention with its three teachers', maps drawn.
#
#   bash script/IoU_TS_3T.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
measure evaluation/calculate_iou.py "3T" --group T_S --name iou_T_S_3T "$@"
