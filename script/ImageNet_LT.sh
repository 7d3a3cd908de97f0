#!/usr/bin/env bash
# The students of ImageNet-LT with two teachers (ImageNet_LT-T.sh trains those).
#
#   bash script/ImageNet_LT.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
train train_student.py ImageNet_LT "2T" "$@"
