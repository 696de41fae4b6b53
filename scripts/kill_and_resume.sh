#!/bin/sh
# Kills a training run at random moments, fills its disk now and then, resumes it, and compares the model with that of a run
# which nobody disturbed: the same bytes. Prints a line per kill.
#
#   scripts/kill_and_resume.sh [KILLS] [BUILD]     default: 50 build
set -eu

kills=${1:-50}
build=$(realpath "${2:-build}")
say() { printf 'kill_and_resume: %s\n' "$*"; }
[ -x "$build/lasnet-train" ] || { say "no $build/lasnet-train; build it first"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

/usr/bin/python3 - "$work/data" <<'PYTHON'
import os, sys
import numpy
from PIL import Image

random = numpy.random.default_rng(0)
for part, count in (("train", 16), ("val", 8)):
    for name, channel in (("red", 0), ("blue", 2)):
        folder = os.path.join(sys.argv[1], part, name)
        os.makedirs(folder)
        for i in range(count):
            pixels = random.integers(0, 60, (40, 40, 3), dtype=numpy.uint8)
            pixels[8:24, 8:24, channel] = 250
            Image.fromarray(pixels).save(os.path.join(folder, f"{i}.png"))
PYTHON

epochs=$((kills * 4))
common="train --data $work/data --arch resnet18 --width 0.25 --stem small --size 32 --granularity 4-4-2-1 --batch 8
  --threads 1 --pretrain-epochs $epochs --epochs $epochs --checkpoint-steps 3 --keep-checkpoints 3"
"$build/lasnet" $common -o "$work/whole" >"$work/whole.txt" 2>&1 || { cat "$work/whole.txt"; exit 1; }

done=0 finished=no
while [ "$done" -lt "$kills" ]; do
  "$build/lasnet" $common --resume -o "$work/killed" >"$work/killed.txt" 2>&1 &
  pid=$!
  sleep "$(awk -v seed="$done" 'BEGIN { srand(seed); printf "%.2f", 0.3 + 1.2 * rand() }')"
  if ! kill -9 "$pid" 2>/dev/null; then finished=yes; fi
  wait "$pid" 2>/dev/null || true
  [ $finished = no ] || break
  done=$((done + 1))
  if [ $((done % 5)) = 0 ]; then
    if (ulimit -f 16; trap '' XFSZ; exec "$build/lasnet" $common --resume -o "$work/killed" >"$work/full.txt" 2>&1); then
      say 'a full disk went unnoticed'; exit 1
    fi
    say "$done kills; disk full: $(grep error "$work/full.txt" | tail -1)"
  else
    say "$done kills: $(grep -o 'resuming.*' "$work/killed.txt" | tail -1)"
  fi
done
"$build/lasnet" $common --resume -o "$work/killed" >"$work/last.txt" 2>&1 || { cat "$work/last.txt"; exit 1; }
cmp "$work/whole/model.safetensors" "$work/killed/model.safetensors"
say "$done kills: the model is the same, byte for byte"
