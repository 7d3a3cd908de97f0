#!/usr/bin/env bash
# The tests on the oldest version of every package that pyproject.toml admits, installed into
# FLOORS_VENV (default: .venv-floors, some 5 GB) the first time.
#
#   bash script/test_floors.sh [FLAGS]     flags go to pytest
set -euo pipefail
source "$(dirname "$0")/common.sh"
cd "$ROOT"
venv=${FLOORS_VENV:-.venv-floors}
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
floors=$("$venv/bin/python" -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*(line.replace(">=", "==") for line in project["dependencies"]))')
# The list is split into words on purpose.
# shellcheck disable=SC2086
"$venv/bin/python" -m pip install --disable-pip-version-check $floors \
  pytest hypothesis ruff torchmetrics scikit-learn
"$venv/bin/python" -m pip list --disable-pip-version-check | grep -iE "^(torch|numpy|scipy|pillow|tqdm|pyyaml|matplotlib)"
"$venv/bin/python" -m pytest "$@"
