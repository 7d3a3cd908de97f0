#!/usr/bin/env bash
# Feeds the readers of names, recipes, lists, archives, records, checkpoints and stored arrays with
# new damaged files for some minutes, at the lowest priority. What it finds becomes a test.
#
#   bash script/fuzz.sh MINUTES [FLAGS]     flags go to pytest
set -euo pipefail
source "$(dirname "$0")/common.sh"
help_alone "$@"
minutes=${1:?"how many minutes?"}
shift
cd "$ROOT"
use_python requirements-dev.txt
end=$((SECONDS + 60 * minutes))
while [ "$SECONDS" -lt "$end" ]; do
  FUZZ_EXAMPLES=${FUZZ_EXAMPLES:-1000} nice -n 19 "$PYTHON" -m pytest -x tests/test_fuzz_*.py "$@"
done
