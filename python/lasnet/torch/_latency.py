"""The latency that the predictor expects of the network's present masks (section 3.3), as a loss."""

from __future__ import annotations

import functools
import importlib
import os
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ._architecture import Architecture
from ._losses import check_gradient, mean_over_processes, rates
from ._network import DynamicNetwork

_RATES = tuple(step / 10 for step in range(11))


@dataclass(frozen=True)
class LatencyTable:
    """Predicted times of a batch, in ms."""

    blocks: tuple[tuple[float, ...], ...]  # of every block at activation rates 0, 0.1 ... 1: 11 tuples of B numbers
    rest: float  # of stem, pooling and classifier
    static: float  # of the whole static network

    def latency(self, block_rates: Tensor) -> Tensor:
        """Time of the network in ms, a scalar, for rates [B]; linear between the table's, and differentiable."""
        table = block_rates.new_tensor(self.blocks)
        if table.shape[1] != len(block_rates):
            raise ValueError(f"table: the table is of {table.shape[1]} blocks, the network has {len(block_rates)}")
        place = block_rates * (len(_RATES) - 1)
        below = place.detach().floor().clamp(0, len(_RATES) - 2).long()[None]
        low, high = table.gather(0, below)[0], table.gather(0, below + 1)[0]
        return (low + (high - low) * (place - below[0])).sum() + self.rest


def latency_loss(
    net: nn.Module,
    ms: float,
    hardware: str | os.PathLike[str] | None = None,
    *,
    batch: int = 1,
    size: int | tuple[int, int] = 224,
    weight: float = 10.0,
    table: LatencyTable | None = None,
    synchronise: bool = True,
) -> Tensor:
    """weight * ((T - ms) / T_static)^2, with T the predicted time of the last batch's mean rates, a scalar.

    Takes the place of `budget_loss` where a time is wanted; add the latter with a small weight to pin blocks at first.
    net, synchronise: as of `budget_loss`. ms: the wanted time of a batch, in milliseconds.
    hardware: a name of `lasnet.hardware_profiles()` or a profile's file, None for this machine's CPU. batch, size: of
      the deployed network, in images and px. Predictions are made once for each of these. They need the package
      `lasnet` with its engine.
    table: a LatencyTable to use instead, for instance of measured times.
    """
    if not ms > 0:
        raise ValueError(f"ms: expected a time > 0 in milliseconds, got {ms!r}")
    check_gradient(net)
    if table is None:
        architecture, classes = _description(net)
        place = None if hardware is None else os.fspath(hardware)
        table = _predicted_table(architecture, classes, place, batch, size)
    time = table.latency(mean_over_processes(rates(net).mean(0), synchronise))
    return weight * ((time - ms) / table.static) ** 2


def _description(net: nn.Module) -> tuple[Architecture, int]:
    network = next((module for module in net.modules() if isinstance(module, DynamicNetwork)), None)
    if network is None:
        raise ValueError(f"net: {type(net).__name__} holds no whole dynamic network to predict; give a table")
    return network.architecture, network.fc.out_features if isinstance(network.fc, nn.Linear) else 1000


@functools.lru_cache(maxsize=16)
def _predicted_table(
    architecture: Architecture,
    classes: int,
    hardware: str | None,
    batch: int,
    size: int | tuple[int, int],
) -> LatencyTable:
    predictions = [predict(architecture, classes, hardware, batch, size, rate) for rate in _RATES]
    blocks = tuple(blocks for blocks, _, _ in predictions)
    _, dynamic, static = predictions[-1]
    return LatencyTable(blocks, dynamic - sum(blocks[-1]), static)


def predict(
    architecture: Architecture,
    classes: int,
    hardware: str | None,
    batch: int,
    size: int | tuple[int, int],
    rate: float,
) -> tuple[tuple[float, ...], float, float]:
    """Return the predicted ms of every block, of the dynamic network and of the static one, at an activation rate."""
    lasnet: Any = importlib.import_module("lasnet")  # its engine is needed here alone

    network, granularity = architecture.name, architecture.granularity_text
    if (architecture.width, architecture.stem) != (1, "imagenet"):
        network = lasnet.create(
            network, granularity=granularity, classes=classes, width=architecture.width, stem=architecture.stem
        )
    predicted = lasnet.predict_latency(
        network, hardware=hardware, granularity=granularity, rate=rate, batch=batch, size=size
    )
    blocks = tuple(1e3 * block.dynamic_seconds for block in predicted.blocks)
    return blocks, 1e3 * predicted.dynamic_seconds, 1e3 * predicted.static_seconds
