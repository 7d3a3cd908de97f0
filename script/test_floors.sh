#!/usr/bin/env bash
# The tests on the oldest version of every package that requirements.txt admits, installed into
# FLOORS_VENV (default: .venv-floors, some 5 GB) the first time.
#
#   bash script/test_floors.sh [FLAGS]     flags go to pytest
set -euo pipefail
source "$(dirname "$0")/common.sh"
help_alone "$@"
cd "$ROOT"
venv=${FLOORS_VENV:-.venv-floors}
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
floors=$(mktemp)
trap 'rm -f "$floors"' EXIT
sed 's/>=/==/' requirements.txt >"$floors"
"$venv/bin/python" -m pip install --disable-pip-version-check --requirement "$floors" \
  --constraint requirements-dev.txt pytest hypothesis ruff torchmetrics scikit-learn
"$venv/bin/python" -m pip list --disable-pip-version-check | grep -iE "^(torch|numpy|scipy|pillow|tqdm|pyyaml|matplotlib)"
"$venv/bin/python" -m pytest "$@"
