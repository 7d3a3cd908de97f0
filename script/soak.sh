#!/usr/bin/env bash
# A small grid on the embedded data, killed and started again at random till it ends, then compared
# with one that was never killed; over and over.
#
#   bash script/soak.sh HOURS [FLAGS]     --seed N
set -euo pipefail
source "$(dirname "$0")/common.sh"
help_alone "$@"
use_python requirements.txt
exec "$PYTHON" "$ROOT/script/soak.py" "$@"
