#!/bin/sh
# On a machine with a GPU: holds the cuda backend against the CPU's, looks for memory errors and races with
# compute-sanitizer, then times it beside PyTorch, and calibrates and validates the latency model. Needs no network, no
# compiler, Python 3 for the times, and about ten minutes at most.
#
#   scripts/gpu_check.sh [BUILD]            in a source tree; BUILD is build/ by default
#   scripts/gpu_check.sh --bundle [BUILD]   copies what it needs to BUILD/gpu-check, which may be moved to another machine:
#                                           gpu-check/gpu_check.sh; its C library must be as new as this one's
#
# In the environment: NETWORK (resnet101), REPEAT (5), PYTHON (python3); OUT: folder for the results (gpu-check-results);
# PARTS: some of "networks memory peers lasnet kernels model" (all of them).
set -eu

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'gpu_check: %s\n' "$*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
programs='lasnet lasnet-bench test_gpu_network bench_cuda_roofline'

usage() { sed -n '2,/^set -eu/p' "$0" | sed '$d; s/^# \{0,1\}//'; }
case ${1:-} in
  -h | --help) usage; exit ;;
  --bundle) limit=2 ;;
  -*) usage >&2; fail "there is no option $1" ;;
  *) limit=1 ;;
esac
[ $# -le "$limit" ] || fail "too many arguments: $*"

if [ "${1:-}" = --bundle ]; then
  [ ! -x "$here/test_gpu_network" ] || fail "$here is such a folder already: copy it"
  build=${2:-$here/../build}
  bundle=$build/gpu-check
  for program in $programs; do
    [ -x "$build/$program" ] || fail "$build/$program is missing; \`make build\` makes it where nvcc is installed"
  done
  mkdir -p "$bundle/lib"
  for program in $programs; do
    cp "$build/$program" "$bundle/"
    strip "$bundle/$program"
    # All but the loader and the C library, which belong to the machine.
    ldd "$build/$program" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' |
      grep -vE '/(libc|libm|libpthread|libdl|librt|ld-linux[^/]*)\.so' | xargs -r cp -Lt "$bundle/lib"
  done
  cp "$0" "$bundle/gpu_check.sh"
  cp "$here/../bench/peers/cuda_peers.py" "$here/../bench/cuda_table.py" "$bundle/"
  echo "$bundle"
  exit
fi

if [ -x "$here/test_gpu_network" ]; then
  build=$here peers=$here/cuda_peers.py table=$here/cuda_table.py
else
  build=${1:-$here/../build} peers=$here/../bench/peers/cuda_peers.py table=$here/../bench/cuda_table.py
fi
out=${OUT:-gpu-check-results}
network=${NETWORK:-resnet101} repeat=${REPEAT:-5} python=${PYTHON:-python3}
all_parts='networks memory peers lasnet kernels model'
parts=${PARTS:-$all_parts}
for part in $parts; do
  case " $all_parts " in *" $part "*) ;; *) fail "PARTS names '$part'; there are, with spaces between: $all_parts" ;; esac
done
export LD_LIBRARY_PATH="$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
for program in $programs; do
  [ -x "$build/$program" ] || fail "$build/$program is missing; \`make build\` makes it where nvcc is installed"
done

say 'device'
"$build/lasnet" info | grep '^cuda'
"$build/lasnet" info --json | grep -q '"devices": \[\]' &&
  fail "no usable CUDA device: $here or a folder that --bundle makes can be taken to a machine with one"
"$build/lasnet" info | grep '^cuda' | grep -q 'an older one' &&
  echo "Its times are not those of a build for this device: -DLASNET_CUDA_ARCHITECTURES"
mkdir -p "$out/empty"
XDG_CACHE_HOME=$(cd "$out/empty" && pwd)  # what calibrations of the past chose is not what is looked at
export XDG_CACHE_HOME

check_networks() {
  say 'every network, schedule and precision against the CPU'
  timeout 180 "$build/test_gpu_network" --gtest_brief=1
}

check_memory() {
  sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
  [ -x "$sanitizer" ] || { echo 'compute-sanitizer is not installed: skipped'; return; }
  for tool in memcheck racecheck synccheck; do
    say "compute-sanitizer $tool"
    timeout 90 "$sanitizer" --tool $tool --error-exitcode 1 "$build/test_gpu_network" --gtest_brief=1 \
      --gtest_filter='*Smallest*:*FiniteNumbers*' >"$out/$tool.txt" 2>&1 || { tail -40 "$out/$tool.txt"; fail "$tool found errors"; }
    tail -1 "$out/$tool.txt"
  done
}

time_peers() {
  say "$network: PyTorch's fastest ways of running the static network"
  "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null || {
    echo "$python has no PyTorch with CUDA: skipped"
    return
  }
  timeout 120 "$python" "$peers" "$network" --repeat 20 --compile none --json >"$out/peers.json" || {
    echo 'PyTorch was not done in time, or failed: not counted'
    rm -f "$out/peers.json"
  }
  for batch in 1 128; do  # where it matters: it takes its time
    timeout "${COMPILE_LIMIT:-100}" "$python" "$peers" "$network" --repeat 20 --batches $batch \
      --precisions fp16 --compile cudnn --json >"$out/peers-compiled-$batch.json" 2>"$out/compile-$batch.txt" || {
      echo "torch.compile at batch $batch was not done in time, or failed ($out/compile-$batch.txt): not counted"
      rm -f "$out/peers-compiled-$batch.json"
    }
  done
}

# print_tables FILE [OPTION ...]: beside what PyTorch took, if it was timed.
print_tables() {
  file=$1
  shift
  set -- "$@" --peers
  for each in "$out"/peers*.json; do [ -e "$each" ] && set -- "$@" "$each"; done
  "$python" "$table" --lasnet "$build/lasnet" --network "$network" --repeat "$repeat" "$@" \
    >"$out/$file" 2>>"$out/commands.txt" || { tail -3 "$out/commands.txt"; fail "$table failed"; }
  cat "$out/$file"
}

time_lasnet() {
  say 'lasnet'
  print_tables tables.md
}

time_kernels() {
  say 'kernels beside their floors'
  timeout 60 "$build/bench_cuda_roofline" >"$out/roofline.md" || fail 'bench_cuda_roofline failed, or was not done in time'
  cat "$out/roofline.md"
}

check_model() {
  say 'the latency model'
  timeout 60 "$build/lasnet" calibrate --device cuda -o "$out/profile.toml"
  timeout 120 "$build/lasnet" validate-predictor --device cuda --hardware "$out/profile.toml" --quick \
    >"$out/predictor.txt" || fail 'validate-predictor failed, or was not done in time'
  cat "$out/predictor.txt"
  say 'lasnet, with tiles and schedules chosen by that calibration'
  mkdir -p "$out/cache/lasnet"
  cp "$out/profile.toml" "$out/cache/lasnet/cuda.toml"
  (XDG_CACHE_HOME=$(cd "$out/cache" && pwd) && print_tables tables-calibrated.md --quick)
}

: >"$out/commands.txt"
for part in $parts; do
  case $part in
    networks) check_networks ;;
    memory) check_memory ;;
    peers) time_peers ;;
    lasnet) time_lasnet ;;
    kernels) time_kernels ;;
    model) check_model ;;
  esac
done
