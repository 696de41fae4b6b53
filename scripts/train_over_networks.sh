#!/bin/sh
# Trains with two processes in two network namespaces, as on two machines with a 10 Gbit/s link, and compares the losses with
# one process's. Needs root, ip and tc; says so and ends with 77 where it lacks them.
#
#   scripts/train_over_networks.sh [BUILD]     default: build
set -eu

build=$(realpath "${1:-build}")
say() { printf 'train_over_networks: %s\n' "$*"; }
skip() { say "skipped: $*"; exit 77; }

[ -x "$build/lasnet-train" ] || skip "no $build/lasnet-train; build it first"
command -v ip >/dev/null || skip 'no ip (Debian: iproute2)'
work=$(mktemp -d)
first=lasnet0-$$ second=lasnet1-$$
cleanup() {
  for name in "$first" "$second"; do ip netns del "$name" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT
ip netns add "$first" 2>/dev/null || skip 'network namespaces may not be made here (root has the right)'
ip netns add "$second"
ip link add veth0 netns "$first" type veth peer name veth0 netns "$second"
address=10.213.77
for side in "$first 1" "$second 2"; do
  set -- $side
  ip -n "$1" addr add "$address.$2/24" dev veth0
  ip -n "$1" link set veth0 up
  ip -n "$1" link set lo up
  ip netns exec "$1" tc qdisc add dev veth0 root netem rate 10gbit 2>/dev/null ||
    say 'no tc or netem: the link is as fast as the machine'
done

# Noise with a bright square, whose colour is the class.
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
            top, left = random.integers(0, 24, 2)
            pixels[top : top + 16, left : left + 16, channel] = 250
            Image.fromarray(pixels).save(os.path.join(folder, f"{i}.png"))
PYTHON

common="train --data $work/data --arch resnet18 --width 0.25 --stem small --size 32 --granularity 4-4-2-1 --batch 8
  --threads 1 --pretrain-epochs 2 --epochs 2 --pretrain-lr 0.02 --lr 0.002 --sync-bn --seed 1"
"$build/lasnet" $common -o "$work/one" >"$work/one.txt" 2>&1 || { cat "$work/one.txt"; exit 1; }
run_rank() {  # namespace, rank
  ip netns exec "$1" env RANK="$2" WORLD_SIZE=2 MASTER_ADDR="$address.1" MASTER_PORT=29500 \
    "$build/lasnet" $common -o "$work/two" >"$work/rank$2.txt" 2>&1 || { cat "$work/rank$2.txt"; return 1; }
}
run_rank "$second" 1 &
run_rank "$first" 0
wait $!

losses() { cut -d, -f1,2,5,8 "$1/log.csv"; }
losses "$work/one" >"$work/one.csv"
losses "$work/two" >"$work/two.csv"
paste -d' ' "$work/one.csv" "$work/two.csv"
paste -d, "$work/one.csv" "$work/two.csv" | awk -F, '
  NR > 1 { for (i = 3; i <= 4; ++i) { d = $i - $(i + 4); if (d < 0) d = -d; if (d > 1e-4 * ($i > 1 ? $i : 1)) bad = 1 } }
  END { exit bad }' || { say 'the losses differ'; exit 1; }
say 'two processes over a network have the losses of one'
