#!/bin/sh
# On a machine with a GPU: holds the cuda backend against the CPU's, looks for memory errors and races with
# compute-sanitizer, then times it beside PyTorch. Needs no network, no compiler and about ten minutes at most.
#
#   scripts/gpu_check.sh [BUILD]            in a source tree; BUILD is build/ by default
#   scripts/gpu_check.sh --bundle [BUILD]   copies what it needs to BUILD/gpu-check, which may be moved to another machine:
#                                           gpu-check/gpu_check.sh
#
# NETWORK (resnet101), REPEAT (7), PYTHON (python3) in the environment; OUT: folder for the results (gpu-check-results).
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
    # All but the loader and the C library, which belong to the machine.
    ldd "$build/$program" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' |
      grep -vE '/(libc|libm|libpthread|libdl|librt|ld-linux[^/]*)\.so' | xargs -r cp -Lt "$bundle/lib"
  done
  cp "$0" "$bundle/gpu_check.sh"
  cp "$here/../bench/peers/cuda_peers.py" "$bundle/"
  echo "$bundle"
  exit
fi

if [ -x "$here/test_gpu_network" ]; then
  build=$here
  peers=$here/cuda_peers.py
else
  build=${1:-$here/../build}
  peers=$here/../bench/peers/cuda_peers.py
fi
out=${OUT:-gpu-check-results}
network=${NETWORK:-resnet101} repeat=${REPEAT:-7} python=${PYTHON:-python3}
export LD_LIBRARY_PATH="$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
mkdir -p "$out"
for program in $programs; do [ -x "$build/$program" ] || fail "$build/$program is missing"; done

say 'device'
"$build/lasnet" info | grep '^cuda'
"$build/lasnet" info --json | grep -q '"devices": \[\]' && fail 'there is no usable CUDA device'

say 'every network, schedule and precision against the CPU'
timeout 150 "$build/test_gpu_network" --gtest_brief=1
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
if [ -x "$sanitizer" ]; then
  for tool in memcheck racecheck synccheck; do
    say "compute-sanitizer $tool"
    timeout 60 "$sanitizer" --tool $tool --error-exitcode 1 "$build/test_gpu_network" --gtest_brief=1 \
      --gtest_filter='*FiniteNumbers*' >"$out/$tool.txt" 2>&1 || { tail -40 "$out/$tool.txt"; fail "$tool found errors"; }
    tail -1 "$out/$tool.txt"
  done
else
  echo 'compute-sanitizer is not installed: skipped'
fi

say "$network beside PyTorch: fastest way of running the static network"
if "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  timeout 150 "$python" "$peers" "$network" --repeat 20 --no-compile | tee "$out/peers.txt" || echo 'stopped after 150 s'
else
  echo "$python has no PyTorch with CUDA: skipped"
fi

say "$network, 50 % of the MACs, random masks: ms on the device (median)"
# field NAME FILE: the first median under "NAME" in lasnet's JSON, whose layout is fixed.
field() { sed -n "/^  \"$1\": {/,/}/s/.*\"median[_ms]*\": \([0-9.e+-]*\).*/\1/p" "$2" | head -1; }
printf '%-10s %-6s %6s %10s %10s %9s %11s\n' S '' batch dense sparse speed-up 'of theory'
for granularity in 4-4-2-1 8-4-7-1; do
  for precision in fp32 tf32 fp16; do
    for batch in 1 8 32 128; do
      file=$out/$network-$granularity-$precision-$batch.json
      timeout 60 "$build/lasnet" bench "$network" --granularity $granularity --backend cuda --precision $precision \
        --batch $batch --repeat "$repeat" --json >"$file" 2>"$out/errors.txt" || { cat "$out/errors.txt"; continue; }
      printf '%-10s %-6s %6s %10.3f %10.3f %8.2fx %11.2f\n' $granularity $precision $batch "$(field dense "$file")" \
        "$(field sparse "$file")" "$(field speedup "$file")" \
        "$(sed -n 's/^  "efficiency": \([0-9.e+-]*\).*/\1/p' "$file")"
    done
  done
done
