"""Dynamic residual blocks: computed densely and multiplied by the mask, so that the mask gets a gradient.

Sections are those of "Latency-aware Spatial-wise Dynamic Networks" (NeurIPS 2022).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BlockMasks(NamedTuple):
    """What one dynamic block decided for a batch of N images; float32, 1 where something is computed."""

    difference: Tensor  # logit0 - logit1 of every patch [N, 1, rows, cols]
    perturbed: Tensor  # the same with the noise, if any, that the decision was made on; without a gradient
    patches: Tensor  # the decisions [N, 1, rows, cols]
    mask: Tensor  # M, over the output's pixels [N, 1, H', W']
    dilated: Tensor  # D, what the second convolution reads for M [N, 1, h, w]

    @property
    def rate(self) -> Tensor:
        """Activation rate r of every image [N], differentiable."""
        return self.mask.mean((1, 2, 3))

    @property
    def dilated_rate(self) -> Tensor:
        """Mean of D over every image [N]."""
        return self.dilated.mean((1, 2, 3))


def logistic_noise(like: Tensor) -> Tensor:
    """Differences of two standard Gumbel samples, which are logistic samples, in the shape of `like`."""
    u = torch.rand_like(like).clamp(1e-7, 1 - 6e-8)
    return torch.log(u) - torch.log1p(-u)


def decide_patches(difference: Tensor) -> Tensor:
    """1 where logit0 >= logit1, else 0: the decision at inference. No gradient."""
    return difference.detach().ge(0).to(difference.dtype)


def sample_patches(difference: Tensor, noise: Tensor, temperature: Tensor) -> Tensor:
    """Hard Gumbel-softmax over two logits (section 3.4): values 0 and 1, the gradient of the sigmoid."""
    perturbed = difference + noise
    soft = torch.sigmoid(perturbed / temperature)
    return decide_patches(perturbed) + (soft - soft.detach())


def pool_under_patches(x: Tensor, window: int) -> Tensor:
    """Mean of x [N, C, H, W] over windows of `window` pixels, those at the edges clipped."""
    size = [min(window, x.shape[2]), min(window, x.shape[3])]
    return F.avg_pool2d(x, size, size, ceil_mode=True, count_include_pad=False)


def expand_to_map(patches: Tensor, granularity: int, height: int, width: int) -> Tensor:
    """Repeat decisions [N, 1, rows, cols] over S x S pixels: M [N, 1, height, width]."""
    n, _, rows, cols = patches.shape
    s, t = min(granularity, height), min(granularity, width)
    tiles = patches.reshape(n, 1, rows, 1, cols, 1).expand(n, 1, rows, s, cols, t)
    return tiles.reshape(n, 1, rows * s, cols * t)[:, :, :height, :width]


def dilate(mask: Tensor, stride: int, height: int, width: int, straight_through: bool) -> Tensor:
    """D [N, 1, height, width]: what a 3x3 convolution reads for the outputs in `mask`.

    With `straight_through`, D has the gradient of a max-pool whose equal maxima share it; else none.
    """
    hard = mask.detach()
    dilated = F.max_pool2d(_spread(hard, stride, height, width), 3, 1, 1)
    if not straight_through:
        return dilated

    def mean_over(pixels: Tensor) -> Tensor:
        count = _window_sums(_spread(pixels, stride, height, width))
        return _window_sums(_spread(mask * pixels, stride, height, width)) / count.clamp_min(1)

    shared = torch.where(dilated > 0, mean_over(hard), mean_over(torch.ones_like(hard)))
    return dilated + (shared - shared.detach())


def _spread(mask: Tensor, stride: int, height: int, width: int) -> Tensor:
    """Move output (y, x) to input (s * y, s * x), with zeros between."""
    if stride == 1:
        return mask
    n, _, rows, cols = mask.shape
    spaced = F.pad(mask.reshape(n, 1, rows, 1, cols, 1), (0, stride - 1, 0, 0, 0, stride - 1))
    return spaced.reshape(n, 1, rows * stride, cols * stride)[:, :, :height, :width]


def _window_sums(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, divisor_override=1)


class Masker(nn.Module):
    """Decides patch by patch (section 3.1): mean of the input under the patch, then a 1x1 convolution to 2 logits.

    A patch is active where logit0 >= logit1. In training, decisions are sampled with noise. They are made in
    float32, also under autocast.
    """

    conv2: Any
    norm: Any
    temperature: Tensor
    noise_scale: Tensor

    def __init__(self, channels: int, window: int, bias: float, standardise: bool) -> None:
        super().__init__()
        self.window = window  # input pixels on a side of a patch
        self.norm = nn.BatchNorm2d(channels, affine=False) if standardise else None
        self.conv2 = nn.Conv2d(channels, 2, 1)
        with torch.no_grad():
            self.conv2.bias.copy_(torch.tensor([bias, 0.0]))
            if standardise:  # at first it changes nothing
                self.norm.running_var.fill_(1 - self.norm.eps)
        # Tensors, because torch.compile would compile again for every new number.
        self.register_buffer("temperature", torch.tensor(5.0), persistent=False)
        self.register_buffer("noise_scale", torch.tensor(1.0), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [N, C, H, W] -> logit differences, the same with noise, and decisions; float32 [N, 1, rows, cols]."""
        with torch.autocast(x.device.type, enabled=False):
            # Through the norm, features would learn from channels that hardly move: it divides by their deviation.
            pooled = pool_under_patches(x if self.norm is None else x.detach(), self.window).float()
            if self.norm is not None:
                pooled = self.norm(pooled)
            weight, bias = self.conv2.weight.float(), self.conv2.bias.float()
            difference = F.conv2d(pooled, (weight[0] - weight[1])[None], (bias[0] - bias[1])[None])
            if not self.training:
                return difference, difference.detach(), decide_patches(difference)
            noise = logistic_noise(difference.detach()) * self.noise_scale
            # A copy, because a new temperature may be set before the backward pass.
            patches = sample_patches(difference, noise, self.temperature.clone())
            return difference, difference.detach() + noise, patches

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight [2, C, 1, 1] and bias [2] of the masker alone, what stands before it folded in."""
        weight, bias = self.conv2.weight.detach().float(), self.conv2.bias.detach().float()
        if self.norm is None:
            return weight, bias
        scale = (self.norm.running_var + self.norm.eps).rsqrt()
        weight = weight * scale[:, None, None]
        return weight, bias - (weight * self.norm.running_mean[:, None, None]).sum((1, 2, 3))


class DynamicBlock(nn.Module):
    """A residual block of which a masker chooses the patches: ReLU(identity + M * body).

    It takes over the children of the block that it replaces, under their names. `masks` are the last batch's.
    """

    masks: BlockMasks | None

    def __init__(
        self, block: nn.Module, granularity: int, bias: float, standardise: bool, straight_through: bool
    ) -> None:
        super().__init__()
        self._modules.update(block._modules)
        convs = [conv for conv, _ in self.body()]
        self.granularity = granularity
        self.stride = convs[0].stride[0] * convs[1].stride[0]
        self.straight_through = straight_through
        self.masker = Masker(convs[0].in_channels, granularity * self.stride, bias, standardise)
        self.masker.to(convs[0].weight.device)
        self.masker.train(block.training)
        self.training = block.training
        self.masks = None

    def body(self) -> list[tuple[Any, Any]]:
        """Pairs of convolution and BatchNorm, 2 or 3."""
        raise NotImplementedError

    def projection(self) -> Any:
        """The identity path's 1x1 convolution with its BatchNorm, or None."""
        raise NotImplementedError

    def squeeze_excite(self) -> Any:
        """The module after the second convolution, or None."""
        return None

    def forward(self, x: Tensor) -> Tensor:
        body, se, projection = self.body(), self.squeeze_excite(), self.projection()
        height, width = (-(-side // self.stride) for side in x.shape[2:])
        difference, perturbed, patches = self.masker(x)
        mask = expand_to_map(patches, self.granularity, height, width)
        y = x
        for index, (conv, norm) in enumerate(body):
            if index == 2 and se is not None:
                y = _squeeze_excite(se, y, mask.to(y.dtype))
            y = norm(conv(y))
            if index == 0:
                dilated = dilate(mask, body[1][0].stride[0], y.shape[2], y.shape[3], self.straight_through)
            if index + 1 < len(body):
                y = F.relu(y, inplace=True)
        self.masks = BlockMasks(difference, perturbed, patches, mask, dilated)
        identity = x if projection is None else projection(x)
        return F.relu(torch.addcmul(identity, y, mask.to(y.dtype)), inplace=True)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave the last batch out: its tensors belong to a graph."""
        return {**self.__dict__, "masks": None}


def _squeeze_excite(se: Any, y: Tensor, mask: Tensor) -> Tensor:
    """Scale y [N, C, H', W'] by what Squeeze-and-Excitation makes of its mean over active pixels."""
    count = mask.sum((2, 3), keepdim=True)
    # Not clamp_min(1): of one active pixel it has no gradient in newer versions of PyTorch.
    mean = (y * mask).sum((2, 3), keepdim=True) / torch.where(count > 0, count, torch.ones_like(count))
    return y * torch.sigmoid(se.fc2(F.relu(se.fc1(mean))))


class DynamicResNetBlock(DynamicBlock):
    def body(self) -> list[tuple[Any, Any]]:
        layers = [(self.conv1, self.bn1), (self.conv2, self.bn2)]
        return layers + [(self.conv3, self.bn3)] if "conv3" in self._modules else layers

    def projection(self) -> Any:
        return self._modules.get("downsample")


class DynamicRegNetBlock(DynamicBlock):
    f: Any

    def body(self) -> list[tuple[Any, Any]]:
        return [(part[0], part[1]) for part in (self.f.a, self.f.b, self.f.c)]

    def projection(self) -> Any:
        return self._modules.get("proj")

    def squeeze_excite(self) -> Any:
        return self.f.se
