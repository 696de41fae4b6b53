#!/bin/sh
# Tests the server as its users' clients see it: an unmodified tritonclient from PyPI, hostile clients, a browser, nginx.
#
#   run_clients.sh PYTHON LASNET_SERVE SOURCE_TREE WORK_FOLDER [PYTEST ARGUMENTS...]
#
# Exits with 77, which CTest shows as skipped, where PyPI cannot be reached. What else a machine lacks is skipped by name.
set -eu
python=$1 program=$2 tree=$3 work=$4
shift 4

skip() { printf 'run_clients: skipped: %s\n' "$*"; exit 77; }

if ! "$work/bin/python" -c 'import tritonclient.http, pytest, PIL, prometheus_client, schemathesis' 2>/dev/null; then
  rm -rf "$work"
  "$python" -m venv "$work" || skip "$python cannot make virtual environments (python3-venv)"
  "$work/bin/pip" install -q 'tritonclient[http]' pytest pillow prometheus-client schemathesis ||
    skip 'the packages that the tests use cannot be had from PyPI'
fi
LASNET_SERVE=$program LASNET_TREE=$tree exec "$work/bin/python" -m pytest -q -rs -p no:cacheprovider \
  "$tree/tests/serve/clients" "$@"
