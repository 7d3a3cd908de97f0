#!/usr/bin/env bash
# Calibration of the teachers and of the students with three of them, with reliability diagrams.
#
#   bash script/ECE_3T.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
measure evaluation/calculate_ece.py "T 3T" --name ece_3T "$@"
