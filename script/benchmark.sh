#!/usr/bin/env bash
# How fast the measures are on this machine, and students side by side: medians and ratios, both
# sides of a ratio in one run.
#
#   bash script/benchmark.sh [FLAGS]     --repeats N
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements.txt
"$PYTHON" "$ROOT/script/benchmark.py" "$@"
"$PYTHON" "$ROOT/script/benchmark_students.py" "$@"
