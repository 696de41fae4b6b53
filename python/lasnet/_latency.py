"""Predicting how long a network takes, on hardware that need not be here."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any, Sequence

from . import _arguments as arguments
from . import _core
from ._core import Error
from ._model import Model, _overrides

if TYPE_CHECKING:
    from ._arguments import GranularityLike


@dataclasses.dataclass(frozen=True)
class OperatorLatency:
    """Predicted time of one operator. The parts need not add up where they overlap."""

    name: str  #: e.g. "conv2", "masker", "gather"
    seconds: float
    compute_seconds: float  #: arithmetic
    offchip_seconds: float  #: moving weights and maps from and to memory
    onchip_seconds: float  #: what shared caches move
    launch_seconds: float  #: starting the operator
    utilisation: float  #: share of the lanes that work
    tile: str  #: e.g. "64 channels x 8 x 8 pixels x 2 patches"
    bound: str  #: the largest part: "compute", "offchip", "onchip" or "launch"


@dataclasses.dataclass(frozen=True)
class BlockLatency:
    """Predicted time of one residual block, for a batch."""

    name: str
    stage: int  #: 1 to 4
    static_seconds: float  #: without masker, everything computed
    dynamic_seconds: float  #: expected over the masks
    schedule: str  #: of the dynamic block
    operators: tuple[OperatorLatency, ...]  #: of the dynamic block

    def __repr__(self) -> str:
        return (
            f"<lasnet.BlockLatency {self.name}, {1e3 * self.dynamic_seconds:.3g} ms, "
            f"static {1e3 * self.static_seconds:.3g} ms>"
        )


@dataclasses.dataclass(frozen=True)
class NetworkLatency:
    """Predicted time of a network, for a batch."""

    hardware: str
    batch: int
    size: tuple[int, int]  #: height and width of the images, px
    static_seconds: float
    dynamic_seconds: float
    macs_ratio: float  #: expected multiply-accumulates over the static network's
    blocks: tuple[BlockLatency, ...]
    fixed: tuple[OperatorLatency, ...]  #: stem, pooling and head

    @property
    def speedup(self) -> float:
        """Static time over dynamic time."""
        return self.static_seconds / self.dynamic_seconds

    def __repr__(self) -> str:
        height, width = self.size
        return (
            f"<lasnet.NetworkLatency on {self.hardware}, batch {self.batch} of {height} x {width} px, "
            f"{1e3 * self.dynamic_seconds:.3g} ms, static {1e3 * self.static_seconds:.3g} ms>"
        )


@dataclasses.dataclass(frozen=True)
class SearchCurve:
    """Latency of one stage's blocks (or of one block) with one S, at the rates of the search."""

    name: str  #: "stage 1", or the block's
    stage: int  #: 1 to 4
    granularity: int | str  #: S, or "layer"
    seconds: tuple[float, ...]
    static_seconds: float  #: of the same blocks without masks
    seconds_at_rate: float  #: at the rate that the choice is made for
    break_even: float  #: rate up to which they are faster than without masks; 0: at none
    chosen: bool
    patch_share: float  #: share of the map that one patch covers, at most 1
    coarse: bool  #: that share is above the search's max_patch_share
    saves: float  #: share of the chosen S's seconds_at_rate that this S would save; < 0: it is slower


@dataclasses.dataclass(frozen=True)
class GranularitySearch:
    """What a search chose, and what that brings."""

    granularity: str  #: per stage or block, e.g. "4-4-2-1"
    rate: float  #: that it was chosen for
    macs_ratio: float  #: expected there
    latency: NetworkLatency  #: predicted there
    rates: tuple[float, ...]  #: of the curves
    curves: tuple[SearchCurve, ...]

    def __repr__(self) -> str:
        return f"<lasnet.GranularitySearch: S {self.granularity} at r {self.rate:.3g}, {self.latency!r}>"


@dataclasses.dataclass(frozen=True)
class HardwareProfile:
    """What the latency model knows of a processor."""

    name: str
    kind: str  #: "gpu": the paper's model; "cpu", "cuda": this library's kernels, measured
    description: str
    source: str  #: where the numbers come from
    toml: str  #: the profile as a file, which `hardware=` reads back from a path

    def __repr__(self) -> str:
        return f"<lasnet.HardwareProfile {self.name}, {self.kind}: {self.description}>"


def predict_latency(
    network: Model | str | os.PathLike[str],
    *,
    hardware: str | os.PathLike[str] | None = None,
    granularity: GranularityLike | None = None,
    rate: float = 0.5,
    batch: int | None = None,
    size: int | tuple[int, int] | None = None,
    threads: int = 1,
    precision: str = "fp32",
    schedule: str = "auto",
    equations: str = "default",
) -> NetworkLatency:
    """Predicts how long a batch takes, by a model of algorithm, schedule and hardware (paper, section 3.3).

    network: the name of an architecture, a model file, or a Model.
    hardware: the name of a profile (`hardware_profiles`), or the path of one; None for this machine's CPU.
    granularity: S per stage or block; None for "4-4-2-1" of an architecture, else the file's own.
    rate: probability that a patch is active, 0 to 1.
    batch: images per run; None for 1, of published server GPUs for 128.
    size: side of the images in px, or (height, width); None for the model's, else 224.
    threads: of a CPU. precision: "fp32"; of GPUs also "fp16"; of CPUs also "int8".
    schedule: "auto", or fixed choices, e.g. "masker=incremental,gather=indirect".
    equations: "default", or "paper" for those of the published simulator.

    >>> latency = lasnet.predict_latency("resnet101", hardware="tx2", granularity="4-4-2-1", rate=0.5)
    >>> latency.speedup > 1.2
    True

    Raises Error on unknown names and values out of range; TypeError on arguments of a wrong type.
    """
    question = _question(hardware, granularity, rate, batch, size, threads, precision, schedule, equations)
    return _network_latency(_core.predict(_network(network), question))


def search(
    network: Model | str | os.PathLike[str],
    *,
    hardware: str | os.PathLike[str] | None = None,
    rate: float | None = None,
    macs: float | None = None,
    budget_ms: float | None = None,
    batch: int | None = None,
    size: int | tuple[int, int] | None = None,
    threads: int = 1,
    precision: str = "fp32",
    schedule: str = "auto",
    equations: str = "default",
    candidates: Sequence[int | str] = (1, 2, 4, 7, 8, 14, 28),
    tolerance: float = 0.05,
    per_block: bool = False,
    max_patch_share: float = 1 / 16,
) -> GranularitySearch:
    """Chooses S per stage from predicted latency (paper, section 3.3).

    rate: that the choice is made for, 0 to 1; 0.5 where none is given. Or macs: the ratio of multiply-accumulates, from which the rate follows.
        Or budget_ms: the largest rate at which a batch takes no longer than this.
    candidates: granularities to choose from, "layer" among them.
    tolerance: the smallest S within this share of the least latency is chosen.
    per_block: one S per block. max_patch_share: the largest share of a map that one patch may cover.
    The others as of `predict_latency`.

    >>> lasnet.search("resnet50", hardware="tx2", rate=0.5).granularity
    '4-4-2-1'

    Raises Error as `predict_latency` does, and on a ratio or budget that no rate meets.
    """
    if sum(given is not None for given in (rate, macs, budget_ms)) > 1:
        raise Error("rate, macs, budget_ms: give one of them; each decides the rate")
    question = _question(hardware, None, 0.5 if rate is None else rate, batch, size, threads, precision, schedule, equations)
    question["macs"] = None if macs is None else arguments.number("macs", macs, 0, 1)
    question["budget_seconds"] = None if budget_ms is None else arguments.number("budget_ms", budget_ms) / 1e3
    question["candidates"] = arguments.patch_sides("candidates", candidates)
    question["tolerance"] = arguments.number("tolerance", tolerance)
    question["per_block"] = bool(per_block)
    question["max_patch_share"] = arguments.number("max_patch_share", max_patch_share)
    found = _core.search(_network(network), question)
    found["latency"] = _network_latency(found["latency"])
    found["rates"] = tuple(found["rates"])
    found["curves"] = tuple(
        SearchCurve(**{**curve, "seconds": tuple(curve["seconds"])}) for curve in found["curves"]
    )
    return GranularitySearch(**found)


def hardware_profiles() -> list[HardwareProfile]:
    """The profiles that are part of lasnet, for `hardware=`.

    >>> "tx2" in [profile.name for profile in lasnet.hardware_profiles()]
    True
    """
    return [HardwareProfile(**fields) for fields in _core.hardware_profiles()]


def _network(network: Any) -> Any:
    if isinstance(network, Model):
        return network._handle
    if not isinstance(network, (str, os.PathLike)):
        raise TypeError(
            f"network: expected the name of an architecture, a path or a lasnet.Model, got {type(network).__name__}"
        )
    return arguments.text_path("network", network)


def _question(
    hardware: Any,
    granularity: Any,
    rate: Any,
    batch: Any,
    size: Any,
    threads: Any,
    precision: Any,
    schedule: Any,
    equations: Any,
) -> dict[str, Any]:
    return {
        **_overrides(None, granularity),
        "hardware": None if hardware is None else arguments.text_path("hardware", hardware),
        "rate": arguments.number("rate", rate, 0, 1),
        "batch": None if batch is None else arguments.integer("batch", batch, 1, 4096),
        "size": arguments.size("size", size),
        "threads": arguments.threads(threads),
        "precision": arguments.text("precision", precision),
        "schedule": arguments.text("schedule", schedule),
        "equations": arguments.text("equations", equations),
    }


def _operators(given: list[dict[str, Any]]) -> tuple[OperatorLatency, ...]:
    return tuple(OperatorLatency(**fields) for fields in given)


def _network_latency(given: dict[str, Any]) -> NetworkLatency:
    given["blocks"] = tuple(
        BlockLatency(**{**block, "operators": _operators(block["operators"])}) for block in given["blocks"]
    )
    given["fixed"] = _operators(given["fixed"])
    return NetworkLatency(**given)
