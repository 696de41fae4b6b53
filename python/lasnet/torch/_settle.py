"""Meets a budget after training, by the maskers' biases alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ._losses import MacAccount
from ._network import dynamic_blocks

_FARTHEST_SHIFT = 100.0
_ROUNDS = 8
_SETTLED_WITHIN = 0.002


@torch.no_grad()
def settle_budget(net: nn.Module, batches: Iterable[Any], target: float) -> float:
    """Shift the decisions of all blocks alike until the mean MAC ratio without noise is `target`; return that ratio.

    net: the dynamic network; it is evaluated, and left in the mode that it was in.
    batches: batches of images, or of tuples that begin with them, for instance a DataLoader of training images. It is
      gone through up to nine times, so an iterator will not do.
    """
    if iter(batches) is batches:
        raise TypeError("batches: expected what can be gone through several times, such as a list; got an iterator")
    if not 0 < target <= 1:
        raise ValueError(f"target: expected a MAC ratio above 0 and at most 1, got {target!r}")
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        for _ in range(_ROUNDS):
            differences, shares, ratio = _evaluate(net, batches)
            if abs(ratio - target) <= _SETTLED_WITHIN:
                return ratio
            shift = _shift_to(differences, shares, ratio, target)
            for block in dynamic_blocks(net):
                block.masker.conv2.bias += torch.tensor([shift / 2, -shift / 2]).to(block.masker.conv2.bias)
        return _evaluate(net, batches)[2]
    finally:
        for module, training in modes:
            module.training = training


def _evaluate(net: nn.Module, batches: Iterable[Any]) -> tuple[list[Tensor], list[float], float]:
    """Sorted logit differences of every block, the MACs that masks decide on in it, and the mean MAC ratio."""
    device = next(net.parameters()).device
    found: list[list[Tensor]] = [[] for _ in dynamic_blocks(net)]
    total, images = 0.0, 0
    for batch in batches:
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        net(x.to(device))
        account = MacAccount(net)
        for block, masks in zip(found, account.masks):
            block.append(masks.difference.flatten().cpu())
        total += float((account.costs().sum(1) + account.fixed).sum())
        images += len(x)
    if images == 0:
        raise ValueError("batches: there are no images in them")
    return [torch.cat(block).sort().values for block in found], account.masked_shares, total / images


def _shift_to(differences: list[Tensor], shares: list[float], ratio: float, target: float) -> float:
    """The shift after which the mean MAC ratio, now `ratio`, is `target`: a patch brings its share of its block."""

    def rates(shift: float) -> list[float]:
        at = torch.tensor(-shift)
        return [1 - float(torch.searchsorted(block, at)) / len(block) for block in differences]

    before, low, high = rates(0.0), -_FARTHEST_SHIFT, _FARTHEST_SHIFT
    for _ in range(40):
        middle = (low + high) / 2
        moved = sum(share * (new - old) for share, new, old in zip(shares, rates(middle), before))
        low, high = (middle, high) if ratio + moved < target else (low, middle)
    return (low + high) / 2
