"""Compute accounting and the losses of dynamic fine-tuning (section 3.4)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

from ._blocks import BlockMasks, DynamicBlock
from ._network import DynamicNetwork, block_masks, dynamic_blocks


def temperature(progress: float, start: float = 5.0, end: float = 0.1) -> float:
    """Temperature of the Gumbel-softmax at training progress 0 to 1: from `start` to `end`, exponentially."""
    return float(start * (end / start) ** progress)


def noise_scale(progress: float, end: float = 0.0, start: float = 1.0) -> float:
    """Scale of the noise at training progress 0 to 1: from `start` to `end` over the first four fifths, evenly."""
    return start - (start - end) * min(progress / 0.8, 1.0)


class MacAccount:
    """Multiply-accumulates of the last batch, as shares of those of the static network without maskers.

    `fixed` is the share of stem and classifier. A block costs always + nonempty * [r > 0] + dilated * mean(D) +
    active * mean(M). Pooling and additions are not counted.
    """

    def __init__(self, net: nn.Module) -> None:
        self.masks = block_masks(net)
        terms = [_block_macs(block, masks) for block, masks in zip(dynamic_blocks(net), self.masks)]
        fixed = _fixed_macs(net)
        static = fixed + sum(sum(block) - masker for block, masker in terms)
        self.fixed = fixed / static
        shares = [[term / static for term in block] for block, _ in terms]
        like = self.masks[0].mask
        self.always, self.nonempty, self.dilated, self.active = like.new_tensor(shares).unbind(1)
        self.full = like.new_tensor([sum(block) / static for block, _ in terms])
        self.masked_shares = [sum(block[1:]) for block in shares]

    def costs(self) -> Tensor:
        """Shares of every image and block [N, B], differentiable in the masks."""
        rates = torch.stack([masks.rate for masks in self.masks], 1)
        dilated_rates = torch.stack([masks.dilated_rate for masks in self.masks], 1)
        any_patch = rates.detach().gt(0).to(rates.dtype)
        return self.always + self.nonempty * any_patch + self.dilated * dilated_rates + self.active * rates

    def mean_ratio(self) -> float:
        """F, mean over the batch."""
        return self.costs().sum(1).mean().item() + self.fixed


def _block_macs(block: DynamicBlock, masks: BlockMasks) -> tuple[tuple[int, int, int, int], int]:
    """MACs of one image in a full block (always, nonempty, dilated, active), and its masker's part of them."""
    body = block.body()
    pixels, middle = masks.mask[0].numel(), masks.dilated[0].numel()
    first, *rest = (conv.weight.numel() for conv, _ in body)
    masker = 2 * body[0][0].in_channels * masks.patches[0].numel()
    projection, se = block.projection(), block.squeeze_excite()
    projected = projection[0].weight.numel() * pixels if projection is not None else 0
    squeezed = se.fc1.weight.numel() + se.fc2.weight.numel() if se is not None else 0
    return (masker + projected, squeezed, first * middle, sum(rest) * pixels), masker


def _fixed_macs(net: nn.Module) -> int:
    """MACs of stem and classifier; layers that `net` does not hold are not counted."""
    macs = 0
    child: Any
    for child in net.modules():
        if hasattr(child, "dynamic_stem_size"):
            macs += child.weight.numel() * math.prod(child.dynamic_stem_size)
        head = getattr(child, "fc", None) if isinstance(child, DynamicNetwork) else None
        if isinstance(head, nn.Linear):
            macs += head.weight.numel()
    return macs


def macs_ratio(net: nn.Module) -> Tensor:
    """F of every image of the last batch [N], differentiable: its MACs over those of the static network."""
    account = MacAccount(net)
    return account.costs().sum(1) + account.fixed


def rates(net: nn.Module) -> Tensor:
    """Activation rates of the last batch [N, B], image by image and block by block, differentiable."""
    return torch.stack([masks.rate for masks in block_masks(net)], 1)


def bounds(target: float, progress: float, hold: float = 0.0) -> tuple[float, float]:
    """Corridor (low, up) of a block's own MAC ratio: [target, target] at first, open after a third of the training.

    hold: share of the pinning that stays to the end.
    """
    pinned = max(math.cos(min(progress * 3, 1.0) * math.pi / 2) ** 2, hold)
    return pinned * target, 1 - pinned * (1 - target)


def budget_loss(
    net: nn.Module,
    target: float,
    progress: float,
    *,
    weight: float = 10.0,
    hold: float = 0.0,
    synchronise: bool = True,
) -> Tensor:
    """weight * (L_flops + L_bounds) of the last batch that `net` computed in training, a scalar.

    net: the dynamic network, also inside DistributedDataParallel, torch.compile or another module.
    target: MACs over the static network's, 0 to 1. progress: of the training, step / steps.
    L_flops = (mean F - target)^2. L_bounds is the mean over blocks of the squared distance of their own MAC ratio
    from `bounds(target, progress, hold)`.
    synchronise: where torch.distributed runs, take the means over the batches of all processes. Value and gradient,
      averaged as DistributedDataParallel does, are then those of one process with the whole batch.

    Raises ValueError where the masks have no gradient: under torch.no_grad, and inside a reentrant checkpoint.
    """
    if not 0 < target <= 1:
        raise ValueError(f"target: expected a MAC ratio above 0 and at most 1, got {target!r}")
    check_gradient(net)
    account = MacAccount(net)
    means = mean_over_processes(account.costs().mean(0), synchronise)
    low, up = bounds(target, progress, hold)
    ratios = means / account.full
    outside = F.relu(ratios - up).square() + F.relu(low - ratios).square()
    return weight * ((means.sum() + account.fixed - target).square() + outside.mean())


def check_gradient(net: nn.Module) -> None:
    """Raise ValueError where maskers that are trained have decided without a gradient."""
    for block in dynamic_blocks(net):
        trains = block.masker.training and any(p.requires_grad for p in block.masker.parameters())
        if trains and block.masks is not None and not block.masks.mask.requires_grad:
            raise ValueError(
                "net: its masks have no gradient, because it ran under torch.no_grad() or in a reentrant checkpoint;"
                " call torch.utils.checkpoint with use_reentrant=False"
            )


def mean_over_processes(mean: Tensor, synchronise: bool) -> Tensor:
    """The mean of all processes' `mean`, as large a batch each; its gradient is that of this process's own."""
    distributed: Any = torch.distributed
    if not (synchronise and distributed.is_available() and distributed.is_initialized()):
        return mean
    total = mean.detach().clone()
    distributed.all_reduce(total)
    others = total / float(distributed.get_world_size()) - mean.detach()
    return mean + others


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), mean over the batch; logits [N, classes].

    The paper adds half of it, the teacher being the static network that training began with.
    """
    log_student = F.log_softmax(student.float() / temperature, 1)
    log_teacher = F.log_softmax(teacher.float() / temperature, 1)
    return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * temperature**2
