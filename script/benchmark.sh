#!/usr/bin/env bash
# How fast this machine is at a training step, students side by side, start-up and the measures:
# medians and ratios, both sides of a ratio in one run.
#
#   bash script/benchmark.sh [FLAGS]     --repeats N
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements.txt
for what in benchmark_step benchmark_students benchmark; do
  "$PYTHON" "$ROOT/script/$what.py" "$@"
done
bash "$ROOT/script/benchmark_start.sh"
