#!/usr/bin/env bash
# Agreement of every student with its teachers, then the table of all finished cells with what has
# been measured of them so far (ECE.sh, IoU_*.sh, Affinity/).
#
#   bash script/report.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
help_with evaluation/calculate_agreement.py "$@"
(measure evaluation/calculate_agreement.py "1T 2T 3T" "$@")
(measure evaluation/calculate_claims.py "0T 1T 2T 3T" "$@") || echo "the claims were not judged: see above" >&2
use_python requirements.txt
exec "$PYTHON" "$ROOT/evaluation/report.py" --dataset "${DATASET:-CIFAR100}" --output-dir "$(runs_folder "$@")"
