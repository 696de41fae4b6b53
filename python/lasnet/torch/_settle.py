"""Meets a budget by the maskers' biases alone, in training and after it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ._losses import MacAccount, mean_over_processes
from ._network import dynamic_blocks

_FARTHEST_SHIFT = 100.0
_ROUNDS = 8
_SETTLED_WITHIN = 0.002
_FARTHEST_STEP = 10.0


def ramped_target(target: float, progress: float, ramp: float = 0.4) -> float:
    """Target at training progress 0 to 1: from 1 to `target` within the share `ramp` of the training, evenly."""
    return 1 - (1 - target) * min(progress / ramp, 1.0)


@torch.no_grad()
def hold_budget(net: nn.Module, target: float, *, gain: float = 0.1, synchronise: bool = True) -> None:
    """Shift the decisions of all blocks alike, a part of the way to where the last batch would have the MAC ratio.

    For training in few steps: call it after every step of the optimiser. The budget is then met whatever the maskers'
    learning rate, and the losses decide which blocks and patches it is spent on.
    net, synchronise: as of `budget_loss`. gain: the part of the way; with 0.1, about ten batches decide.
    """
    account = MacAccount(net)
    differences = [masks.perturbed.flatten().cpu().sort().values for masks in account.masks]
    shift = _shift_to(differences, account.masked_shares, account.mean_ratio(), target)
    step = account.always.new_tensor(gain * max(-_FARTHEST_STEP, min(shift, _FARTHEST_STEP)))
    _shift(net, mean_over_processes(step, synchronise).item())


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
        measured: list[tuple[float, float]] = []
        shift = 0.0
        while True:
            differences, shares, ratio = _evaluate(net, batches)
            measured.append((shift, ratio))
            if abs(ratio - target) <= _SETTLED_WITHIN or len(measured) > _ROUNDS:
                break
            wanted = _next_shift(measured, target, _shift_to(differences, shares, ratio, target))
            _shift(net, wanted - shift)
            shift = wanted
        best_shift, best_ratio = min(measured, key=lambda point: abs(point[1] - target))
        _shift(net, best_shift - shift)
        return best_ratio
    finally:
        for module, training in modes:
            module.training = training


def _shift(net: nn.Module, difference: float) -> None:
    """Add to logit0 - logit1 of every block."""
    for block in dynamic_blocks(net):
        bias = block.masker.conv2.bias
        bias += bias.new_tensor([difference / 2, -difference / 2])


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
        total += account.mean_ratio() * len(x)
        images += len(x)
    if images == 0:
        raise ValueError("batches: there are no images in them")
    return [torch.cat(block).sort().values for block in found], account.masked_shares, total / images


def _next_shift(measured: list[tuple[float, float]], target: float, predicted: float) -> float:
    """The shift to measure next, of pairs of shift and ratio: what is predicted from the last one.

    The prediction takes masks for independent, so it may fall short or overshoot. Steps double while all ratios are on
    one side of the target. Later it counts between the nearest ones on both sides alone; elsewhere their middle does.
    """
    below = max((point for point in measured if point[1] < target), key=lambda point: point[1], default=None)
    above = min((point for point in measured if point[1] >= target), key=lambda point: point[1], default=None)
    last = measured[-1][0]
    if below is None or above is None:
        return last + predicted * 2 ** (len(measured) - 1)
    wanted = last + predicted
    low, high = sorted((below[0], above[0]))
    return wanted if low < wanted < high else (low + high) / 2


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
