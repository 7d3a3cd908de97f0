#!/usr/bin/env bash
# Overlap of a student's attention with its one or two teachers', maps drawn.
#
#   bash script/IoU_TS.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
measure evaluation/calculate_iou.py "1T 2T" --group T_S --name iou_T_S "$@"
