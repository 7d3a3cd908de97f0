#!/usr/bin/env bash
# How fast the measures are on this machine: medians and ratios, both sides of a ratio in one run.
#
#   bash script/benchmark.sh [FLAGS]     flags go to script/benchmark.py, such as --repeats 3
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements.txt
"$PYTHON" "$ROOT/script/benchmark.py" "$@"
