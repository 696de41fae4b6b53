#!/usr/bin/env python3
"""scripts/export_onnx.py: the exported network has the logits and maps of lasnet's own static run.

    tests/export/test_export_onnx.py LASNET WORK

The graphs are run by the plain definitions of ONNX's operators below and, where it is installed, by ONNX Runtime.
Exits with 77, which CTest shows as skipped, where the package onnx is missing.
"""

import math
import shutil
import subprocess
import sys
from pathlib import Path

try:
    import numpy as np
    import onnx
    from onnx import numpy_helper
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

try:
    import onnxruntime
except ImportError:
    onnxruntime = None

SOURCE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "scripts"))
import export_onnx  # noqa: E402

SIZE = (72, 88)
BATCH = 2
TOLERANCE = 1e-4  # of an output's largest value: rounding through a whole network

# What is exported: arguments of `lasnet bench` that make the network, and the type of the stored values.
NETWORKS = {
    "resnet18": (["resnet18", "--width", "0.25"], "fp32"),
    "resnet50": (["resnet50", "--width", "0.25", "--stem", "small"], "fp16"),
    "resnext50": (["resnext50_32x4d", "--width", "0.25"], "bf16"),
    "regnet": (["regnet_y_400mf", "--width", "0.5"], "fp32"),
    "regnet_small": (["regnet_y_400mf", "--width", "0.25", "--stem", "small"], "fp32"),
    "trained": ([str(SOURCE / "models/demo.safetensors"), "--macs", "0.5"], "fp32"),
}


def windows(x, kernel, strides, pads, value):
    """[N, C, H', W', kh, kw]: what a kernel sees at each of its places."""
    top, left, bottom, right = pads
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    return view[:, :, :: strides[0], :: strides[1]]


def convolve(x, weight, bias, kernel_shape, strides, pads, group):
    seen = windows(x, kernel_shape, strides, pads, 0)
    images, channels, height, width = seen.shape[:4]
    seen = seen.reshape(images, group, channels // group, height, width, *kernel_shape)
    weight = weight.reshape(group, -1, *weight.shape[1:])
    y = np.einsum("ngchwij,gocij->ngohw", seen, weight, optimize=True)
    return y.reshape(images, -1, height, width) + bias[None, :, None, None]


OPERATORS = {
    "Add": lambda a, b: a + b,
    "Conv": convolve,
    "Flatten": lambda x: x.reshape(len(x), -1),
    "Gemm": lambda a, b, c, transB: a @ (b.T if transB else b) + c,
    "GlobalAveragePool": lambda x: x.mean(axis=(2, 3), keepdims=True),
    "Identity": lambda x: x,
    "MaxPool": lambda x, kernel_shape, strides, pads: windows(x, kernel_shape, strides, pads, -math.inf).max((4, 5)),
    "Mul": lambda a, b: a * b,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def evaluate(graph, x):
    """The outputs of an ONNX graph, in float64."""
    values = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in graph.initializer}
    values[graph.input[0].name] = x.astype(np.float64)
    for node in graph.node:
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        values[node.output[0]] = OPERATORS[node.op_type](*(values[name] for name in node.input), **attributes)
    return [values[output.name] for output in graph.output]


def lasnet(program, *arguments):
    subprocess.run([program, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def static_outputs(program, network, folder, x):
    """Of lasnet, every mask forced to ones: the logits, and all maps by name."""
    np.save(folder / "x.npy", x)
    forward = ["forward", network, "--input", folder / "x.npy", "--output", folder / "y.npy"]
    lasnet(program, *forward, "--masks", folder / "masks")
    for path in (folder / "masks").iterdir():
        np.save(path, np.ones_like(np.load(path)))
    lasnet(program, *forward, "--force-masks", folder / "masks", "--features", folder / "maps")
    maps = {path.stem: np.load(path) for path in sorted((folder / "maps").iterdir())}
    return np.load(folder / "y.npy"), maps


def exported(network, folder, features):
    """The network as ONNX, for SIZE."""
    path = folder / "network.onnx"
    assert export_onnx.export(network, path, SIZE, BATCH, features) == SIZE
    model = onnx.load(str(path))
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [BATCH, 3, *SIZE]
    return model


def check(program, name, folder):
    made, dtype = NETWORKS[name]
    folder.mkdir(parents=True)
    lasnet(program, "bench", *made, "--size", 64, "--repeat", 1, "--save", folder / "made.safetensors")
    network = folder / "network.safetensors"
    lasnet(program, "convert", folder / "made.safetensors", network, "--dtype", dtype)
    x = np.random.default_rng(1).standard_normal((BATCH, 3, *SIZE)).astype(np.float32)
    logits, maps = static_outputs(program, network, folder, x)
    expected = {"logits": logits, **maps}
    model = exported(network, folder, list(maps))

    runs = {"definitions": evaluate(model.graph, x)}
    if onnxruntime:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        runs["ONNX Runtime"] = session.run(None, {"input": x})
    failures = 0
    for runner, outputs in runs.items():
        errors = [relative_error(got, wanted) for got, wanted in zip(outputs, expected.values(), strict=True)]
        good = all(error <= TOLERANCE for error in errors)  # false for NaN
        failures += not good
        print(f"{name}, {dtype}, by {runner}: {'ok' if good else 'FAILED'}, {max(errors):.1e} of the largest value")
    return failures


def relative_error(got, wanted):
    return np.abs(got - wanted).max() / np.abs(wanted).max() if got.shape == wanted.shape else math.inf


def main():
    program, work = sys.argv[1], Path(sys.argv[2])
    shutil.rmtree(work, ignore_errors=True)
    failures = sum(check(program, name, work / name) for name in NETWORKS)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
