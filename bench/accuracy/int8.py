#!/usr/bin/env python3
"""Compares a model in int8 with the same in fp32 on labelled photographs.

    bench/accuracy/int8.py MODEL.safetensors INT8.safetensors DIR [--lasnet build/lasnet]

DIR has a folder for each class, whose names are the model's class names in order. Printed are the top-1 accuracies of
the network with its own masks, with every pixel computed, and in int8 with the masks that fp32 chose; and the share of
mask pixels that int8 decides otherwise. Needs the Python packages numpy and Pillow.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

BATCH = 120


class Program:
    def __init__(self, path, folder):
        self.path, self.folder = path, folder

    def call(self, *arguments):
        done = subprocess.run([str(self.path), *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"error: {' '.join(map(str, arguments))}\n{done.stderr}")
        return done.stdout

    def logits(self, model, precision, masks=None, forced=None):
        """Of the batch in x.npy."""
        options = ["--masks", masks] if masks else []
        options += ["--force-masks", forced] if forced else []
        self.call("forward", model, "--precision", precision, "--input", self.folder / "x.npy", "--output",
                  self.folder / "y.npy", *options)
        return np.load(self.folder / "y.npy")


def load_batch(paths, facts):
    mean, std = (np.array(facts[key], np.float32).reshape(3, 1, 1) for key in ("mean", "std"))
    side = facts["crop"]
    inputs = []
    for path in paths:
        image = Image.open(path).convert("RGB")
        factor = facts["resize"] / min(image.size)
        image = image.resize((round(image.width * factor), round(image.height * factor)), Image.BILINEAR)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        pixels = np.asarray(image.crop((left, top, left + side, top + side)), np.float32).transpose(2, 0, 1) / 255
        inputs.append((pixels - mean) / std)
    return np.stack(inputs).astype(np.float32)


def write_ones(masks, ones):
    ones.mkdir(exist_ok=True)
    for path in masks.glob("*.npy"):
        np.save(ones / path.name, np.ones_like(np.load(path)))


def flips(first, second):
    """Mask pixels that differ, and all of them."""
    names = [path.name for path in first.glob("*.npy")]
    pairs = [(np.load(first / name), np.load(second / name)) for name in names]
    return sum(int((a != b).sum()) for a, b in pairs), sum(a.size for a, b in pairs)


def measure(program, options, folder):
    facts = json.loads(program.call("inspect", options.model, "--json"))
    classes = [path for path in sorted(options.dir.iterdir()) if path.is_dir()]
    items = [(path, label) for label, name in enumerate(classes) for path in sorted(name.iterdir())]
    hits = dict.fromkeys(("fp32 own masks", "int8 own masks", "int8 masks of fp32", "fp32 dense", "int8 dense"), 0)
    agreeing, flipped, pixels = 0, 0, 0
    for begin in range(0, len(items), BATCH):
        batch = items[begin : begin + BATCH]
        np.save(folder / "x.npy", load_batch([path for path, _ in batch], facts["preprocessing"]))
        labels = np.array([label for _, label in batch])
        fp32, int8, ones = folder / "fp32", folder / "int8", folder / "ones"
        logits = {"fp32 own masks": program.logits(options.model, "fp32", masks=fp32),
                  "int8 own masks": program.logits(options.int8, "int8", masks=int8),
                  "int8 masks of fp32": program.logits(options.int8, "int8", forced=fp32)}
        write_ones(fp32, ones)
        logits["fp32 dense"] = program.logits(options.model, "fp32", forced=ones)
        logits["int8 dense"] = program.logits(options.int8, "int8", forced=ones)
        for name, values in logits.items():
            hits[name] += int((values.argmax(1) == labels).sum())
        agreeing += int((logits["fp32 own masks"].argmax(1) == logits["int8 own masks"].argmax(1)).sum())
        different, all_pixels = flips(fp32, int8)
        flipped += different
        pixels += all_pixels
        print(f"{begin + len(batch)} of {len(items)}", file=sys.stderr)
    return {"images": len(items), "top1": {name: count / len(items) for name, count in hits.items()},
            "agreement": agreeing / len(items), "flipped": flipped / pixels}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("int8", type=Path)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--lasnet", type=Path, default=Path(__file__).resolve().parents[2] / "build" / "lasnet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = measure(Program(options.lasnet, Path(name)), options, Path(name))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
