#!/usr/bin/env bash
# How fast this machine is at a training step, at a step by each loss, at students side by side, at the
# start and at the measures: medians and ratios, both sides of a ratio in one run.
#
#   bash script/benchmark.sh [FLAGS]     --repeats N
set -euo pipefail
source "$(dirname "$0")/common.sh"
help_alone "$@"
use_python requirements.txt
for what in benchmark_step benchmark_losses benchmark_students benchmark; do
  "$PYTHON" "$ROOT/script/$what.py" "$@"
done
bash "$ROOT/script/benchmark_start.sh"
