#!/usr/bin/env bash
# Format, lint and tests: bash script/test.sh [PYTEST FLAGS]. Installs what it needs.
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements-dev.txt
"$PYTHON" -m ruff format --check .
"$PYTHON" -m ruff check .
"$PYTHON" -m pytest "$@"
