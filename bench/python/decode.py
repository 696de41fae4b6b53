#!/usr/bin/env python3
"""Image files to network inputs: images per second of one core, beside Pillow's and torchvision's ways.

    bench/python/decode.py FOLDER [--images N] [--size N] [--rounds N] [--json FILE]

FOLDER is searched for JPEG files. Each way starts from the same bytes in memory and ends with float32 values of a centre
crop: decode, resize the shorter side with antialiasing, crop, subtract the mean, divide by the deviation. In each round
all ways take the same images, one after the other; medians and quartiles over the rounds are printed. torchvision's ways
are left out where it is not installed.
"""

import argparse
import io
import itertools
import json
import os
import pathlib
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch are loaded

import numpy  # noqa: E402
import PIL  # noqa: E402
from PIL import Image  # noqa: E402

import lasnet  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from measured import processor_name, quartiles  # noqa: E402

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESIZED_OVER_CROP = 256 / 224


def lasnet_way(size):
    model = lasnet.create("resnet18", granularity="4-4-2-1", width=0.125, classes=10)
    wanted = lasnet.Preprocessing(resize=round(size * RESIZED_OVER_CROP), crop=size, mean=MEAN, std=STD)
    return lambda data: model.preprocess(data, preprocessing=wanted)


def pillow_way(size):
    resized = round(size * RESIZED_OVER_CROP)
    mean, std = numpy.float32(MEAN), numpy.float32(STD)

    def way(data):
        image = Image.open(io.BytesIO(data)).convert("RGB")
        scale = resized / min(image.size)
        width, height = (max(resized, int(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = round((width - size) / 2), round((height - size) / 2)
        pixels = numpy.asarray(image.crop((left, top, left + size, top + size)))
        return ((pixels.astype(numpy.float32) / 255 - mean) / std).transpose(2, 0, 1)[None]

    return way


def torchvision_ways(size):
    """On PIL images as in ImageFolder's usual transforms, and on tensors throughout."""
    try:
        import torch
        import torchvision
        from torchvision import transforms
        from torchvision.io import ImageReadMode, decode_jpeg
    except ImportError as error:
        print(f"torchvision is left out: {error}", file=sys.stderr)
        return {}
    torch.set_num_threads(1)
    resized = round(size * RESIZED_OVER_CROP)
    crop, normalise = transforms.CenterCrop(size), transforms.Normalize(MEAN, STD)
    on_images = transforms.Compose([transforms.Resize(resized), crop, transforms.ToTensor(), normalise])
    on_tensors = transforms.Compose(
        [transforms.Resize(resized, antialias=True), crop, transforms.ConvertImageDtype(torch.float32), normalise]
    )

    def by_pillow(data):
        return on_images(Image.open(io.BytesIO(data)).convert("RGB"))[None]

    def by_tensors(data):
        # A writable copy, as a DataLoader's worker would read it from a file.
        return on_tensors(decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB))[None]

    version = torchvision.__version__
    return {f"torchvision {version} on Pillow": by_pillow, f"torchvision {version} on tensors": by_tensors}


def jpegs_of(folder, count):
    paths = sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        sys.exit(f"{folder}: no .jpg or .jpeg files")
    step = max(1, len(paths) // count)
    return [path.read_bytes() for path in itertools.islice(paths, 0, step * count, step)]


def check_alike(ways, data):
    """Ways that differ by more than resizing's rounding would not be the same work."""
    expected = numpy.asarray(ways["lasnet"](data))
    for name, way in ways.items():
        got = numpy.asarray(way(data))
        if got.shape != expected.shape or numpy.abs(got - expected).mean() > 0.05:
            sys.exit(f"{name} computes something else: {got.shape}, mean difference {numpy.abs(got - expected).mean():.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--images", type=int, default=64, help="JPEG files, evenly over the folder (64)")
    parser.add_argument("--size", type=int, default=224, help="side of the crop in px (224)")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds, at least 2 (15)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    if options.rounds < 2 or options.images < 1:
        parser.error("--rounds: expected at least 2, and --images at least 1")
    images = jpegs_of(options.folder, options.images)
    ways = {"lasnet": lasnet_way(options.size), f"Pillow {PIL.__version__}": pillow_way(options.size)}
    ways |= torchvision_ways(options.size)
    check_alike(ways, images[0])
    rates = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            for data in images:
                way(data)
            rates[name].append(len(images) / (time.perf_counter() - began))
    rows = [
        {
            "way": name,
            "images_per_s": quartiles(values),
            "lasnet_over_it": quartiles([mine / theirs for mine, theirs in zip(rates["lasnet"], values)]),
        }
        for name, values in rates.items()
    ]
    print(f"{len(images)} JPEG files to {options.size} px, one core of {processor_name()}, {options.rounds} rounds")
    for row in rows:
        rate, ratio = row["images_per_s"], row["lasnet_over_it"]
        print(f"{row['way']:36} {rate['median']:7.0f} images/s   lasnet is {ratio['median']:.2f} times as fast"
              f" ({ratio['q1']:.2f} to {ratio['q3']:.2f})")
    if options.json:
        facts = {"images": len(images), "size": options.size, "rounds": options.rounds, "processor": processor_name(), "rows": rows}
        pathlib.Path(options.json).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
