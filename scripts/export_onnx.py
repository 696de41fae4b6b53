#!/usr/bin/env python3
"""Writes the static network of a lasnet model file as ONNX, for other inference engines.

    scripts/export_onnx.py MODEL.safetensors OUT.onnx [--size 224] [--batch 1] [--features layer2,layer4]

The graph has one input `input`, float32 [batch, 3, height, width], and one output `logits`, [batch, classes], followed
by the maps of --features, by the names of `lasnet forward --features`.
BatchNorm is folded into the convolutions; maskers are left out. The structure follows from torchvision's tensor
names and shapes, so files without lasnet's metadata, like torchvision's own weights, work too.

Needs the Python packages onnx and numpy.
"""

import argparse
import json
import os
import re
import struct
import sys
from pathlib import Path

try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    sys.exit(f"error: {error}; install the Python packages numpy and onnx")

BATCH_NORM_EPSILON = 1e-5
OPSET = 17
IR_VERSION = 8


def read_safetensors(path):
    """Return the tensors as float32 by name, and lasnet's metadata ({} if there is none)."""
    data = Path(path).read_bytes()
    if len(data) < 8:
        sys.exit(f"error: {path}: {len(data)} bytes are no .safetensors file")
    (length,) = struct.unpack("<Q", data[:8])
    try:
        header = json.loads(data[8 : 8 + length])
    except ValueError as error:
        sys.exit(f"error: {path}: no .safetensors header: {error}")
    metadata = json.loads(header.pop("__metadata__", {}).get("lasnet", "{}"))
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = decode(data[begin:end], entry["dtype"], name).reshape(entry["shape"])
    return tensors, metadata


def decode(data, dtype, name):
    """Return little-endian values as float32."""
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    kinds = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8"}
    if dtype not in kinds:
        sys.exit(f"error: tensor {name}: dtype {dtype} is not one of {', '.join([*kinds, 'BF16'])}")
    return np.frombuffer(data, kinds[dtype]).astype(np.float32)


def natural(name):
    """Sort key that takes numbers as numbers: layer1.10 after layer1.9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


class Graph:
    """ONNX nodes in the making, over the tensors of one model file."""

    def __init__(self, tensors):
        self.tensors = tensors
        self.nodes = []
        self.weights = []
        self.maps = {}  # that may be outputs: the name of the value and its channels

    def add(self, operator, inputs, **attributes):
        """Append a node; return the name of its output."""
        output = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name, values):
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name))
        return name

    def tensor(self, name):
        if name not in self.tensors:
            sys.exit(f"error: the file lacks the tensor {name}")
        return self.tensors[name]

    def folded(self, conv, norm):
        """Weight and bias of a convolution with its BatchNorm on running statistics."""
        scale, shift, mean, variance = (
            self.tensor(f"{norm}.{part}").astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
        return self.tensor(f"{conv}.weight") * scale[:, None, None, None], shift - mean * scale

    def conv(self, x, name, weight, bias, channels, stride=1):
        kernel = weight.shape[2]
        return self.add(
            "Conv",
            [x, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=channels // weight.shape[1],
        )

    def conv_norm(self, x, conv, norm, channels, stride=1):
        """Return the output's name and its channels."""
        weight, bias = self.folded(conv, norm)
        return self.conv(x, conv, weight, bias, channels, stride), weight.shape[0]

    def squeeze_excite(self, x, prefix, channels):
        """x * sigmoid(fc2(relu(fc1(mean(x))))), fc1 and fc2 being 1x1 convolutions with bias."""
        gate = self.add("GlobalAveragePool", [x])
        for layer, activation in (("fc1", "Relu"), ("fc2", "Sigmoid")):
            weight = self.tensor(f"{prefix}.{layer}.weight")
            gate = self.conv(gate, f"{prefix}.{layer}", weight, self.tensor(f"{prefix}.{layer}.bias"), weight.shape[1])
            gate = self.add(activation, [gate])
        return self.add("Mul", [x, gate])

    def residual(self, x, body, projection, channels, stride):
        """ReLU(body + identity), the identity projected if the file has the tensors for it."""
        conv, norm = projection
        if f"{conv}.weight" in self.tensors:
            x, _ = self.conv_norm(x, conv, norm, channels, stride)
        return self.add("Relu", [self.add("Add", [body, x])])

    def head(self, x):
        x = self.add("Flatten", [self.add("GlobalAveragePool", [x])])
        weight, bias = (self.constant(name, self.tensor(name)) for name in ("fc.weight", "fc.bias"))
        return self.add("Gemm", [x, weight, bias], transB=1)


def add_resnet(graph):
    """Stem (7x7 and max-pool, or 3x3) and layer<stage>.<block>; a stage's stride is on its first 3x3."""
    x, channels = graph.conv_norm("input", "conv1", "bn1", 3, stride=2)
    x = graph.add("Relu", [x])
    if graph.tensor("conv1.weight").shape[2] == 7:
        x = graph.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    graph.maps["stem"] = x, channels
    blocks = {match[0] for name in graph.tensors if (match := re.match(r"layer\d+\.\d+(?=\.conv)", name))}
    for block in sorted(blocks, key=natural):
        stride = 2 if block.endswith(".0") and not block.startswith("layer1.") else 1
        bottleneck = f"{block}.conv3.weight" in graph.tensors
        strided, last = ("conv2", 3) if bottleneck else ("conv1", 2)
        body, inner = x, channels
        for i in range(1, last + 1):
            step = stride if f"conv{i}" == strided else 1
            body, inner = graph.conv_norm(body, f"{block}.conv{i}", f"{block}.bn{i}", inner, step)
            if i < last:
                body = graph.add("Relu", [body])
        x = graph.residual(x, body, (f"{block}.downsample.0", f"{block}.downsample.1"), channels, stride)
        channels = inner
        graph.maps[block.split(".")[0]] = x, channels
    return x


def add_regnet(graph, stem):
    """3x3 stem and trunk_output.block<stage>.block<stage>-<block>; every stage starts with stride 2."""
    x, channels = graph.conv_norm("input", "stem.0", "stem.1", 3, stride=1 if stem == "small" else 2)
    x = graph.add("Relu", [x])
    graph.maps["stem"] = x, channels
    blocks = {match[0] for name in graph.tensors if (match := re.match(r"trunk_output\.block\d+\.block\d+-\d+", name))}
    for block in sorted(blocks, key=natural):
        stride = 2 if block.endswith("-0") else 1
        body, inner = x, channels
        for part, step in (("a", 1), ("b", stride)):
            body, inner = graph.conv_norm(body, f"{block}.f.{part}.0", f"{block}.f.{part}.1", inner, step)
            body = graph.add("Relu", [body])
        if f"{block}.f.se.fc1.weight" in graph.tensors:
            body = graph.squeeze_excite(body, f"{block}.f.se", inner)
        body, inner = graph.conv_norm(body, f"{block}.f.c.0", f"{block}.f.c.1", inner)
        x = graph.residual(x, body, (f"{block}.proj.0", f"{block}.proj.1"), channels, stride)
        channels = inner
        graph.maps[block.split(".")[1]] = x, channels
    return x


def build(tensors, stem, size, batch, features=()):
    """Return the ONNX model of the static network for inputs of size (height, width).

    stem: lasnet's name of its kind. features: maps that are outputs beside the logits.
    """
    graph = Graph(tensors)
    if "conv1.weight" in tensors:
        last = add_resnet(graph)
    elif "stem.0.weight" in tensors:
        last = add_regnet(graph, stem)
    else:
        sys.exit("error: neither a ResNet (conv1.weight) nor a RegNet (stem.0.weight) under torchvision's names")
    graph.nodes.append(helper.make_node("Identity", [graph.head(last)], ["logits"]))
    outputs = {"logits": [batch, tensors["fc.weight"].shape[0]]}
    for name in features:
        if name not in graph.maps:
            sys.exit(f"error: the network has no map {name}; it has {', '.join(graph.maps)}")
        value, channels = graph.maps[name]
        graph.nodes.append(helper.make_node("Identity", [value], [name]))
        outputs[name] = [batch, channels, None, None]
    network = helper.make_graph(
        graph.nodes,
        "lasnet_static",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, *size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        graph.weights,
    )
    model = helper.make_model(network, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def parse_size(text):
    """(height, width) of "224" or "800x1333"."""
    sides = [int(side) for side in text.split("x")]
    if len(sides) > 2:
        raise ValueError(text)
    return sides[0], sides[-1]


def export(model_path, onnx_path, size=None, batch=1, features=()):
    """Write the ONNX file, through a temporary one; return the input's (height, width) in px."""
    tensors, metadata = read_safetensors(model_path)
    size = size or (metadata.get("preprocessing", {}).get("crop") or 224,) * 2
    architecture = metadata.get("architecture", {})
    if architecture.get("dilated_stages", 0):
        sys.exit(f"error: {model_path}: a network with dilated stages, which are not exported")
    stem = architecture.get("stem", "imagenet")
    temporary = f"{onnx_path}.tmp"
    try:
        onnx.save(build(tensors, stem, size, batch, features), temporary)
        os.replace(temporary, onnx_path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return size


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL.safetensors")
    parser.add_argument("onnx", metavar="OUT.onnx")
    parser.add_argument("--size", type=parse_size, help="side in px, or HEIGHTxWIDTH; default the model's crop, else 224")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--features", default="", help="maps to return beside the logits, e.g. layer2,layer4")
    options = parser.parse_args()
    features = options.features.split(",") if options.features else []
    height, width = export(options.model, options.onnx, options.size, options.batch, features)
    print(f"{options.onnx}: input [{options.batch}, 3, {height}, {width}]")


if __name__ == "__main__":
    main()
