"""Operating points: thresholds of the blocks that compute less, or more, than a network was trained to."""

from __future__ import annotations

import dataclasses
from typing import Any

from . import _arguments as arguments
from . import _core
from ._core import Error


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """One setting of the blocks' thresholds, and what it gave on labelled images."""

    macs_ratio: float  #: multiply-accumulates over the static network's, mean over the images
    top1: float  #: share of the images
    thresholds: tuple[float, ...]  #: of each block, for `Session.run(thresholds=)`
    rates: tuple[float, ...]  #: mean share of active pixels of each block
    predicted_ms: dict[str, float]  #: of one image, by the name of a hardware profile


def points_of(handle: _core.Model) -> tuple[OperatingPoint, ...]:
    """Those of a model."""
    return tuple(_to_point(fields) for fields in _core.operating_points(handle))


def point_within(
    handle: _core.Model,
    macs: Any,
    budget_ms: Any,
    hardware: Any,
    size: Any,
    batch: Any,
    threads: Any,
    precision: Any,
) -> OperatingPoint:
    """As of `Model.operating_point`."""
    if (macs is None) == (budget_ms is None):
        raise Error("macs, budget_ms: give one of them")
    fields = _core.operating_point(
        handle,
        None if macs is None else arguments.number("macs", macs),
        None if budget_ms is None else arguments.number("budget_ms", budget_ms) / 1e3,
        None if hardware is None else arguments.text_path("hardware", hardware),
        arguments.size("size", size),
        arguments.integer("batch", batch, 1, 4096),
        arguments.threads(threads),
        arguments.text("precision", precision),
    )
    return _to_point(fields)


def _to_point(fields: dict[str, Any]) -> OperatingPoint:
    return OperatingPoint(**{**fields, "thresholds": tuple(fields["thresholds"]), "rates": tuple(fields["rates"])})
