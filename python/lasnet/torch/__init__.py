"""Dynamic networks in PyTorch: trained by anybody's script, run by lasnet's engine.

    net = lasnet.torch.dynamic(torchvision.models.resnet50(weights="DEFAULT"), granularity="4-4-2-1")
    loss = F.cross_entropy(net(images), labels)
    loss = loss + lasnet.torch.budget_loss(net, target=0.5, progress=step / steps)
    net.temperature = lasnet.torch.temperature(step / steps)
    lasnet.torch.export(net, "model.safetensors")

What is computed is the paper's "Latency-aware Spatial-wise Dynamic Networks" (NeurIPS 2022), and the same as in
`lasnet train`. Needs PyTorch 1.13 or newer, and nothing else.
"""

from ._blocks import BlockMasks, DynamicBlock, Masker
from ._export import export
from ._latency import LatencyTable, latency_loss
from ._losses import bounds, budget_loss, distillation_loss, macs_ratio, noise_scale, rates, temperature
from ._network import DynamicNetwork, block_masks, dynamic, dynamic_blocks, masker_parameters
from ._norms import adapt_norms
from ._settle import hold_budget, ramped_target, settle_budget

__all__ = [
    "BlockMasks",
    "DynamicBlock",
    "DynamicNetwork",
    "LatencyTable",
    "Masker",
    "adapt_norms",
    "block_masks",
    "bounds",
    "budget_loss",
    "distillation_loss",
    "dynamic",
    "dynamic_blocks",
    "export",
    "hold_budget",
    "latency_loss",
    "macs_ratio",
    "masker_parameters",
    "noise_scale",
    "ramped_target",
    "rates",
    "settle_budget",
    "temperature",
]
