#!/bin/sh
# Reads the event files of a run with TensorBoard's own reader, from PyPI.
#
#   run.sh PYTHON LASNET WORK_FOLDER
#
# Exits with 77, which CTest shows as skipped, where PyPI cannot be reached.
set -eu
python=$1 program=$2 work=$3

skip() { printf 'tensorboard: skipped: %s\n' "$*"; exit 77; }

if ! "$work/bin/python" -c 'import tensorboard' 2>/dev/null; then
  rm -rf "$work"
  "$python" -m venv "$work" || skip "$python cannot make virtual environments (python3-venv)"
  "$work/bin/pip" install -q tensorboard || skip 'tensorboard cannot be had from PyPI'
fi
exec "$work/bin/python" "$(dirname "$0")/check_event_files.py" "$program" "$work/run"
