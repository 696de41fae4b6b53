#!/usr/bin/env python3
"""Trains a RetinaNet on a dynamic ResNet-18 for a few steps, and lets the engine run its backbone.

    examples/python/detector.py --steps 250 --engine

The pictures are made here: a bright rectangle on noise. The budget counts the backbone's stem and blocks. --engine
needs the package lasnet with its compiled part (pip install .), which returns the maps that the pyramid reads.
"""

import argparse
import pathlib
import tempfile

import torch
import torchvision
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

import lasnet.torch as lt

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=250)
parser.add_argument("--batch", type=int, default=4)
parser.add_argument("--size", type=int, default=128)
parser.add_argument("--target", type=float, default=0.6, help="MACs over the static backbone's")
parser.add_argument("--engine", action="store_true", help="run the trained backbone sparsely, in the engine")
args = parser.parse_args()


def pictures(count):
    images, targets = [], []
    for _ in range(count):
        image = 0.2 * torch.rand(3, args.size, args.size)
        height, width = torch.randint(args.size // 4, args.size // 2, (2,)).tolist()
        top, left = (int(torch.randint(args.size - side, (1,))) for side in (height, width))
        image[:, top : top + height, left : left + width] += 0.8
        box = torch.tensor([[left, top, left + width, top + height]], dtype=torch.float32)
        images.append(image)
        targets.append({"boxes": box, "labels": torch.tensor([1])})
    return images, targets


torch.manual_seed(0)
net = lt.dynamic(torchvision.models.resnet18(), "4-4-2-1", standardise_maskers=True)
stages = {"layer2": "0", "layer3": "1", "layer4": "2"}
backbone = BackboneWithFPN(net, stages, [128, 256, 512], 256, LastLevelMaxPool())
anchors = AnchorGenerator(((16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 4)
detector = RetinaNet(backbone, num_classes=2, anchor_generator=anchors, min_size=args.size, max_size=2 * args.size)
maskers = lt.masker_parameters(detector)
rest = [parameter for name, parameter in detector.named_parameters() if ".masker." not in name]
groups = [{"params": rest, "lr": 2e-4}, {"params": maskers, "lr": 2e-2}]
optimizer = torch.optim.AdamW(groups)
detector.train()
for step in range(args.steps):
    progress = step / args.steps
    net.temperature, net.noise_scale = lt.temperature(progress), lt.noise_scale(progress)
    losses = detector(*pictures(args.batch))
    loss = sum(losses.values()) + lt.budget_loss(detector, target=args.target, progress=progress)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(f"step {step}: loss {loss.item():.3f}, MACs {lt.macs_ratio(detector).mean().item():.1%}", flush=True)

detector.eval()
images, targets = pictures(8)


def mean_overlap():
    """How well the best boxes meet the rectangles."""
    with torch.no_grad():
        found = [boxes["boxes"][:1] for boxes in detector(images)]
    return sum(torchvision.ops.box_iou(t["boxes"], boxes).sum().item() for t, boxes in zip(targets, found)) / 8


overlap, macs = mean_overlap(), lt.macs_ratio(detector).mean().item()
print(f"overlap of the best box with the rectangle: {overlap:.2f}; MACs of the backbone: {macs:.1%}")

if args.engine:
    import lasnet

    class EngineBody(torch.nn.Module):
        """The maps of the backbone's stages, computed by the engine."""

        def __init__(self, network):
            super().__init__()
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "backbone.safetensors"
                lt.export(network, path)
                self.session = lasnet.Session(lasnet.load(path))

        def forward(self, x):
            maps = self.session.run(x, features=list(stages)).features
            return {stages[name]: torch.from_dlpack(values) for name, values in maps.items()}

    engine, batch = EngineBody(net), torch.stack(images)
    with torch.no_grad():
        maps = backbone.body(batch)
    errors = [(maps[name] - values).abs().max() / maps[name].abs().max() for name, values in engine(batch).items()]
    backbone.body = engine
    print(f"by the engine: overlap {mean_overlap():.2f}; maps differ by {max(errors).item():.1e} of the largest value")
