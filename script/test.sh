#!/usr/bin/env bash
# Format, lint, types and tests; installs what it needs.
#
#   bash script/test.sh [FLAGS]     flags go to pytest
set -euo pipefail
source "$(dirname "$0")/common.sh"
help_alone "$@"
cd "$ROOT"
use_python requirements-dev.txt
"$PYTHON" -m ruff format --check .
"$PYTHON" -m ruff check .
"$PYTHON" -m mypy
# A test file a core, in the order of their names: by their number of tests the longest would come last.
# One thread each: the nets are so small that threads wait for each other.
export OMP_NUM_THREADS=1
"$PYTHON" -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
