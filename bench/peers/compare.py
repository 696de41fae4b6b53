#!/usr/bin/env python3
"""Times lasnet beside other inference engines on one network: same weights, input, threads and batch.

    bench/peers/compare.py resnet50 --threads 1 --batch 1 --macs 0.5 [--peers onnxruntime,openvino] [--json]
    bench/peers/compare.py models/demo.safetensors --images DIR
    bench/peers/compare.py resnet50 --size 800x1333 --features --macs 0.2
    bench/peers/compare.py resnet50 --precision int8

An architecture has random weights and, in lasnet's sparse runs, random patch masks at the MAC ratio --macs; a model
file runs on images with its own masks. The peers run the network densely, from scripts/export_onnx.py's ONNX. With
--features all return the maps of the stages too, as a detector's backbone does. Every peer's outputs are compared
with lasnet's dense ones before anything is timed. Then blocks of timed runs alternate, engine after engine, in an order
that rotates from round to round; a round's ratio compares block medians, and the medians and quartiles of the ratios
over rounds are reported.

With --precision int8 lasnet and the peers quantize the network on the same pictures, each with its own tool: those of
--images, or noise for random weights. lasnet's sparse fp32 runs are timed too. The peers' logits are compared with
lasnet's in fp32, and so are lasnet's own.
"""

import argparse
import contextlib
import datetime
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(ROOT / "bench"))

import export_onnx  # noqa: E402
from measured import processor_name, quartiles  # noqa: E402
from peers import INT8_PEERS, PEERS  # noqa: E402

MAX_ERROR = 1e-3
MAX_INT8_ERROR = 0.1
CALIBRATION_IMAGES = 64


class Lasnet:
    """The program, on one saved network."""

    def __init__(self, program, folder, options):
        self.program, self.options = program, options
        self.granularity = [] if options.images else ["--granularity", options.granularity]
        if options.images:
            self.network = Path(options.network)
            self.masks = ["--images", options.images]
            self.quantize(folder)
            return
        self.network = folder / "network.safetensors"
        self.masks = ["--macs", options.macs]
        self.call("bench", options.network, "--granularity", options.granularity, "--size", size_text(options.size),
                  "--repeat", 1, "--rate", 1, "--save", self.network, "--json")
        if options.precision == "int8":
            damp_residuals(self.network)
        self.quantize(folder)

    def quantize(self, folder):
        """Makes the int8 network, if one is asked for."""
        self.timed = self.network
        if self.options.precision == "int8":
            self.timed = folder / "int8.safetensors"
            # Random maskers would choose scales for other masks than those that are timed: none, until the file is
            # read with fresh ones, which select every patch.
            masks = [] if self.options.images else ["--granularity", "static"]
            self.call("quantize", self.network, *masks, "--images", self.options.calibration, "--count",
                      CALIBRATION_IMAGES, "-o", self.timed)

    def stages(self):
        """Names of the maps of the stages."""
        maps = json.loads(self.call("inspect", self.network, "--json"))["maps"]
        return [entry["name"] for entry in maps[1:]]

    def call(self, *arguments):
        command = [str(self.program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"error: {' '.join(command)}\n{done.stderr}")
        return done.stdout

    def dense_outputs(self, x, folder, network, precision):
        """Logits and maps of the static network: every mask forced to ones."""
        np.save(folder / "x.npy", x)
        forward = ["forward", network, *self.granularity, "--precision", precision, "--input", folder / "x.npy", "--output", folder / "y.npy"]
        self.call(*forward, "--masks", folder / "masks")
        for path in (folder / "masks").glob("*.npy"):
            np.save(path, np.ones_like(np.load(path)))
        features = self.options.features
        maps = ["--features", folder / "maps", "--maps", ",".join(features)] if features else []
        self.call(*forward, "--force-masks", folder / "masks", *maps)
        return [np.load(folder / "y.npy"), *(np.load(folder / "maps" / f"{name}.npy") for name in features)]

    def bench(self, repeat, network, precision):
        o = self.options
        maps = ["--features", "--maps", ",".join(o.features)] if o.features else []
        return json.loads(self.call("bench", network, *self.granularity, "--precision", precision, *self.masks, "--size", size_text(o.size), "--batch", o.batch,
                                    "--threads", o.threads, "--repeat", repeat, *maps, *(["--isa", o.isa] if o.isa else []), "--json"))


def damp_residuals(path):
    """Scales what each residual block adds, in place, by a third.

    With BatchNorms of 1, every block of a random network doubles the variance of its residual map. A stage has one scale
    of 8 bits, and such a map outgrows it in the 23 blocks of a ResNet-101's third stage. A trained network's does not.
    """
    last_scale = re.compile(r"layer\d+\.\d+\.bn3\.weight|.*\.f\.c\.1\.weight")  # of ResNets with bottlenecks, of RegNets
    with open(path, "r+b") as file:
        (header_size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_size))
        for name, tensor in header.items():
            if not last_scale.fullmatch(name):
                continue
            begin, end = tensor["data_offsets"]
            file.seek(8 + header_size + begin)
            values = np.frombuffer(file.read(end - begin), "<f4")
            file.seek(8 + header_size + begin)
            file.write((values / np.float32(3)).tobytes())


def size_text(size):
    height, width = size
    return str(height) if height == width else f"{height}x{width}"


def open_peers(names, onnx_path, x, expected, threads, calibration):
    """Build the peers and refuse those that compute something else."""
    opened = {}
    for name in names:
        if calibration:
            with contextlib.redirect_stdout(sys.stderr):  # NNCF shows its progress
                version, run = INT8_PEERS[name](onnx_path, threads, calibration)
        else:
            version, run = PEERS[name](onnx_path, threads)
        most = MAX_INT8_ERROR if calibration else MAX_ERROR
        errors = [float(np.abs(got - wanted).max() / np.abs(wanted).max())
                  for got, wanted in zip(run(x), expected, strict=True)]
        if not all(error <= most for error in errors):
            sys.exit(f"error: {name} {version}: outputs differ from lasnet's by {max(errors):.2g} of the largest "
                     f"value; expected at most {most}")
        opened[name] = {"version": version, "run": run, "logits_error": errors[0],
                        "maps_error": max(errors[1:], default=0)}
    return opened


def write_noise(folder, side):
    """Pictures whose pixels are independent, as random weights are not made for any others."""
    from PIL import Image

    folder.mkdir()
    random = np.random.default_rng(1)
    for index in range(16):
        Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).save(folder / f"{index:02}.png")


def seen(image, side, size):
    """As lasnet sees it: the shorter side resized, the centre cropped."""
    factor = side / min(image.size)
    image = image.resize((round(image.width * factor), round(image.height * factor)))
    left, top = (image.width - size[1]) // 2, (image.height - size[0]) // 2
    return image.crop((left, top, left + size[1], top + size[0]))


def calibration_inputs(lasnet, options):
    """The pictures on which lasnet quantizes, as the peers' calibration inputs."""
    from PIL import Image

    facts = json.loads(lasnet.call("inspect", lasnet.network, "--json"))["preprocessing"]
    mean, std = (np.array(facts[key], np.float32).reshape(3, 1, 1) for key in ("mean", "std"))
    files = sorted(path for path in options.calibration.rglob("*") if path.suffix in (".jpg", ".jpeg", ".png"))
    count = min(len(files), CALIBRATION_IMAGES)
    inputs = []
    for index in range(count):
        image = seen(Image.open(files[index * len(files) // count]).convert("RGB"), facts["resize"], options.size)
        pixels = np.asarray(image, np.float32).transpose(2, 0, 1) / 255
        inputs.append(np.repeat(((pixels - mean) / std)[None], options.batch, 0).astype(np.float32))
    return inputs


def check_own_logits(lasnet, x, folder, expected):
    got = lasnet.dense_outputs(x, folder, lasnet.timed, "int8")
    error = float(np.abs(got[0] - expected[0]).max() / np.abs(expected[0]).max())
    print(f"lasnet int8: logits differ from fp32 by {error:.3f} of the largest value", file=sys.stderr)
    if not error <= MAX_INT8_ERROR:
        sys.exit(f"error: lasnet int8: logits differ by {error:.2g}; expected at most {MAX_INT8_ERROR}")


def time_block(run, x, repeat):
    """Milliseconds of each of `repeat` runs, after an untimed one."""
    run(x)
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run(x)
        times.append(1e3 * (time.perf_counter() - start))
    return times


def measure(lasnet, peers, x, options):
    """Times in ms by engine, one list per round."""
    int8 = options.precision == "int8"
    times = {name: [] for name in ("dense", "sparse", *(["sparse fp32"] if int8 else []), *peers)}
    order = ["lasnet", *peers, *(["sparse fp32"] if int8 else [])]
    for index in range(options.rounds):
        for name in order[index % len(order):] + order[: index % len(order)]:
            if name == "lasnet":
                report = lasnet.bench(options.repeat, lasnet.timed, options.precision)
                for kind in ("dense", "sparse"):
                    times[kind].append([report[kind]["min_ms"], report[kind]["median_ms"]])
            elif name == "sparse fp32":
                fp32 = lasnet.bench(options.repeat, lasnet.network, "fp32")["sparse"]
                times[name].append([fp32["min_ms"], fp32["median_ms"]])
            else:
                block = time_block(peers[name]["run"], x, options.repeat)
                times[name].append([min(block), float(np.median(block))])
        print(f"round {index + 1} of {options.rounds}", file=sys.stderr)
    return {name: np.array(rounds) for name, rounds in times.items()}, report


def processor():
    return processor_name() + (" (AVX-512 hidden from all)" if os.environ.get("LASNET_PEERS_ISA") else "")


def summarise(times, peers, report, options):
    def engine(name):
        entry = {"min_ms": times[name][:, 0].min(), "median_ms": float(np.median(times[name][:, 1]))}
        for kind in ("dense", "sparse"):
            entry[f"{kind}_speedup"] = quartiles(times[name][:, 1] / times[kind][:, 1])
        return entry

    return {
        "network": options.network, "date": datetime.date.today().isoformat(), "processor": processor(),
        "granularity": report["granularity"], "size": size_text(options.size),
        "features": options.features,
        "batch": options.batch, "threads": options.threads, "isa": report["isa"],
        "fma_peak_gflops": report["peak_gflops"], "processors": len(os.sched_getaffinity(0)),
        "precision": options.precision, "macs_ratio": report["macs_ratio"], "rounds": options.rounds, "repeat": options.repeat,
        "dense": engine("dense"), "sparse": engine("sparse"),
        **({"sparse_fp32": engine("sparse fp32")} if "sparse fp32" in times else {}),
        "peers": [{"name": name, "version": peer["version"], "logits_error": peer["logits_error"],
                   "maps_error": peer["maps_error"], **engine(name)}
                  for name, peer in peers.items()],
    }


def print_table(summary):
    def row(name, entry):
        ratios = ("{median:.2f}x ({q1:.2f} ... {q3:.2f})".format(**entry[f"{kind}_speedup"])
                  for kind in ("dense", "sparse"))
        print("{:24} {:8.2f} ms {:8.2f} ms   {:24} {:24}".format(name, entry["min_ms"], entry["median_ms"], *ratios))

    peak = f"FMA peak {summary['fma_peak_gflops']:.0f} GFLOP/s, " if summary["fma_peak_gflops"] else ""
    maps = f", with maps of {', '.join(summary['features'])}" if summary["features"] else ""
    print("{network} S {granularity}, {size} px{maps}, batch {batch}, threads {threads}, {precision} {isa}, "
          "MAC ratio {macs_ratio:.3f}; {peak}{processors} processors, not pinned within them\n".format(
              **summary, maps=maps, peak=peak))
    print(f"{'engine':24} {'min':>11} {'median':>11}   {'lasnet dense is faster':24} lasnet sparse is faster")
    row("lasnet dense", summary["dense"])
    row("lasnet sparse", summary["sparse"])
    if "sparse_fp32" in summary:
        row("lasnet sparse fp32", summary["sparse_fp32"])
    for peer in summary["peers"]:
        row(f"{peer['name']} {peer['version']}", peer)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="an architecture of lasnet, e.g. resnet50, or a model file")
    parser.add_argument("--images", type=Path, help="folder of images, for a model file: its own masks on them")
    parser.add_argument("--granularity", default="4-4-2-1")
    parser.add_argument("--macs", type=float, default=0.5, help="MAC ratio of the sparse runs")
    parser.add_argument("--size", type=export_onnx.parse_size,
                        help="side of the input, px, or HEIGHTxWIDTH; default the model's, or 224")
    parser.add_argument("--features", action="store_true", help="all engines also return the maps of the stages")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7, help="blocks of runs per engine")
    parser.add_argument("--repeat", type=int, default=10, help="timed runs per block")
    parser.add_argument("--peers", help=f"of {', '.join(PEERS)}; in int8 of {', '.join(INT8_PEERS)}; default all")
    parser.add_argument("--precision", choices=["fp32", "int8"], default="fp32")
    parser.add_argument("--isa", help="instruction set of lasnet's kernels; without_avx512.py limits the peers' too")
    parser.add_argument("--lasnet", type=Path, default=ROOT / "build" / "lasnet", help="the program")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.images and not Path(options.network).is_file():
        parser.error(f"--images: {options.network} is no model file, so it has no masks of its own")
    if not options.images:
        options.size = options.size or (224, 224)
    known = INT8_PEERS if options.precision == "int8" else PEERS
    options.peers = options.peers.split(",") if options.peers else list(known)
    unknown = [name for name in options.peers if name not in known]
    if unknown:
        parser.error(f"--peers: {', '.join(unknown)} unknown; expected some of {', '.join(known)}")
    return options


def main():
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options.calibration = options.images
        if options.precision == "int8" and not options.images:
            options.calibration = folder / "noise"
            write_noise(options.calibration, 256)  # what lasnet resizes to
        lasnet = Lasnet(options.lasnet, folder, options)
        options.features = lasnet.stages() if options.features else []
        onnx_path = folder / "network.onnx"
        options.size = export_onnx.export(lasnet.network, onnx_path, options.size, options.batch, options.features)
        calibration = calibration_inputs(lasnet, options) if options.precision == "int8" else []
        x = np.random.default_rng(0).uniform(-2, 2, (options.batch, 3, *options.size)).astype(np.float32)
        if calibration:
            x = calibration.pop()
        expected = lasnet.dense_outputs(x, folder, lasnet.network, "fp32")
        if calibration:
            check_own_logits(lasnet, x, folder, expected)
        peers = open_peers(options.peers, onnx_path, x, expected, options.threads, calibration)
        times, report = measure(lasnet, peers, x, options)
    summary = summarise(times, peers, report, options)
    if options.json:
        print(json.dumps(summary, indent=2))
    else:
        print_table(summary)


if __name__ == "__main__":
    main()
