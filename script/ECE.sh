#!/usr/bin/env bash
# Calibration of the teachers and of the students with up to two of them, with reliability diagrams.
#
#   bash script/ECE.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
measure evaluation/calculate_ece.py "T 0T 1T 2T" --name ece "$@"
