#!/usr/bin/env bash
# How fast the measures are on this machine: medians and ratios, both sides of a ratio in one run.
#
#   bash script/benchmark.sh [FLAGS]     --help lists the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
measure script/benchmark.py "" "$@"
