"""BatchNorm statistics of the data that a network will be trained on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


@torch.no_grad()
def adapt_norms(net: nn.Module, batches: Iterable[Any]) -> int:
    """Give every BatchNorm the statistics of these batches, while the network computes the same as before.

    In training BatchNorm normalises by the batch. Weights that come from other data would therefore become another
    network in their first step. Here scales and shifts move along with the statistics. Call it once, before the
    network is copied as its own teacher and before it is trained.
    net: any network, static or dynamic; it is evaluated, and left in the mode that it was in.
    batches: about 40 training batches, augmented as in training: images, or tuples that begin with them.

    Returns the number of BatchNorms. Raises ValueError, with nothing changed, for no batches and for a network
    without BatchNorms that have scales, shifts and running statistics.
    """
    norms = [m for m in net.modules() if isinstance(m, _NORMS) and m.affine and m.track_running_stats]
    if not norms:
        raise ValueError(f"net: {type(net).__name__} has no BatchNorm with scales, shifts and running statistics")
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    count = 0

    def note(module: Any, inputs: Any) -> None:
        x = inputs[0].float()
        now = (x.mean((0, 2, 3)), x.var((0, 2, 3)))
        before = seen.get(module, now)
        seen[module] = (before[0].lerp(now[0], 1 / count), before[1].lerp(now[1], 1 / count))

    modes = [(module, module.training) for module in net.modules()]
    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    net.eval()
    try:
        for batch in batches:
            count += 1
            net(batch[0] if isinstance(batch, (tuple, list)) else batch)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    if count == 0:
        raise ValueError("batches: expected at least one batch, got none")
    for norm, (mean, variance) in seen.items():
        _adopt(norm, mean, variance)
    return len(seen)


def _adopt(norm: Any, mean: Tensor, variance: Tensor) -> None:
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    norm.bias.add_(scale * (mean - norm.running_mean))
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
