#!/usr/bin/env bash
# The whole experiment in three minutes on a laptop: six teachers and eight students on the
# embedded data set, every measurement, figures and a table. Run it again and it reuses all.
# DATASET is synthetic, GPUS "cpu cpu" and CELLS the students that are weak or strong throughout.
# In float32, whatever the processor is faster in.
#
#   bash script/quickstart.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
students=${CELLS:-Sw Ss T1w_Sw T1s_Ss T1w_T2w_Sw T1s_T2s_Ss T1w_T2w_T3w_Sw T1s_T2s_T3s_Ss}
export GPUS=${GPUS:-cpu cpu}
help_with train_teacher.py "$@"
set_dataset synthetic "$@"
CELLS=T step train train_teacher.py "$DATASET" T --amp none "$@"
CELLS=$students step train train_student.py "$DATASET" "" --amp none "$@"
CELLS=$students last_step measure script/evaluate.py "" --output-dir "$(runs_folder "$@")"
