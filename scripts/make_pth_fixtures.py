#!/usr/bin/env python3
"""Writes tests/model/data/torch-<version>/*.pth: checkpoints as PyTorch's users have them, with the values that
reading them must give beside them as .safetensors of float32 (the bits of a conversion by PyTorch itself).

Run once per version of PyTorch; the committed ones are of

    apt-get install python3-torch && python3 scripts/make_pth_fixtures.py                      # 1.13
    pip install torch numpy && python3 scripts/make_pth_fixtures.py                            # 2.x
"""

import argparse
import collections
import json
import pathlib
import struct

import numpy as np
import torch

DATA = pathlib.Path(__file__).parent.parent / "tests" / "model" / "data"


def write_expected(path: pathlib.Path, tensors: dict) -> None:
    header, values = {}, b""
    for name, tensor in sorted(tensors.items()):
        content = tensor.detach().to(torch.float32).contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape),
                        "data_offsets": [len(values), len(values) + len(content)]}
        values += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + values)


def floating(tensors: dict) -> dict:
    return {name: tensor for name, tensor in tensors.items() if torch.is_floating_point(tensor)}


def small_module() -> torch.nn.Module:
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4), torch.nn.Flatten(),
                                 torch.nn.Linear(4, 2))
    module[1].running_mean.normal_()
    return module


def trained(module: torch.nn.Module) -> torch.optim.Optimizer:
    """An optimiser with momentum buffers, as after a step."""
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    return optimiser


def training_checkpoint(module: torch.nn.Module, key: str) -> dict:
    """As the training script of PyTorch's examples and torchvision's references save it."""
    optimiser = trained(module)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, [30, 60])
    arguments = argparse.Namespace(arch="resnet18", lr=0.1, milestones=[30, 60], resume=None, amp=False,
                                   device=torch.device("cpu"), betas=(0.9, 0.999))
    return {"epoch": 3, "arch": "resnet18", key: module.state_dict(), "optimizer": optimiser.state_dict(),
            "lr_scheduler": scheduler.state_dict(), "best_acc1": torch.tensor(71.5), "args": arguments,
            "accuracy": np.float64(0.7), "seed": 2**64 - 1, "size": torch.Size([1, 3, 32, 32]), "note": None}


def cases() -> dict:
    """Name -> (what is saved, what must be read)."""
    module = small_module()
    state = module.state_dict()
    base = torch.arange(60, dtype=torch.float32).reshape(5, 12) * 0.37 - 7
    nested, parallel = small_module(), torch.nn.DataParallel(small_module())
    special = torch.tensor([0.1, -65504.0, 6e-8, -0.0, 3.0e-5, float("inf")])
    result = {
        "ordered": (state, state),
        "plain": (dict(state), state),
        "parameters": (dict(module.named_parameters()), dict(module.named_parameters())),
        "nested": (training_checkpoint(nested, "state_dict"), nested.state_dict()),
        "nested_model": ({"model": state, "model_ema": {"0.weight": base}}, state),
        "parallel": (parallel.state_dict(), parallel.module.state_dict()),
        "half": (half := {"x": special.half(), "y": base.half()}, half),
        "bfloat16": (brain := {"x": special.bfloat16(), "y": base.bfloat16()}, brain),
        "double": (double := {"x": special.double() / 3, "y": base.double() / 3}, double),
        "strided": (strided := {"transposed": base.t(), "sliced": base[1:4:2, 3:11:3], "offset": base[2:],
                                "expanded": base[:, :1].expand(5, 4), "scalar": base[3, 4], "empty": base[:0],
                                "permuted": base.reshape(5, 3, 4).permute(2, 0, 1),
                                "channels_last": torch.arange(48.0).reshape(2, 3, 2, 4)
                                .contiguous(memory_format=torch.channels_last)}, strided),
        "shared": ({"a": base, "b": base, "c": base.view(-1)[7:20], "d": base[2]},
                   {"a": base, "b": base, "c": base.view(-1)[7:20], "d": base[2]}),
        "integers": ({"x": base, "steps": torch.tensor(12), "flags": torch.tensor([True, False]),
                      "bytes": torch.arange(5, dtype=torch.uint8), "short": torch.arange(3, dtype=torch.int16)},
                     {"x": base}),
    }
    return result


def tiny_resnet(seed: int) -> dict:
    """Weights of a ResNet-18 of width 1/8 with a small stem and 3 classes, and the maskers of S = 4-4-2-1."""
    generator = torch.Generator().manual_seed(seed)
    state = collections.OrderedDict()

    def conv(name, norm, out, inside, kernel):
        state[f"{name}.weight"] = torch.randn(out, inside, kernel, kernel, generator=generator) * 0.1
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{part}"] = torch.rand(out, generator=generator) + 0.5
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    conv("conv1", "bn1", 8, 3, 3)
    inside = 8
    for stage, channels in enumerate((8, 16, 32, 64), 1):
        for index in range(2):
            block = f"layer{stage}.{index}"
            conv(f"{block}.conv1", f"{block}.bn1", channels, inside, 3)
            conv(f"{block}.conv2", f"{block}.bn2", channels, channels, 3)
            if inside != channels:
                conv(f"{block}.downsample.0", f"{block}.downsample.1", channels, inside, 1)
            state[f"{block}.masker.conv2.weight"] = torch.randn(2, inside, 1, 1, generator=generator)
            state[f"{block}.masker.conv2.bias"] = torch.zeros(2)
            inside = channels
    state["fc.weight"] = torch.randn(3, 64, generator=generator) * 0.1
    state["fc.bias"] = torch.zeros(3)
    return state


def main() -> None:
    version = ".".join(torch.__version__.split(".")[:2])
    folder = DATA / f"torch-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (saved, expected) in cases().items():
        torch.save(saved, folder / f"{name}.pth")
        write_expected(folder / f"{name}.safetensors", floating(expected))

    # A whole network, in half precision for the size; what it must give is what PyTorch makes of the same values.
    state = {f"module.{name}": value.half() if value.is_floating_point() else value
             for name, value in tiny_resnet(3).items()}
    torch.save({"state_dict": state, "args": argparse.Namespace(width=0.125)}, folder / "resnet18.pth")
    np.save(folder / "resnet18_fc.npy", state["module.fc.weight"].float().numpy())

    module = small_module()
    torch.save(module.state_dict(), folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(module, folder / "whole_module.pth")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(folder / "torchscript.pt"))
    print(folder, sum(path.stat().st_size for path in folder.iterdir()), "bytes")


if __name__ == "__main__":
    main()
