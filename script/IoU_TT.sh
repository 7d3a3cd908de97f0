#!/usr/bin/env bash
# Overlap of two teachers' attention, for every pair that has a student.
#
#   bash script/IoU_TT.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
measure evaluation/calculate_iou.py "2T" --group T_T --name iou_T_T "$@"
