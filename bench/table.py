#!/usr/bin/env python3
"""The table of docs/benchmarks.md: lasnet sparse and dense beside oneDNN, as Markdown.

    bench/table.py [--lasnet build/lasnet] [--repeat 10] [--quick] [--json docs/results/onednn.json]

Each row is one `lasnet bench NET --granularity 4-4-2-1 --macs 0.5 --baseline onednn` in a process of its own; its
ratios are medians over interleaved pairs, with quartiles. Date and processor are printed above the table. --json
keeps the reports that the rows are made of.
"""

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Network, threads, batch.
ROWS = [
    ("resnet50", 1, 1), ("resnet50", 2, 1), ("resnet50", 1, 8),
    ("resnet101", 1, 1), ("resnet101", 2, 1), ("resnet101", 1, 8),
    ("resnet18", 1, 1), ("regnet_y_400mf", 1, 1), ("regnet_y_800mf", 1, 1),
]


def bench(options, network, threads, batch):
    repeat = options.repeat if batch == 1 else max(3, options.repeat // 3)
    command = [str(options.lasnet), "bench", network, "--granularity", "4-4-2-1", "--macs", "0.5", "--threads",
               str(threads), "--batch", str(batch), "--baseline", "onednn", "--repeat", str(repeat), "--json"]
    print(" ".join(command), file=sys.stderr)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)} failed")
    return json.loads(done.stdout)


def ratio(q):
    return f"{q['median']:.2f}x ({q['q1']:.2f} ... {q['q3']:.2f})"


def row(report, threads, batch):
    baseline = report["baseline"]
    return " | ".join([
        f"| {report['architecture']}", str(threads), str(batch),
        *(f"{part['median_ms']:.1f} ms" for part in (report["dense"], report["sparse"], baseline)),
        f"**{ratio(baseline['speedup'])}**", ratio(report["speedup"]), f"{report['theory_speedup']:.2f}x",
        f"{baseline['dense_speedup']['median']:.2f}x", f"{100 * report['masking_share']['median']:.1f} % |"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lasnet", type=Path, default=ROOT / "build" / "lasnet", help="the program")
    parser.add_argument("--repeat", type=int, default=10, help="pairs per row; a third of it for larger batches")
    parser.add_argument("--quick", action="store_true", help="the first row alone")
    parser.add_argument("--json", type=Path, help="write every row's report there")
    options = parser.parse_args()
    if not options.lasnet.is_file():
        sys.exit(f"error: {options.lasnet} does not exist; make build builds it, --lasnet names another")
    info = json.loads(subprocess.run([str(options.lasnet), "info", "--json"], stdout=subprocess.PIPE, check=True,
                                     text=True).stdout)
    rows = [(bench(options, *what), *what[1:]) for what in (ROWS[:1] if options.quick else ROWS)]
    if options.json:
        options.json.write_text(json.dumps({"date": str(datetime.date.today()), "cpu": info["cpu"],
                                            "reports": [report for report, *_ in rows]}, indent=1) + "\n")
    print(f"{datetime.date.today()}, {info['cpu']['name']}, {rows[0][0]['isa']}, FMA peak "
          f"{rows[0][0]['peak_gflops']:.0f} GFLOP/s per thread, oneDNN {rows[0][0]['baseline']['version']}\n")
    print("| network | threads | batch | dense | sparse | oneDNN dense | sparse over oneDNN | sparse over dense | "
          "theory | dense over oneDNN | masker and lists |")
    print("|" + "---|" * 11)
    for report, threads, batch in rows:
        print(row(report, threads, batch))


if __name__ == "__main__":
    main()
