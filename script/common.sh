# Sourced by every script: goes to the project's folder and makes $PYTHON a Python that has what
# the project needs. That is the current one where it has it, else .venv, made and filled once.
cd "$(dirname "${BASH_SOURCE[0]}")/.."

use_python() { # use_python REQUIREMENTS_FILE
  local candidate
  for candidate in "${PYTHON:-python3}" .venv/bin/python; do
    if "$candidate" script/check_requirements.py "$1" 2>/dev/null; then
      PYTHON=$candidate
      return
    fi
  done
  if ! "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: Python 3.11 or newer is needed: name one with PYTHON=/path/to/python" >&2
    exit 2
  fi
  echo "installing $1 into .venv (several GB, once)"
  if [ ! -x .venv/bin/python ]; then
    "${PYTHON:-python3}" -m venv .venv
  fi
  .venv/bin/python -m pip install --quiet --requirement "$1"
  PYTHON=.venv/bin/python
}

runs_folder() { # runs_folder FLAGS...: the value of --output-dir among them, else runs
  local folder=runs
  while [ $# -gt 0 ]; do
    case $1 in
      --output-dir) folder=${2:?"--output-dir needs a folder"} ;;
      --output-dir=*) folder=${1#*=} ;;
    esac
    shift
  done
  echo "$folder"
}

# train PROGRAM DATASET RECIPE CELLS [FLAGS]: every cell of CELLS (names, or the groups T, 0T, 1T,
# 2T, 3T) for every seed of SEEDS, spread over GPUS. Finished cells are skipped, others resumed.
train() {
  local program=$1 dataset=$2 recipe=$3 cells=$4
  shift 4
  # The lists are split into words on purpose.
  # shellcheck disable=SC2086
  "$PYTHON" -m engine.launch "$program" --dataset "$dataset" --recipe "$recipe" \
    --cells $cells --seeds ${SEEDS:-1} --gpus ${GPUS:-} ${DATA:+--data-path "$DATA"} "$@"
}

# measure MODULE CELLS [FLAGS]: one measurement of the data set's finished cells.
measure() {
  local module=$1 cells=$2
  shift 2
  # The list is split into words on purpose.
  # shellcheck disable=SC2086
  "$PYTHON" -m "$module" --dataset "${DATASET:-CIFAR100}" --cells $cells ${DATA:+--data-path "$DATA"} "$@"
}
