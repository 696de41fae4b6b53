#!/bin/sh
# Rebuilds the demo's data set and trains models/demo.safetensors and its static teacher again (about 80 minutes on two
# cores). Interrupted, it goes on where it stopped. Needs build/lasnet with training (make build).
#
#   scripts/train_demo_model.sh [DATA [RUN]]      default: data/demo runs/demo
set -eu
cd "$(dirname "$0")/.."
data=${1:-data/demo}
run=${2:-runs/demo}

scripts/install-deps.sh --data
[ -d "$data" ] || /usr/bin/python3 scripts/build_demo_data.py --out "$data" --seed 0

# Threads of libtorch that wait for others sleep: spinning, they would slow each other down on a busy machine.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
resume=
[ ! -d "$run" ] || resume=--resume
build/lasnet train --config models/demo.toml --data "$data" -o "$run" $resume

cp "$run/model.safetensors" models/demo.safetensors
cp "$run/static.safetensors" models/demo-static.safetensors

/usr/bin/python3 scripts/linear_probe.py "$data"
build/lasnet eval models/demo-static.safetensors "$data/val"
build/lasnet eval "$run/control.safetensors" "$data/val"
build/lasnet eval models/demo.safetensors "$data/val" --object-masks "$data/masks/val"
