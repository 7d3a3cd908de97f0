#!/usr/bin/env bash
# The four teachers of ImageNet-LT's 2T grid: T1 and T2, on the weak and on the strong view.
#
#   bash script/ImageNet_LT-T.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
train train_teacher.py ImageNet_LT "T1w T1s T2w T2s" "$@"
