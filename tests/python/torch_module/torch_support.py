"""What the tests of lasnet.torch share: small networks of torchvision's, values that C++ computes too, the engine."""

import json
import os
import pathlib
import shutil
import struct

import numpy as np
import pytest

torch = pytest.importorskip("torch", minversion="1.13.0a0")
torchvision = pytest.importorskip("torchvision")

from torchvision.models import regnet, resnet  # noqa: E402

from lasnet.torch._architecture import REGNETS, RESNETS, scaled  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[3]


class ScaledResNet(resnet.ResNet):
    """torchvision's ResNet with all channels multiplied, as the engine's --width does."""

    def __init__(self, width, **arguments):
        self.width = width
        super().__init__(**arguments)
        channels = self.layer1[0].conv1.in_channels
        self.conv1 = torch.nn.Conv2d(3, channels, 7, 2, 3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(channels)

    def _make_layer(self, block, planes, *arguments, **options):
        channels = scaled(planes, self.width)
        self.inplanes = channels if planes == 64 else self.inplanes
        return super()._make_layer(block, channels, *arguments, **options)


def network(name, width=None, classes=7, stem="imagenet"):
    """A static network of torchvision's, narrower than usual.

    Channels of ResNets and of regnet_y_800mf are multiples of 16 by default. Otherwise oneDNN 2.6, which Debian's
    PyTorch has, writes beyond its buffers in the backward pass of 1x1 convolutions with a stride.
    """
    width = width or (0.25 if name in RESNETS else 0.5)
    if name in RESNETS:
        bottleneck, layers, groups, width_per_group = RESNETS[name]
        block = resnet.Bottleneck if bottleneck else resnet.BasicBlock
        sizes = {"groups": groups, "width_per_group": width_per_group}
        net = ScaledResNet(width, block=block, layers=list(layers), **sizes)
        net.fc = torch.nn.Linear(scaled(512, width) * block.expansion, classes)
        if stem == "small":
            net.conv1 = torch.nn.Conv2d(3, net.conv1.out_channels, 3, 2, 1, bias=False)
            net.maxpool = torch.nn.Identity()
        return net
    depths, widths, group = REGNETS[name]
    widths = [scaled(channels, width, group) for channels in widths]
    parameters = regnet.BlockParams(list(depths), widths, [group] * 4, [1.0] * 4, [2] * 4, se_ratio=0.25)
    return regnet.RegNet(parameters, num_classes=classes, stem_width=scaled(32, width))


def hashed(name, shape, scale=1.0, middle=0.0):
    """Uniform values that are a function of name and index alone, as tests/train/torch_fixture.cc computes them."""
    seed = 2166136261
    for byte in name.encode():
        seed = (seed ^ byte) * 16777619 % 2**32
    x = np.arange(int(np.prod(shape)), dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(seed)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    values = (x ^ (x >> np.uint32(16))) / 2147483648.0 - 1
    return torch.from_numpy((middle + scale * values).astype(np.float32).reshape(shape))


def set_hashed_values(net):
    """Give every parameter and statistic that the engine's file has its hashed values."""
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("num_batches_tracked") or ".masker.norm." in name:
                continue
            shape = tuple(value.shape)
            if name.endswith("running_var"):
                value.copy_(hashed(name, shape, 0.75, 1.25))
            elif name.endswith(("running_mean", "bias")):
                value.copy_(hashed(name, shape, 0.2))
            elif len(shape) == 1:
                value.copy_(hashed(name, shape, 0.3, 0.6))
            else:
                value.copy_(hashed(name, shape, (6 / np.prod(shape[1:])) ** 0.5))
    return net


def read_safetensors(path):
    """Return float32 tensors by name, and the metadata."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        raw = torch.frombuffer(bytearray(data[8 + length + begin : 8 + length + end]), dtype=kinds[entry["dtype"]])
        tensors[name] = raw.float().reshape(entry["shape"])
    return tensors, metadata


def engine():
    """The command line program: LASNET_PROGRAM, build/lasnet or one that is installed. Skips the test without one."""
    program = os.environ.get("LASNET_PROGRAM") or shutil.which(ROOT / "build" / "lasnet") or shutil.which("lasnet")
    if not program:
        pytest.skip("the program lasnet is neither in build/ nor installed; set LASNET_PROGRAM")
    return program
