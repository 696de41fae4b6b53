#!/usr/bin/env python3
"""Fine-tunes a ResNet of torchvision on an image folder: first the static network, which then teaches a dynamic one.

examples/python/finetune.py DATA -o model.safetensors --arch resnet50 --target 0.5
lasnet eval model.safetensors DATA/val
"""

import argparse
import copy

import torch
import torch.nn.functional as F
import torchvision
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

import lasnet.torch as lt

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", help="folder with train/<class>/ and val/<class>/")
parser.add_argument("-o", "--output", default="model.safetensors")
parser.add_argument("--arch", default="resnet50")
parser.add_argument("--weights", default="DEFAULT", help="torchvision's name of pretrained weights, or 'none'")
parser.add_argument("--granularity", default="4-4-2-1")
parser.add_argument("--target", type=float, default=0.5, help="MACs over the static network's")
parser.add_argument("--size", type=int, default=160, help="of the images, px")
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--epochs", type=int, default=8)
args = parser.parse_args()

device = "cuda" if torch.cuda.is_available() else "cpu"
seen = dict(resize=args.size * 8 // 7, crop=args.size, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def batches(part, shuffle, *ways):
    ways = T.Compose([*ways, T.ToTensor(), T.Normalize(seen["mean"], seen["std"])])
    images = ImageFolder(f"{args.data}/{part}", ways)
    return torch.utils.data.DataLoader(images, args.batch, shuffle, drop_last=shuffle, num_workers=2)


def fit(epochs, loss_of):
    maskers, rest = ([p for n, p in net.named_parameters() if (".masker." in n) == which] for which in (True, False))
    groups = [{"params": rest, "lr": 0.002}, {"params": maskers, "lr": 0.008}]
    optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=5e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(train))
    for epoch in range(epochs):
        net.train()
        for index, (images, labels) in enumerate(train):
            progress = (epoch + index / len(train)) / epochs
            loss = loss_of(images.to(device), labels.to(device), progress)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if maskers:
                lt.hold_budget(net, lt.ramped_target(args.target, progress))
        with torch.no_grad():
            top1 = torch.cat([(net.eval()(x.to(device)).argmax(1).cpu() == y).float() for x, y in val]).mean()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, top-1 {top1:.1%}", flush=True)


def dynamic_loss(images, labels, progress):
    net.temperature, net.noise_scale = lt.temperature(progress, 2.0, 0.5), lt.noise_scale(progress)
    logits, taught = net(images), teacher(images).detach()
    loss = F.cross_entropy(logits, labels) + 0.5 * lt.distillation_loss(logits, taught)
    return loss + lt.budget_loss(net, lt.ramped_target(args.target, progress), 1.0, weight=1.0)


if __name__ == "__main__":
    train = batches("train", True, T.RandomResizedCrop(args.size, (0.35, 1)), T.RandomHorizontalFlip())
    val = batches("val", False, T.Resize(seen["resize"]), T.CenterCrop(args.size))
    net = torchvision.models.get_model(args.arch, weights=None if args.weights == "none" else args.weights)
    net.fc = torch.nn.Linear(net.to(device).fc.in_features, len(train.dataset.classes), device=device)
    fit(2, lambda images, labels, _: F.cross_entropy(net(images), labels))
    teacher = copy.deepcopy(net).eval().requires_grad_(False)
    lt.dynamic(net, args.granularity, standardise_maskers=True, straight_through_dilation=True)
    fit(args.epochs, dynamic_loss)
    ratio = lt.settle_budget(net, [batch for batch, _ in zip(train, range(20))], args.target)
    print(f"MACs over the static network's, on training images: {ratio:.1%}")
    lt.export(net, args.output, classes=train.dataset.classes, preprocessing=seen)
