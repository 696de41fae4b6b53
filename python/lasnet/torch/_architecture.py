"""Which of the engine's architectures a PyTorch network is: its structure, checked layer by layer.

Networks are recognised by their modules, not by their classes: neither torchvision nor timm is imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from torch import nn

# Bottleneck blocks?, blocks per stage, groups of the 3x3, and its width per group in the first stage.
RESNETS = {
    "resnet18": (False, (2, 2, 2, 2), 1, 64),
    "resnet34": (False, (3, 4, 6, 3), 1, 64),
    "resnet50": (True, (3, 4, 6, 3), 1, 64),
    "resnet101": (True, (3, 4, 23, 3), 1, 64),
    "resnet152": (True, (3, 8, 36, 3), 1, 64),
    "resnext50_32x4d": (True, (3, 4, 6, 3), 32, 4),
    "resnext101_32x8d": (True, (3, 4, 23, 3), 32, 8),
    "wide_resnet50_2": (True, (3, 4, 6, 3), 1, 128),
    "wide_resnet101_2": (True, (3, 4, 23, 3), 1, 128),
}
# Blocks per stage, channels per stage, and channels per group of the 3x3.
REGNETS = {
    "regnet_y_400mf": ((1, 3, 6, 6), (48, 104, 208, 440), 8),
    "regnet_y_800mf": ((1, 3, 8, 2), (64, 144, 320, 784), 16),
    "regnet_y_1_6gf": ((2, 6, 17, 2), (48, 120, 336, 888), 24),
}
RESNET_CHANNELS = (64, 128, 256, 512)
REGNET_STEM_CHANNELS = 32
BATCH_NORM_EPSILON = 1e-5  # with which the engine folds BatchNorm into convolutions

WHOLE_MAP = 1 << 20  # the granularity "layer": one patch per image, larger than any map

# Modules of a block that compute nothing where they are absent, None or Identity. timm's variants fill them.
_OPTIONAL = ("drop_block", "aa", "se", "drop_path")
_ACTIVATIONS = ("relu", "act1", "act2", "act3")
_RESNET_BLOCK = ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample", *_ACTIVATIONS, *_OPTIONAL)


class _Refuse(Protocol):
    def __call__(self, reason: str) -> NoReturn: ...


@dataclass(frozen=True)
class Architecture:
    """What the engine's metadata says of a network; see `lasnet inspect`."""

    name: str
    width: float  # multiplies all channels
    stem: str  # "imagenet", or "small" for images of 32 to 128 px
    blocks: tuple[str, ...]  # module paths of the residual blocks, stage by stage
    granularity: tuple[int, ...] = ()  # S per stage, or per block

    @property
    def granularity_text(self) -> str:
        """As the engine writes it, e.g. "4-4-2-layer"."""
        return "-".join("layer" if size == WHOLE_MAP else str(size) for size in self.granularity)

    @property
    def is_regnet(self) -> bool:
        return self.name in REGNETS


@dataclass(frozen=True)
class _Conv:
    """A convolution without bias, and the BatchNorm after it."""

    path: str
    norm: str
    channels: tuple[int, int]  # in, out
    kernel: int = 1
    stride: int = 1
    groups: int = 1


def recognise(model: nn.Module) -> Architecture:
    """Return the Architecture of `model`; raise ValueError naming what no architecture of the engine has."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    name = (getattr(model, "default_cfg", None) or {}).get("architecture") or type(model).__name__

    def refuse(reason: str) -> NoReturn:
        raise ValueError(
            f"model {name}: {reason}. Plain networks can be made dynamic: {', '.join([*RESNETS, *REGNETS])}"
            " of torchvision, and those of timm that are built like them"
        )

    if all(hasattr(model, part) for part in ("conv1", "bn1", "maxpool", "layer1", "layer4")):
        architecture, convs = _resnet(model, refuse)
    elif hasattr(model, "stem") and hasattr(model, "trunk_output"):
        architecture, convs = _regnet(model, refuse)
    else:
        refuse("it is neither a ResNet nor a RegNet with torchvision's names")
    modules = dict(model.named_modules())
    for conv in convs:
        _check(modules.get(conv.path), modules.get(conv.norm), conv, refuse)
    pool = getattr(model, "avgpool", None) or getattr(model, "global_pool", None)
    if getattr(pool, "output_size", 1) not in (1, (1, 1)) or getattr(pool, "pool_type", "avg") not in ("avg", ""):
        refuse("its last pooling is not the mean over all pixels")
    return architecture


def _resnet(model: Any, refuse: _Refuse) -> tuple[Architecture, list[_Conv]]:
    stages = [list(getattr(model, f"layer{stage}").children()) for stage in (1, 2, 3, 4)]
    for stage in stages:
        for block in stage:
            _check_parts(block, refuse)
    small = isinstance(model.maxpool, nn.Identity)
    if not isinstance(model.conv1, nn.Conv2d) or not (small or _pooling(model.maxpool) == (3, 2, 1)):
        refuse("its stem is not one convolution and a 3x3 max-pool of stride 2")
    width = model.conv1.out_channels / RESNET_CHANNELS[0]
    depths, first = tuple(len(stage) for stage in stages), stages[0][0]
    for name, (bottleneck, blocks_per_stage, _, _) in RESNETS.items():
        if (bottleneck, blocks_per_stage) == (hasattr(first, "conv3"), depths):
            blocks = _resnet_blocks(name, width)
            wanted = blocks["layer1.0"][1]
            if (first.conv2.out_channels, first.conv2.groups) == (wanted.channels[1], wanted.groups):
                stem = _Conv("conv1", "bn1", (3, scaled(RESNET_CHANNELS[0], width)), 3 if small else 7, 2)
                return _described(name, width, small, stem, blocks)
    refuse(f"no architecture has stages of {'-'.join(map(str, depths))} such blocks")


def _check_parts(block: nn.Module, refuse: _Refuse) -> None:
    """Refuse a block of a ResNet with other parts than plain ones."""
    parts = dict(block.named_children())
    for part, module in parts.items():
        if part not in _RESNET_BLOCK or (part in _OPTIONAL and not isinstance(module, nn.Identity)):
            refuse(f"a block has a part '{part}' ({type(module).__name__}), which plain ResNets lack")
        if part in _ACTIVATIONS and not isinstance(module, nn.ReLU):
            refuse(f"its activation is {type(module).__name__}; expected ReLU")
    if not isinstance(parts.get("conv2"), nn.Conv2d):
        refuse("a block has no convolution 'conv2'")


def _resnet_blocks(name: str, width: float) -> dict[str, list[_Conv]]:
    """The convolutions of every block, by its path."""
    bottleneck, depths, groups, width_per_group = RESNETS[name]
    blocks, channels = {}, scaled(RESNET_CHANNELS[0], width)
    for stage, depth in enumerate(depths):
        planes = scaled(RESNET_CHANNELS[stage], width)
        middle = max(planes * width_per_group // 64, 1) * groups
        for index in range(depth):
            path = f"layer{stage + 1}.{index}"
            stride = 2 if stage > 0 and index == 0 else 1
            out = planes * 4 if bottleneck else planes
            if bottleneck:
                convs = [
                    _Conv(f"{path}.conv1", f"{path}.bn1", (channels, middle)),
                    _Conv(f"{path}.conv2", f"{path}.bn2", (middle, middle), 3, stride, groups),
                    _Conv(f"{path}.conv3", f"{path}.bn3", (middle, out)),
                ]
            else:
                convs = [
                    _Conv(f"{path}.conv1", f"{path}.bn1", (channels, out), 3, stride),
                    _Conv(f"{path}.conv2", f"{path}.bn2", (out, out), 3),
                ]
            if stride != 1 or channels != out:
                convs.append(_Conv(f"{path}.downsample.0", f"{path}.downsample.1", (channels, out), 1, stride))
            blocks[path], channels = convs, out
    return blocks


def _regnet(model: Any, refuse: _Refuse) -> tuple[Architecture, list[_Conv]]:
    depths = tuple(len(list(stage.children())) for stage in model.trunk_output.children())
    name = next((name for name, (blocks, _, _) in REGNETS.items() if blocks == depths), None)
    stem = next(model.stem.children(), None)
    if name is None or not isinstance(stem, nn.Conv2d):
        refuse(f"no architecture has stages of {'-'.join(map(str, depths))} such blocks")
    width, small = stem.out_channels / REGNET_STEM_CHANNELS, stem.stride == (1, 1)
    blocks = _regnet_blocks(name, width)
    for path, (first, *_) in blocks.items():
        _check_squeeze_excite(model.get_submodule(path), first.channels, refuse)
    stem_conv = _Conv("stem.0", "stem.1", (3, stem.out_channels), 3, 1 if small else 2)
    return _described(name, width, small, stem_conv, blocks)


def _regnet_blocks(name: str, width: float) -> dict[str, list[_Conv]]:
    """The convolutions of every block, by its path."""
    depths, widths, group_width = REGNETS[name]
    blocks, channels = {}, scaled(REGNET_STEM_CHANNELS, width)
    for stage, depth in enumerate(depths, 1):
        out = scaled(widths[stage - 1], width, group_width)
        for index in range(depth):
            path = f"trunk_output.block{stage}.block{stage}-{index}"
            stride = 2 if index == 0 else 1
            convs = [
                _Conv(f"{path}.f.a.0", f"{path}.f.a.1", (channels, out)),
                _Conv(f"{path}.f.b.0", f"{path}.f.b.1", (out, out), 3, stride, out // group_width),
                _Conv(f"{path}.f.c.0", f"{path}.f.c.1", (out, out)),
            ]
            if stride != 1 or channels != out:
                convs.append(_Conv(f"{path}.proj.0", f"{path}.proj.1", (channels, out), 1, stride))
            blocks[path], channels = convs, out
    return blocks


def _described(
    name: str, width: float, small: bool, stem: _Conv, blocks: dict[str, list[_Conv]]
) -> tuple[Architecture, list[_Conv]]:
    convs = [stem, *(conv for block in blocks.values() for conv in block)]
    return Architecture(name, width, "small" if small else "imagenet", tuple(blocks)), convs


def _check_squeeze_excite(block: Any, channels: tuple[int, int], refuse: _Refuse) -> None:
    """Hold a RegNet's block, whose first convolution has these channels, against what the engine computes."""
    se, squeezed = getattr(block.f, "se", None), max(channels[0] // 4, 1)
    if se is None:
        refuse("it is a RegNetX: its blocks have no Squeeze-and-Excitation")
    if (se.fc1.out_channels, se.fc2.out_channels) != (squeezed, channels[1]):
        refuse(f"its Squeeze-and-Excitation has {se.fc1.out_channels} channels inside; expected {squeezed}")
    if not isinstance(se.activation, nn.ReLU) or not isinstance(block.activation, nn.ReLU):
        refuse("its activation is not ReLU")


def _check(conv: nn.Module | None, norm: Any, wanted: _Conv, refuse: _Refuse) -> None:
    """Hold a convolution and its BatchNorm against what the engine computes."""
    in_channels, out_channels = wanted.channels
    k, s = wanted.kernel, wanted.stride
    expected = ((out_channels, in_channels // wanted.groups, k, k), (s, s), (k // 2, k // 2), (1, 1), wanted.groups)
    if not isinstance(conv, nn.Conv2d):
        refuse(f"{wanted.path}: expected a convolution, got {type(conv).__name__}")
    got = (tuple(conv.weight.shape), conv.stride, conv.padding, conv.dilation, conv.groups)
    if got != expected or conv.bias is not None:
        words = "shape, stride, padding, dilation and groups of the convolution"
        refuse(f"{wanted.path}: {words}: expected {expected} and no bias, got {got}")
    if not all(hasattr(norm, part) for part in ("weight", "running_mean", "eps")) or norm.weight is None:
        refuse(f"{wanted.norm}: expected a BatchNorm with weights and statistics, got {type(norm).__name__}")
    if abs(norm.eps - BATCH_NORM_EPSILON) > 1e-9:
        refuse(f"{wanted.norm}: the epsilon is {norm.eps:g}; expected {BATCH_NORM_EPSILON:g}")


def _pooling(pool: Any) -> tuple[Any, ...]:
    """Kernel, stride and padding of a max-pool; nothing of any other module."""
    if not isinstance(pool, nn.MaxPool2d):
        return ()
    sizes = (pool.kernel_size, pool.stride, pool.padding)
    return tuple(size[0] if isinstance(size, tuple) else size for size in sizes)


def scaled(channels: int, width: float, multiple: int = 8) -> int:
    """Channels times width, as a multiple of `multiple`; halves are rounded up."""
    return max(int(channels * width / multiple + 0.5), 1) * multiple


def parse_granularity(granularity: str | Iterable[int | str], blocks: int) -> tuple[int, ...]:
    """ "4-4-2-layer" or its entries -> (4, 4, 2, WHOLE_MAP). One S per stage or per block; ValueError otherwise."""
    try:
        entries: list[Any]
        if isinstance(granularity, str):
            entries = ["layer"] * 4 if granularity == "layer" else granularity.split("-")
        else:
            entries = list(granularity)
        sizes = tuple(WHOLE_MAP if entry == "layer" else int(entry) for entry in entries)
    except (TypeError, ValueError):
        sizes = ()
    if len(sizes) not in (4, blocks) or not 1 <= min(sizes) <= max(sizes) <= WHOLE_MAP:
        raise ValueError(
            f"granularity {granularity!r}: expected 4 integers >= 1 (S per stage, e.g. 4-4-2-1) or {blocks} (per "
            'block); "layer" in place of an integer is one patch per image'
        )
    return sizes
