#!/bin/sh
# On a machine with a GPU: holds the cuda backend against the CPU's, looks for memory errors and races with
# compute-sanitizer, then times it beside PyTorch, and calibrates and validates the latency model. Needs no network, no
# compiler, Python 3 for the times, and about ten minutes at most.
#
#   scripts/gpu_check.sh [BUILD]            in a source tree; BUILD is build/ by default
#   scripts/gpu_check.sh --bundle [BUILD]   copies what it needs to BUILD/gpu-check, which may be moved to another machine:
#                                           gpu-check/gpu_check.sh
#
# NETWORK (resnet101), REPEAT (5), PYTHON (python3) in the environment; OUT: folder for the results (gpu-check-results).
set -eu

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'gpu_check: %s\n' "$*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
programs='lasnet lasnet-bench test_gpu_network'

if [ "${1:-}" = --bundle ]; then
  build=${2:-$here/../build}
  bundle=$build/gpu-check
  mkdir -p "$bundle/lib"
  for program in $programs; do
    [ -x "$build/$program" ] || fail "$build/$program is missing; build with -DLASNET_CUDA=ON"
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
export LD_LIBRARY_PATH="$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
mkdir -p "$out/empty"
export XDG_CACHE_HOME="$(cd "$out/empty" && pwd)"  # what calibrations of the past chose is not what is looked at
for program in $programs; do [ -x "$build/$program" ] || fail "$build/$program is missing"; done

say 'device'
"$build/lasnet" info | grep '^cuda'
"$build/lasnet" info --json | grep -q '"devices": \[\]' && fail 'there is no usable CUDA device'
"$build/lasnet" info | grep '^cuda' | grep -q 'an older one' &&
  echo "Its times are not those of a build for this device: -DLASNET_CUDA_ARCHITECTURES"

say 'every network, schedule and precision against the CPU'
timeout 180 "$build/test_gpu_network" --gtest_brief=1
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
if [ -x "$sanitizer" ]; then
  for tool in memcheck racecheck synccheck; do
    say "compute-sanitizer $tool"
    timeout 90 "$sanitizer" --tool $tool --error-exitcode 1 "$build/test_gpu_network" --gtest_brief=1 \
      --gtest_filter='*Smallest*:*FiniteNumbers*' >"$out/$tool.txt" 2>&1 || { tail -40 "$out/$tool.txt"; fail "$tool found errors"; }
    tail -1 "$out/$tool.txt"
  done
else
  echo 'compute-sanitizer is not installed: skipped'
fi

say "$network: PyTorch's fastest ways of running the static network"
if "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
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
else
  echo "$python has no PyTorch with CUDA: skipped"
fi

say 'lasnet'
set -- "$out"/peers*.json
[ -e "$1" ] || set --
"$python" "$table" --lasnet "$build/lasnet" --network "$network" --repeat "$repeat" --peers "$@" \
  2>"$out/commands.txt" | tee "$out/tables.md"

say 'the latency model'
timeout 60 "$build/lasnet" calibrate --device cuda -o "$out/profile.toml"
timeout 120 "$build/lasnet" validate-predictor --device cuda --hardware "$out/profile.toml" --quick |
  tee "$out/predictor.txt"

say 'lasnet, with tiles and schedules chosen by that calibration'
mkdir -p "$out/cache/lasnet"
cp "$out/profile.toml" "$out/cache/lasnet/cuda.toml"
set -- "$out"/peers*.json
[ -e "$1" ] || set --
XDG_CACHE_HOME=$(cd "$out/cache" && pwd) "$python" "$table" --lasnet "$build/lasnet" --network "$network" --quick \
  --repeat "$repeat" --peers "$@" 2>>"$out/commands.txt" | tee "$out/tables-calibrated.md"
