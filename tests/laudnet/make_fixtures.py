#!/usr/bin/env python3
"""Makes data/: logits of LAUDNet's masked dense function on the networks and the input of dump_laudnet, and the maskers'
biases.

    apt-get install python3-torchvision
    python3 tests/laudnet/make_fixtures.py build/dump_laudnet

The function is that of LAUDNet (Latency-aware Unified Dynamic Networks, TPAMI 2024) in evaluation: a masker averages
its block's input under every patch, or over the whole map in the mode layer, and a 1x1 convolution gives two logits.
The block's last BatchNorm is multiplied by 1 where the first logit is not the smaller one. Weights have LAUDNet's
names, and each has to find its place. Biases are chosen so that about half of the patches are active.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.models import regnet, resnet

sys.path.append(str(pathlib.Path(__file__).parents[1] / "support"))
from torch_fixtures import load_weights, read_safetensors  # noqa: E402

# Decisions nearer to 0 could fall the other way by rounding.
LEAST_DIFFERENCE = 1e-4


def widest_gap(differences):
    """The middle of the widest gap between differences, in their middle third."""
    values = differences.flatten().sort().values
    first, last = len(values) // 3, max(2 * len(values) // 3, len(values) // 3 + 1)
    gaps = values[first : last + 1].diff()
    at = first + int(gaps.argmax())
    return (values[at] + values[at + 1]) / 2


class SpatialMasker(nn.Module):
    """Masks over an output map of `side` pixels of an input x of `stride` times that."""

    def __init__(self, channels, granularity, stride):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2, 1)
        self.granularity, self.stride = granularity, stride
        self.balances = True

    def forward(self, x):
        side = x.shape[2] // self.stride
        patches = 1 if self.granularity == "layer" else side // int(self.granularity)
        pooled = F.adaptive_avg_pool2d(x, patches)
        if self.balances:
            self.conv.bias[0] -= widest_gap(self.difference(pooled))
        difference = self.difference(pooled)
        assert difference.abs().min() > LEAST_DIFFERENCE * difference.abs().max(), "too near to 0: take another seed"
        return F.interpolate((difference >= 0).float(), size=side, mode="nearest")

    def difference(self, pooled):
        logits = self.conv(pooled)
        return logits[:, :1] - logits[:, 1:]


class MaskedBottleneck(nn.Module):
    """A block of a ResNet whose body is masked."""

    def __init__(self, block, granularity):
        super().__init__()
        self._modules.update(block._modules)
        self.downsample = block.downsample
        self.masker_spatial = SpatialMasker(block.conv1.in_channels, granularity, block.stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y)) * self.masker_spatial(x)
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class MaskedTransform(nn.Module):
    """The body of a RegNet's block, masked."""

    def __init__(self, body, granularity):
        super().__init__()
        self._modules.update(body._modules)
        self.masker_spatial = SpatialMasker(body.a[0].in_channels, granularity, body.b[0].stride[0])

    def forward(self, x):
        return self.c(self.se(self.b(self.a(x)))) * self.masker_spatial(x)


def make_dynamic(net, granularity):
    """Gives every block of a torchvision network a masker, per stage."""
    if isinstance(net, resnet.ResNet):
        for stage, side in zip((net.layer1, net.layer2, net.layer3, net.layer4), granularity):
            for name, block in stage.named_children():
                setattr(stage, name, MaskedBottleneck(block, side))
    else:
        assert isinstance(net, regnet.RegNet)
        for stage, side in zip(net.trunk_output.children(), granularity):
            for block in stage.children():
                block.f = MaskedTransform(block.f, side)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(__file__).parent / "data"
    out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], folder], check=True)
        x = torch.from_numpy(np.load(pathlib.Path(folder) / "x.npy"))
        for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
            tensors, metadata = read_safetensors(path)
            net = getattr(torchvision.models, metadata["architecture"])(num_classes=10)
            sides = metadata["granularity"].split("-")
            make_dynamic(net, sides * 4 if sides == ["layer"] else sides)
            load_weights(net, tensors)
            net.eval()
            maskers = [module for module in net.modules() if isinstance(module, SpatialMasker)]
            with torch.no_grad():
                net(x)
                for masker in maskers:
                    masker.balances = False
                logits = net(x).numpy()
            np.save(out / f"{path.stem}.npy", logits)
            np.save(out / f"{path.stem}_biases.npy", np.stack([masker.conv.bias.detach().numpy() for masker in maskers]))
            print(path.stem, logits.shape, float(abs(logits).max()))


if __name__ == "__main__":
    main()
