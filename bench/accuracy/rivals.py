#!/usr/bin/env python3
"""A dynamic network beside what its user could have had instead: accuracy on a validation folder, and time.

    bench/accuracy/rivals.py MODEL STATIC DATA [--sizes N,N,...] [--points FILE] [--lasnet build/lasnet] [--json FILE]

MODEL is the dynamic network, STATIC the one that it was trained from. Rivals are the static network at its own size and on
smaller images, and as many patches of MODEL at random places and at the centre. --points names a file that `lasnet tune`
made of MODEL: its operating points follow. Accuracies come from `lasnet eval`. Times are of one image and one thread, with
the masks of validation photographs: all networks take turns on each photograph, in one process. Ratios are medians over the
photographs, with quartiles. Needs the Python package lasnet.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

import numpy

import lasnet

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from measured import processor_name, quartiles  # noqa: E402

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}


def evaluated(options, model, *arguments):
    command = [options.lasnet, "eval", model, options.data, "--json", *map(str, arguments)]
    print("  " + " ".join(command[1:]), file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def photographs(folder, count):
    """Evenly over the classes."""
    root = next((part for part in (folder / "val", folder / "valid") if part.is_dir()), folder)
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in EXTENSIONS)
    if not paths:
        sys.exit(f"error: {root}: no photographs")
    return paths[:: max(1, len(paths) // count)][:count]


class Network:
    """One way to an answer: its accuracy, and its time on one photograph after the other."""

    def __init__(self, name, figures, model, size=None, **run):
        self.name, self.run_options = name, run
        self.top1, self.images = figures["top1"], figures["images"]
        self.macs = figures["macs_ratio"]
        self.session = lasnet.Session(model, threads=1)
        self.preprocessing = model.preprocessing
        if size:
            given = model.preprocessing
            resize = round(given.resize * size / given.crop)
            self.preprocessing = lasnet.Preprocessing(resize=resize, crop=size, mean=given.mean, std=given.std)
        self.model = model
        self.ms = []

    def time_on(self, path, repeat):
        x = self.model.preprocess(path, preprocessing=self.preprocessing)
        self.session.run(x, record_masks=False, **self.run_options)
        best = float("inf")
        for _ in range(repeat):
            began = time.perf_counter()
            self.session.run(x, record_masks=False, **self.run_options)
            best = min(best, time.perf_counter() - began)
        self.ms.append(1e3 * best)


def static_macs(model, size):
    x = numpy.zeros((1, 3, size, size), numpy.float32)
    return lasnet.Session(model, threads=1).run(x, dense=True).trace.static_macs


def networks(options):
    dynamic, still = lasnet.load(options.model), lasnet.load(options.static)
    whole = still.preprocessing.crop
    yield Network("dynamic", evaluated(options, options.model), dynamic)
    yield Network(f"static, {whole} px", evaluated(options, options.static), still, dense=True)
    for size in options.sizes:
        resize = round(still.preprocessing.resize * size / whole)
        figures = evaluated(options, options.static, "--crop", size, "--resize", resize)
        figures["macs_ratio"] = static_macs(still, size) / static_macs(still, whole)
        yield Network(f"static, {size} px", figures, still, size, dense=True)
    if options.points:
        tuned = lasnet.load(options.points)
        for point in tuned.operating_points:
            figures = evaluated(options, options.points, "--macs", point.macs_ratio)
            yield Network(f"dynamic, MACs {point.macs_ratio:.2f}", figures, tuned, macs=point.macs_ratio)


def other_masks(options):
    return {kind: evaluated(options, options.model, "--masks", kind)["top1"] for kind in ("random", "centre", "full")}


def parse_sizes(text):
    sizes = [int(part) for part in text.split(",")]
    if any(size < 32 for size in sizes):
        raise argparse.ArgumentTypeError("expected sizes from 32 px on")
    return sizes


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("static", metavar="STATIC")
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--sizes", type=parse_sizes, default=[], metavar="N,N,...", help="of smaller images, px")
    parser.add_argument("--points", metavar="FILE", help="MODEL as lasnet tune left it")
    parser.add_argument("--lasnet", default="build/lasnet", help="the program (build/lasnet)")
    parser.add_argument("--photographs", type=int, default=60, help="that times are measured on, at least 2 (60)")
    parser.add_argument("--repeat", type=int, default=3, help="runs on each, of which the fastest counts (3)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    if options.photographs < 2 or options.repeat < 1:
        parser.error("--photographs: expected at least 2, and --repeat at least 1")
    return options


def main():
    options = parse_options()
    all_networks = list(networks(options))
    masks = other_masks(options)
    for path in photographs(pathlib.Path(options.data), options.photographs):
        for network in all_networks:
            network.time_on(path, options.repeat)
    dynamic = all_networks[0]
    rows = [
        {
            "name": n.name,
            "top1": n.top1,
            "images": n.images,
            "macs_ratio": n.macs,
            "ms": quartiles(n.ms),
            "over_dynamic": quartiles([theirs / mine for mine, theirs in zip(dynamic.ms, n.ms)]),
        }
        for n in all_networks
    ]
    print("| network | top-1 | MACs | ms | time over that of the dynamic network |\n|---|---|---|---|---|")
    for row in rows:
        ratio = row["over_dynamic"]
        print(
            f"| {row['name']} | {100 * row['top1']:.1f} % | {100 * row['macs_ratio']:.1f} % | {row['ms']['median']:.1f} |"
            f" {ratio['median']:.2f} ({ratio['q1']:.2f} ... {ratio['q3']:.2f}) |"
        )
    print("\n| masks of the dynamic network | top-1 |\n|---|---|")
    for kind, top1 in masks.items():
        print(f"| {kind} | {100 * top1:.1f} % |")
    if options.json:
        document = {"lasnet": lasnet.__version__, "processor": processor_name(), "isa": dynamic.session.isa, "rows": rows, "masks": masks}
        pathlib.Path(options.json).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
