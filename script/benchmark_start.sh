#!/usr/bin/env bash
# Seconds until something is said: --help of a trainer, and a script whose 30 cells are finished,
# after training them for an epoch on a few embedded images (a minute).
#
#   bash script/benchmark_start.sh
set -euo pipefail
source "$(dirname "$0")/common.sh"
help_alone "$@"
use_python requirements.txt
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export DATASET=synthetic CELLS="0T 1T 2T 3T"
flags=(--output-dir "$folder" --epochs 1 --max-train-images 64 --max-test-images 32 --arch resnet8)
CELLS=T bash "$ROOT/script/cifar100-T.sh" "${flags[@]}" >"$folder/log" 2>&1
bash "$ROOT/script/cifar100.sh" "${flags[@]}" >"$folder/log" 2>&1
TIMEFORMAT="  %R s"
echo "train_student.py --help:"
time "$PYTHON" "$ROOT/train_student.py" --help >"$folder/log"
echo "cifar100.sh, 30 cells, all finished:"
time bash "$ROOT/script/cifar100.sh" "${flags[@]}" >"$folder/log" 2>&1
