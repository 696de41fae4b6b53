#!/bin/sh
# Rebuilds the demo's data set, fetches the weights to start from, and trains models/demo.safetensors again (about an hour
# on two cores that multiply bfloat16). Interrupted, it goes on where it stopped. Needs build/lasnet with training (make
# build), and 4 GB.
#
#   scripts/train_demo_model.sh [DATA [RUN]]      default: data/demo runs/demo
set -eu
cd "$(dirname "$0")/.."
data=${1:-data/demo}
run=${2:-runs/demo}
weights=data/resnet50.safetensors

scripts/install-deps.sh --data
[ -d "$data" ] || /usr/bin/python3 scripts/build_demo_data.py --out "$data" --seed 0
[ -f "$weights" ] || /usr/bin/python3 scripts/fetch_resnet50.py "$weights"

# Threads of libtorch that wait for others sleep: spinning, they would slow each other down on a busy machine.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
if [ -d "$run" ]; then
  build/lasnet train --resume -o "$run"
else
  build/lasnet train --config models/demo.toml --init "$weights" --data "$data" -o "$run"
fi

build/lasnet convert "$run/model.safetensors" models/demo.safetensors --dtype fp16

/usr/bin/python3 scripts/linear_probe.py "$data"
build/lasnet eval "$run/static.safetensors" "$data/val"
for masks in own random centre full; do
  build/lasnet eval models/demo.safetensors "$data/val" --masks $masks
done
build/lasnet eval models/demo.safetensors "$data/val" --object-masks "$data/masks/val"
