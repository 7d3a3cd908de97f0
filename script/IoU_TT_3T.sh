#!/usr/bin/env bash
# Overlap of three teachers' attention, for every three that have a student.
#
#   bash script/IoU_TT_3T.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
measure evaluation/calculate_iou.py "3T" --group T_T --name iou_T_T_3T "$@"
