#!/usr/bin/env bash
# The whole experiment in three minutes on a laptop: six teachers and eight students on the
# embedded data set, every measurement, figures and a table. Installs what it needs; run it again and it reuses all.
#
#   bash script/quickstart.sh [FLAGS]     flags go to both trainers, such as --epochs 16
#
# DATA     data root of another data set (default: data)
# DATASET  data set (default: synthetic)
# RECIPE   file of settings (default: the data set's own in script/recipes)
# CELLS    students to train (default: weak or strong throughout, with 0 to 3 teachers)
# SEEDS    seeds of the students (default: 1)
# GPUS     devices to spread cells over, a process each (default: "cpu cpu", one core for each)
set -euo pipefail
source "$(dirname "$0")/common.sh"
use_python requirements.txt
DATASET=${DATASET:-synthetic} GPUS=${GPUS:-cpu cpu}
CELLS=${CELLS:-Sw Ss T1w_Sw T1s_Ss T1w_T2w_Sw T1s_T2s_Ss T1w_T2w_T3w_Sw T1s_T2s_T3s_Ss}
train train_teacher.py "$DATASET" "${RECIPE:-}" T "$@"
train train_student.py "$DATASET" "${RECIPE:-}" "$CELLS" "$@"
# The list is split into words on purpose.
# shellcheck disable=SC2086
"$PYTHON" -m metrics.evaluate --dataset "$DATASET" --output-dir "$(runs_folder "$@")" --cells $CELLS \
  ${DATA:+--data-path "$DATA"}
