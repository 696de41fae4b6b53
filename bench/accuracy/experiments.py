#!/usr/bin/env python3
"""Accuracy of dynamic networks: one command per experiment, and tables of what they gave.

    experiments.py list
    experiments.py run NAME --data DIR --weights FILE     train, evaluate, time; writes NAME.json
    experiments.py tables                                 Markdown of all NAME.json

DIR has train/<class>/ and val/<class>/.  FILE is what scripts/fetch_resnet50.py
writes.  A run that was interrupted goes on where it stopped.  Nothing is chosen
by val/: it is only reported.  Training holds one photograph in ten of train/ out
and watches itself on these.
"""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# What the recipe leaves open: granularity, target, seed.
EXPERIMENTS = {
    "s4421-t50-seed0": ("4-4-2-1", 0.5, 0),
    "s4421-t50-seed1": ("4-4-2-1", 0.5, 1),
    "s4421-t50-seed2": ("4-4-2-1", 0.5, 2),
    "s1111-t50": ("1-1-1-1", 0.5, 0),
    "s2221-t50": ("2-2-2-1", 0.5, 0),
    "s8441-t50": ("8-4-4-1", 0.5, 0),
    "layers-t50": ("layer", 0.5, 0),
    "s4421-t30": ("4-4-2-1", 0.3, 0),
    "s4421-t40": ("4-4-2-1", 0.4, 0),
    "s4421-t60": ("4-4-2-1", 0.6, 0),
    "s4421-t70": ("4-4-2-1", 0.7, 0),
}
# Smaller pictures for the static network: what one would do first to save time.
RIVAL_SIZES = (80, 96, 112, 128, 160)
TIMED = 20
HELD_OUT = 10


def lasnet(build, *arguments):
    """Run the program and return the JSON object that it prints."""
    command = [build / "lasnet", *map(str, arguments), "--json"]
    print("+", *command, file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"error: lasnet {arguments[0]} ended with {done.returncode}")
    return json.loads(done.stdout)


def held_out(args):
    """A folder of links to train/: one photograph in HELD_OUT of each class is its val/, the others its train/."""
    split = args.runs / "split"
    for folder in sorted((args.data / "train").resolve().iterdir()):
        for index, photograph in enumerate(sorted(folder.iterdir())):
            link = split / ("val" if index % HELD_OUT == 0 else "train") / folder.name / photograph.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(photograph)
    return split


def train(args, granularity, target, seed, out):
    """Train the network of an experiment, or go on with it."""
    if (out / "model.safetensors").exists():
        return
    if (out / "checkpoint.safetensors").exists():
        lasnet(args.build, "train", "--resume", "-o", out)
        return
    lasnet(args.build, "train", "--config", args.recipe, "--init", args.weights, "--data", held_out(args),
           "--granularity", granularity, "--target", target, "--seed", seed, "-o", out)


def timed(args, model, *options):
    """Milliseconds of a photograph: dense, and sparse on the masks of the network."""
    return lasnet(args.build, "bench", model, "--images", args.data / "val", "--repeat", TIMED,
                  "--threads", 1, *options)


def evaluate(args, out):
    """What the networks of one run give on val/."""
    val, model = args.data / "val", out / "model.safetensors"
    results = {masks: lasnet(args.build, "eval", model, val, "--masks", masks)
               for masks in ("own", "random", "centre", "full")}
    results["static"] = lasnet(args.build, "eval", out / "static.safetensors", val)
    if (out / "control.safetensors").exists():
        results["control"] = lasnet(args.build, "eval", out / "control.safetensors", val)
    rival = out / ("control.safetensors" if "control" in results else "static.safetensors")
    results["smaller"] = {size: {"eval": lasnet(args.build, "eval", rival, val, "--resize", size, "--crop", size),
                                 "bench": timed(args, model, "--size", size)}  # of which `dense` counts
                          for size in RIVAL_SIZES}
    results["bench"] = timed(args, model)
    return results


def run(args):
    """One experiment, from weights to NAME.json."""
    granularity, target, seed = EXPERIMENTS[args.name]
    out = args.runs / args.name
    train(args, granularity, target, seed, out)
    results = {"name": args.name, "granularity": granularity, "target": target, "seed": seed,
               "processor": lasnet(args.build, "info")["cpu"]["name"], **evaluate(args, out)}
    args.results.mkdir(parents=True, exist_ok=True)
    path = args.results / f"{args.name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    partial.replace(path)
    print(f"wrote {path}")


def percent(result):
    """Top-1 with its standard error, as a cell."""
    share, images = result["top1"], result["images"]
    return f"{100 * share:.1f} ± {100 * math.sqrt(share * (1 - share) / images):.1f} %"


def row(*cells):
    """A row of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def tables(args):
    """All results as Markdown."""
    found = [json.loads(path.read_text()) for path in sorted(args.results.glob("*.json"))]
    if not found:
        sys.exit(f"error: no results below {args.results}; `experiments.py run` makes them")
    columns = ("experiment", "S", "dynamic top-1", "MACs", "± over images", "control", "static", "random masks",
               "centre masks", "ms", "dense ms")
    print(row(*columns), row(*["---"] * len(columns)), sep="\n")
    for result in found:
        own, bench = result["own"], result["bench"]
        print(row(result["name"], result["granularity"], percent(own), f"{100 * own['macs_ratio']:.1f} %",
                  f"{100 * own['macs_ratio_std']:.1f} %", percent(result["control"]) if "control" in result else "",
                  percent(result["static"]), percent(result["random"]), percent(result["centre"]),
                  f"{bench['sparse']['median_ms']:.1f}", f"{bench['dense']['median_ms']:.1f}"))
    print("\n" + row("static network at", "top-1", "ms"), row("---", "---", "---"), sep="\n")
    for size, rival in found[0]["smaller"].items():
        print(row(f"{size} px", percent(rival["eval"]), f"{rival['bench']['dense']['median_ms']:.1f}"))


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="names of the experiments")
    runner = commands.add_parser("run", help="one experiment")
    runner.add_argument("name", choices=EXPERIMENTS)
    runner.add_argument("--data", type=Path, required=True, help="folder with train/ and val/")
    runner.add_argument("--weights", type=Path, required=True, help="weights to start from")
    runner.add_argument("--recipe", type=Path, default=HERE / "imagenette.toml", help="settings of lasnet train")
    runner.add_argument("--runs", type=Path, default=ROOT / "runs/accuracy", help="where networks are kept")
    runner.add_argument("--build", type=Path, default=ROOT / "build", help="where the program is")
    shower = commands.add_parser("tables", help="results as Markdown")
    for command in (runner, shower):
        command.add_argument("--results", type=Path, default=ROOT / "docs/results/accuracy",
                             help="where results are kept")
    return parser.parse_args()


def main():
    """Run the program."""
    args = parse_arguments()
    if args.command == "list":
        print(*EXPERIMENTS, sep="\n")
    elif args.command == "run":
        run(args)
    else:
        tables(args)


if __name__ == "__main__":
    main()
