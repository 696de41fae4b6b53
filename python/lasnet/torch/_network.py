"""Makes a static network dynamic, in place."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from ._architecture import Architecture, parse_granularity, recognise
from ._blocks import BlockMasks, DynamicBlock, DynamicRegNetBlock, DynamicResNetBlock


Module = TypeVar("Module", bound=nn.Module)


class DynamicNetwork:
    """What `dynamic` adds to the class of a network."""

    architecture: Architecture
    fc: nn.Module

    @property
    def temperature(self) -> float:
        """Of the Gumbel-softmax that samples masks in training; from 5 to 0.1 in the paper (section 3.4)."""
        return float(dynamic_blocks(cast(Any, self))[0].masker.temperature)

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not value > 0:
            raise ValueError(f"temperature: expected a number > 0, got {value!r}")
        _fill(self, "temperature", value)

    @property
    def noise_scale(self) -> float:
        """Of the noise that decisions are sampled with in training: 1 is Gumbel noise, 0 none."""
        return float(dynamic_blocks(cast(Any, self))[0].masker.noise_scale)

    @noise_scale.setter
    def noise_scale(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"noise_scale: expected a number from 0 to 1, got {value!r}")
        _fill(self, "noise_scale", value)

    def stem_conv(self) -> nn.Conv2d:
        """The first convolution."""
        network = cast(Any, self)
        return cast(nn.Conv2d, network.stem[0] if self.architecture.is_regnet else network.conv1)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """The class is made at run time, so copies and pickles name the one that it was made of."""
        base = type(self).__mro__[2]
        return (_blank, (base,), *super().__reduce_ex__(protocol)[2:])


@functools.cache
def _dynamic_class(base: type) -> Any:
    return type(f"Dynamic{base.__name__}", (DynamicNetwork, base), {"__module__": base.__module__})


def _blank(base: type) -> Any:
    cls = _dynamic_class(base)
    return cls.__new__(cls)


def _note_size(module: Any, inputs: Any, output: Tensor) -> None:
    """A hook of the stem's convolution, whose MACs depend on its map."""
    module.dynamic_stem_size = output.shape[2:]


def dynamic(
    model: Module,
    granularity: str | Iterable[int | str] = "4-4-2-1",
    *,
    standardise_maskers: bool = False,
    straight_through_dilation: bool = False,
) -> Module:
    """Give every residual block of a network a masker, in place, and return the network.

    model: a ResNet, ResNeXt, Wide ResNet or RegNetY of torchvision, or a plain ResNet of timm. Its parameters
      stay the same objects under the same names; `<block>.masker.conv2.{weight,bias}` are added. Fresh maskers
      select nearly every patch.
    granularity: S, the side of a patch in pixels of a block's output, per stage ("4-4-2-1") or per block. "layer",
      alone or in place of an S, is one patch per image: a block is computed for it or skipped.
    standardise_maskers: put a BatchNorm without parameters before every masker, for training in few steps.
      `export` folds it into the masker.
    straight_through_dilation: let the budget's gradient flow through the dilated mask too.

    In training mode the network samples its masks with noise at `network.temperature`; in evaluation it decides
    them. Raises ValueError, before anything is changed, for other networks (by name) and granularities.
    """
    if isinstance(model, DynamicNetwork):
        raise ValueError("model: it is dynamic already")
    architecture = recognise(model)
    sizes = parse_granularity(granularity, len(architecture.blocks))
    kind: type[DynamicBlock] = DynamicRegNetBlock if architecture.is_regnet else DynamicResNetBlock
    bias = 10.0 if architecture.is_regnet else 5.0
    stage, previous = -1, ""
    for index, path in enumerate(architecture.blocks):
        parent_path, name = path.rsplit(".", 1)
        stage += parent_path != previous
        previous = parent_path
        parent = model.get_submodule(parent_path)
        size = sizes[stage if len(sizes) == 4 else index]
        block = kind(getattr(parent, name), size, bias, standardise_maskers, straight_through_dilation)
        setattr(parent, name, block)
    model.__class__ = _dynamic_class(cast(Any, type(model)))
    network = cast(Any, model)
    network.architecture = replace(architecture, granularity=sizes)
    network.stem_conv().register_forward_hook(_note_size)
    return model


def dynamic_blocks(module: nn.Module) -> list[DynamicBlock]:
    """Return the dynamic blocks in `module`: a dynamic network, or anything that holds one or its layers."""
    blocks = [child for child in module.modules() if isinstance(child, DynamicBlock)]
    if not blocks:
        raise ValueError(f"net: {type(module).__name__} has no dynamic blocks; lasnet.torch.dynamic gives it some")
    return blocks


def block_masks(module: nn.Module) -> list[BlockMasks]:
    """Return the BlockMasks of the last batch, block by block. Raises ValueError where the network has not run."""
    blocks = dynamic_blocks(module)
    masks = [block.masks for block in blocks if block.masks is not None]
    if len(masks) < len(blocks):
        raise ValueError("net: it has not run yet; masks are those of the last batch that went through it")
    return masks


def masker_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return the maskers' parameters, which the paper gives a tenth of the others' learning rate in ResNets."""
    return [parameter for block in dynamic_blocks(module) for parameter in block.masker.parameters()]


def _fill(module: Any, name: str, value: float) -> None:
    with torch.no_grad():
        for block in dynamic_blocks(module):
            getattr(block.masker, name).fill_(value)
