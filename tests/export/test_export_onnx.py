#!/usr/bin/env python3
"""scripts/export_onnx.py: the exported network has the logits of lasnet's own static run.

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
TOLERANCE = 1e-4  # of the largest logit: rounding through a whole network

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
    """The output of an ONNX graph, in float64."""
    values = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in graph.initializer}
    values[graph.input[0].name] = x.astype(np.float64)
    for node in graph.node:
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        values[node.output[0]] = OPERATORS[node.op_type](*(values[name] for name in node.input), **attributes)
    return values[graph.output[0].name]


def lasnet(program, *arguments):
    subprocess.run([program, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def static_logits(program, network, folder, x):
    """Of lasnet: every mask forced to ones."""
    np.save(folder / "x.npy", x)
    forward = ["forward", network, "--input", folder / "x.npy", "--output", folder / "y.npy"]
    lasnet(program, *forward, "--masks", folder / "masks")
    for path in (folder / "masks").iterdir():
        np.save(path, np.ones_like(np.load(path)))
    lasnet(program, *forward, "--force-masks", folder / "masks")
    return np.load(folder / "y.npy")


def exported(network, folder):
    """The network as ONNX, for SIZE: the exporter itself writes square inputs."""
    path = folder / "network.onnx"
    side = export_onnx.export(network, path, size=96, batch=BATCH)
    model = onnx.load(str(path))
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [BATCH, 3, side, side]
    for dimension, extent in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], SIZE):
        dimension.dim_value = extent
    onnx.checker.check_model(model)
    return model


def check(program, name, folder):
    made, dtype = NETWORKS[name]
    folder.mkdir(parents=True)
    lasnet(program, "bench", *made, "--size", 64, "--repeat", 1, "--save", folder / "made.safetensors")
    network = folder / "network.safetensors"
    lasnet(program, "convert", folder / "made.safetensors", network, "--dtype", dtype)
    x = np.random.default_rng(1).standard_normal((BATCH, 3, *SIZE)).astype(np.float32)
    expected = static_logits(program, network, folder, x)
    model = exported(network, folder)

    runs = {"definitions": evaluate(model.graph, x)}
    if onnxruntime:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        runs["ONNX Runtime"] = session.run(None, {"input": x})[0]
    scale = np.abs(expected).max()
    failures = 0
    for runner, logits in runs.items():
        error = np.abs(logits - expected).max() / scale if logits.shape == expected.shape else math.inf
        good = error <= TOLERANCE  # false for NaN
        failures += not good
        print(f"{name}, {dtype}, by {runner}: {'ok' if good else 'FAILED'}, {error:.1e} of the largest logit")
    return failures


def main():
    program, work = sys.argv[1], Path(sys.argv[2])
    shutil.rmtree(work, ignore_errors=True)
    failures = sum(check(program, name, work / name) for name in NETWORKS)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
