#!/usr/bin/env bash
# The students of ImageNet with two teachers (ImageNet-T.sh trains those).
#
#   bash script/ImageNet.sh [FLAGS]     --help lists the variables and the flags
set -euo pipefail
source "$(dirname "$0")/common.sh"
train train_student.py ImageNet "2T" "$@"
