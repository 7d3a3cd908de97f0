#!/usr/bin/env bash
# All that can be said of the finished runs: every measurement, the paper's claims with intervals and
# verdicts, controls, figures (all in runs/<data set>/report/, index.html is all of them), then the
# table of all cells.
# CELLS (students) leaves the rest out; claims, which are of all of them, are then not judged anew.
#
#   bash script/report.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
measure script/evaluate.py "" "$@"
