#!/usr/bin/env python3
"""The documentation's tables of the CUDA backend, as Markdown: lasnet sparse and dense beside PyTorch on one GPU.

    bench/cuda_table.py [--lasnet build/lasnet] [--network resnet101] [--peers peers.json] [--repeat 5] [--quick]

Peers are what `bench/peers/cuda_peers.py NETWORK --json` printed on the same machine. Four tables: every precision and
batch at 50 % of the MACs with random masks; the network under each of the masker's schedules; what fusing the gather and
the addition saves in a block of stage 1; and the densities up to which blocks are faster sparse than dense, read between
measured rates. Times are of the device, medians over interleaved pairs; --quick takes the corners of the first table
only.
"""

import argparse
import datetime
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RATES = [0.3, 0.6, 0.9]


def bench(options, *arguments):
    command = [str(options.lasnet), "bench", options.network, "--backend", "cuda", *map(str, arguments), "--json"]
    print(" ".join(command), file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)} failed")
    return json.loads(done.stdout)


def read_peers(path):
    """{(precision, batch): (ms, way)} of the fastest way over all files."""
    fastest = {}
    for name in path or []:
        for row in json.loads(Path(name).read_text())["rows"]:
            key = row["precision"], row["batch"]
            if key not in fastest or row["ms"] < fastest[key][0]:
                fastest[key] = row["ms"], row["fastest"]
    return fastest


def speed_table(options, peers):
    print(f"\n{options.network}, 50 % of the MACs, random masks; ms per batch on the device.\n")
    print("| precision | batch | S | dense | sparse | speed-up | of theory | masker + lists | PyTorch | its way | "
          "dense over it | sparse over it |\n" + "|---" * 12 + "|")
    precisions = ["fp32", "fp16"] if options.quick else ["fp32", "tf32", "fp16"]
    batches = [1, 128] if options.quick else [1, 8, 32, 128]
    for precision in precisions:
        for batch in batches:
            for granularity in ["4-4-2-1"] if options.quick else ["4-4-2-1", "8-4-7-1"]:
                repeat = options.repeat if batch > 8 else 6 * options.repeat
                report = bench(options, "--precision", precision, "--batch", batch, "--granularity", granularity,
                               "--repeat", repeat)
                dense, sparse = report["dense"]["median_ms"], report["sparse"]["median_ms"]
                peer, way = peers.get((precision, batch), (None, ""))
                over = [f"{peer / ms:.2f}x" if peer else "" for ms in (dense, sparse)]
                print(f"| {precision} | {batch} | {granularity} | {dense:.3f} | {sparse:.3f} "
                      f"| {report['speedup']['median']:.2f}x | {100 * report['efficiency']:.0f} % "
                      f"| {100 * report['masking_share']['median']:.1f} % | {f'{peer:.3f}' if peer else ''} | {way} "
                      f"| {over[0]} | **{over[1]}** |", flush=True)


def masker_table(options):
    print("\nThe masker's schedules, S = 4-4-2-1, half the MACs; ms per batch, share of masker and lists.\n")
    schedules = ["separate", "incremental", "with_conv1"]
    print(f"| precision | batch | {' | '.join(schedules)} |\n" + "|---" * 5 + "|")
    for precision, batches in [("fp32", [1, 8, 32, 128]), ("tf32", [128]), ("fp16", [1, 8, 32, 128])]:
        for batch in batches:
            cells = []
            for schedule in schedules:
                report = bench(options, "--precision", precision, "--batch", batch, "--granularity", "4-4-2-1",
                               "--schedule", f"masker={schedule}", "--repeat", options.repeat)
                cells.append(f"{report['sparse']['median_ms']:.3f}, {100 * report['masking_share']['median']:.1f} %")
            print(f"| {precision} | {batch} | {' | '.join(cells)} |", flush=True)


def identity_blocks(report, stage):
    """The blocks of a stage but its first, which has a projection."""
    return [block for block in report["blocks"] if block["name"].startswith(f"layer{stage}.")][1:]


def ablation(options):
    print("\nA block of stage 1, S = 4, rate 0.6, batch 128: us on the device.\n")
    print("| precision | all fused | gather copied | addition separate | both | both over fused |\n" + "|---" * 6 + "|")
    for precision in ["fp32", "fp16"]:
        times = []
        for schedule in ["", ",gather=copied", ",scatter=separate", ",gather=copied,scatter=separate"]:
            report = bench(options, "--precision", precision, "--batch", 128, "--granularity", "4-4-2-1", "--rate",
                           0.6, "--schedule", f"masker=separate{schedule}", "--repeat", 3)
            times.append(statistics.median(block["sparse_ms"] for block in identity_blocks(report, 1)))
        cells = " | ".join(f"{1e3 * ms:.0f}" for ms in times)
        print(f"| {precision} | {cells} | {times[3] / times[0]:.2f}x |", flush=True)


def crossing(densities, speedups):
    """Density at which the speed-up is 1, between measured points."""
    points = list(zip(densities, speedups))
    if points[0][1] < 1:
        return f"< {points[0][0]:.2f}"
    for (d0, s0), (d1, s1) in zip(points, points[1:]):
        if s1 < 1:
            return f"{d0 + (s0 - 1) / (s0 - s1) * (d1 - d0):.2f}"
    return f"> {points[-1][0]:.2f}"


def break_even(options):
    print("\nShare of active patches up to which a block is faster sparse than dense, batch 32, by stage and S.\n")
    print("| precision | S | stage 1 | stage 2 | stage 3 | stage 4 |\n" + "|---" * 6 + "|")
    for precision in ["fp32", "fp16"]:
        for s in [1, 2, 4, 7]:
            reports = [bench(options, "--precision", precision, "--batch", 32, "--granularity", f"{s}-{s}-{s}-{s}",
                             "--rate", rate, "--repeat", 3) for rate in RATES]
            cells = []
            for stage in range(1, 5):
                blocks = [identity_blocks(report, stage) for report in reports]
                cells.append(crossing([statistics.mean(b["rate"] for b in each) for each in blocks],
                                      [statistics.median(b["speedup"]["median"] for b in each) for each in blocks]))
            print(f"| {precision} | {s} | {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lasnet", type=Path, default=ROOT / "build" / "lasnet", help="the program")
    parser.add_argument("--network", default="resnet101")
    parser.add_argument("--peers", nargs="*", help="files of cuda_peers.py --json")
    parser.add_argument("--repeat", type=int, default=5, help="pairs per row; six times as many for batches up to 8")
    parser.add_argument("--quick", action="store_true", help="the corners of the first table alone")
    options = parser.parse_args()
    if not options.lasnet.is_file():
        sys.exit(f"error: {options.lasnet} does not exist; make build builds it, --lasnet names another")
    info = json.loads(subprocess.run([str(options.lasnet), "info", "--json"], stdout=subprocess.PIPE, check=True,
                                     text=True).stdout)
    devices = info["cuda"]["devices"]
    if not devices:
        sys.exit(f"error: no CUDA device: {info['cuda']['unavailable']}")
    print(f"{datetime.date.today()}, {devices[0]['name']}, lasnet {info['version']}")
    speed_table(options, read_peers(options.peers))
    if not options.quick:
        masker_table(options)
        ablation(options)
        break_even(options)


if __name__ == "__main__":
    main()
