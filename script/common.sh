# Sourced by every script. The variables that they share, where a script has a use for them:
#
#   DATA     data root (default: data)
#   DATASET  data set (default: the one in the script's name)
#   RECIPE   file of settings (default: the data set's own in script/recipes)
#   CELLS    cells, by name or by group: T, 0T, 1T, 2T, 3T (default: the script's own)
#   SEEDS    replicates, of teachers and students alike (default: the recipe's, else 1)
#   GPUS     devices to spread cells over, a process each: "0 1 2", or "cpu cpu"; one may be named twice
#   SHARD    2/8 takes the second of eight parts of the cells and seeds, for eight machines to share;
#            the tasks of a Slurm array share them without it (script/slurm_example.sh)
#   NPROC    processes that train a cell together, each with a part of every batch (default: 1);
#            a device of GPUS is then a list: GPUS="0,1,2,3" NPROC=4
#   NNODES   machines with NPROC processes each (default: 1): the same command on each of them, with
#            NODE_RANK 0, 1, ..., MASTER_ADDR (of machine 0) and, if 29500 is taken, MASTER_PORT
#   PYTHON   the Python to use (default: python3 if it has what is needed, else .venv's)
#
# Students of one view and seed learn side by side in one process, at most --together of them, and
# what follows on the same device shares the process. Finished cells are skipped, unfinished ones
# resumed. Those whose loss is no longer finite are named at the end (exit code 3), after the further
# steps of a script of several; any other failure stops the rest, as that of a student whose teacher
# is missing.
# Relative paths are of the folder that you are in.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH} # this checkout's code, whatever is installed
# Up to a gigabyte of freed memory stays with the process (glibc): else the tensors of every step are
# given back and mapped anew, a tenth of the time on a CPU.
export MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-1073741824}
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-1073741824}

# Where --help is among the flags: what the script says of itself, the variables, and the flags of
# PROGRAM, to which they go. Needs nothing but Python.
help_with() { # help_with PROGRAM FLAGS...
  local program=$1
  shift
  if asks_for_help "$@"; then
    about_this_script
    sed -n '/^#   /s/^# //p' "${BASH_SOURCE[0]}"
    echo
    echo "Flags go to $program:"
    "${PYTHON:-python3}" "$ROOT/$program" --help
    exit
  fi
}

# The same of a script without such a program.
help_alone() { # help_alone FLAGS...
  if asks_for_help "$@"; then
    about_this_script
    exit
  fi
}

asks_for_help() { # asks_for_help FLAGS...
  local flag
  for flag in "$@"; do
    if [ "$flag" = --help ] || [ "$flag" = -h ]; then return 0; fi
  done
  return 1
}

about_this_script() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
}

# Makes $PYTHON a Python that has what a requirements file asks for: the current one where it has,
# else .venv's, made and filled once.
use_python() { # use_python REQUIREMENTS_FILE
  local candidate
  for candidate in "${PYTHON:-python3}" "$ROOT/.venv/bin/python"; do
    if "$candidate" "$ROOT/script/check_requirements.py" "$ROOT/$1" 2>/dev/null; then
      if [ "$candidate" != "${PYTHON:-$candidate}" ]; then
        echo "$PYTHON has not all of $1: $candidate is used" >&2
      fi
      PYTHON=$candidate
      return
    fi
  done
  if ! "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: Python 3.11 or newer is needed: name one with PYTHON=/path/to/python" >&2
    exit 2
  fi
  echo "installing $1 into .venv, once: a download of about 3 GB, most of it PyTorch" >&2
  [ -x "$ROOT/.venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$ROOT/.venv"
  PYTHON=$ROOT/.venv/bin/python
  (cd "$ROOT" && "$PYTHON" -m pip install --disable-pip-version-check --requirement "$1" >&2)
}

# train PROGRAM DATASET CELLS [FLAGS]: SHARD's part of every cell of CELLS for every seed of SEEDS, over
# GPUS.
train() {
  local program=$1 dataset=$2 cells=$3
  shift 3
  help_with "$program" "$@"
  use_python requirements.txt
  export CELLS=${CELLS:-$cells}
  exec "$PYTHON" "$ROOT/script/launch.py" "$program" --dataset "${DATASET:-$dataset}" "$@"
}

# measure PROGRAM CELLS [FLAGS]: one measurement of the data set's finished cells.
measure() {
  local program=$1 cells=$2
  shift 2
  help_with "$program" "$@"
  use_python requirements.txt
  export CELLS=${CELLS:-$cells}
  exec "$PYTHON" "$ROOT/$program" "$@"
}

# Both take the script's place, so that a signal to it reaches them; in ( ) a script goes on after, and
# as a step it does so where runs diverged too.

diverged=0 # else 3, the exit code of a script after such a step

step() { # step train ...: any command, in ( ); a failure of another kind ends the script
  local code
  set +e
  (
    set -e # which `( ... ) || code=$?` would switch off in here
    "$@"
  )
  code=$?
  set -e
  case $code in
    0) ;;
    3) diverged=3 ;;
    *) exit "$code" ;;
  esac
}

last_step() { # last_step measure ...: takes the script's place where no run diverged
  if [ "$diverged" = 0 ]; then "$@"; fi
  step "$@"
  exit "$diverged"
}

value_of() { # value_of FLAG DEFAULT FLAGS...: the value that FLAG has last among them, else DEFAULT
  local flag=$1 value=$2
  shift 2
  while [ $# -gt 0 ]; do
    case $1 in
      "$flag") value=${2:?"$flag needs a value"} ;;
      "$flag"=*) value=${1#*=} ;;
    esac
    shift
  done
  echo "$value"
}

runs_folder() { # runs_folder FLAGS...: where the runs of a trainer with these flags are
  value_of --output-dir runs "$@"
}

# set_dataset DEFAULT FLAGS...: makes DATASET what --dataset says among the flags, else what it is, else
# DEFAULT, so that a script trains and measures one data set.
set_dataset() {
  DATASET=$(value_of --dataset "${DATASET:-$1}" "${@:2}")
  export DATASET
}
