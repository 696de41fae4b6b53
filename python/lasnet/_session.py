"""Running networks, and what a run returns."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from . import _arguments as arguments
from . import _core
from ._core import Error
from ._model import Model, Preprocessing

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt

_NO_FEATURES: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class BlockTrace:
    """What one residual block computed, over the whole batch."""

    name: str  #: as torchvision has it, e.g. "layer1.0"
    granularity: int | str  #: S, the side of a patch in px of the output, or "layer"; 0: a static block
    height: int  #: of the output map, px
    width: int  #: of the output map, px
    #: uint8 [N, height, width], 1 where it was computed; None of static blocks, and if not recorded
    mask: npt.NDArray[np.uint8] | None
    #: float32 [N, rows, columns], per patch, which is active from its block's threshold on; None as of `mask`
    logit_difference: npt.NDArray[np.float32] | None
    rates: npt.NDArray[np.float64]  #: float64 [N], share of active pixels of each image
    rate: float  #: their mean, the activation rate r
    dilated_rate: float  #: share of pixels that the first convolution computed, halo included
    macs: float  #: multiply-accumulates, mean per image, masker included
    static_macs: int  #: of the static block
    seconds: float  #: wall time for the batch; 0 on the cuda backend
    masking_seconds: float  #: of it: masker, decisions and lists

    def __repr__(self) -> str:
        return f"<lasnet.BlockTrace {self.name}, S {self.granularity}, r {self.rate:.3f}>"


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """What a run computed. Plain values and arrays, which belong to the trace and can be pickled."""

    blocks: tuple[BlockTrace, ...]
    macs: float  #: multiply-accumulates of the whole network, mean per image
    static_macs: int  #: of the whole static network, per image
    seconds: float  #: wall time of the run for the batch; on the cuda backend time on the device
    image_macs: npt.NDArray[np.float64]  #: float64 [N], of each image
    input_size: tuple[int, int]  #: height and width of the input, px
    preprocessing: Preprocessing  #: of the model, by which pictures know what the network saw

    @property
    def macs_ratio(self) -> float:
        """Multiply-accumulates over those of the static network."""
        return self.macs / self.static_macs

    def __repr__(self) -> str:
        return f"<lasnet.Trace of {len(self.blocks)} blocks, {100 * self.macs_ratio:.1f} % of the MACs>"


class Result:
    """Logits and trace of a run. It owns its memory: later runs change nothing of it. Pickles by value."""

    def __init__(self) -> None:
        raise TypeError("lasnet.Result: made by lasnet.Session.run")

    _handle: _core.RunResult | None  # None once unpickled
    _preprocessing: Preprocessing
    _class_names: tuple[str, ...]
    _feature_names: tuple[str, ...]
    # What was asked for already.
    _logits: Any = None
    _trace: Trace | None = None
    _features: dict[str, Any] | None = None

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """float32 [N, classes]. A NumPy array, so that torch.from_dlpack and others read it without a copy.

        [N, 0] of a backbone without a classifier.
        """
        if self._logits is None and self._handle is not None:
            self._logits = self._handle.logits()
        return self._logits  # type: ignore[no-any-return]

    @property
    def features(self) -> dict[str, npt.NDArray[np.float32]]:
        """The maps that `Session.run(features=)` named, in its order: float32 [N, channels, height, width].

        [N, height, width, channels] with feature_layout="nhwc". NumPy arrays without a copy, as `logits`.
        """
        if self._features is None:
            assert self._handle is not None
            maps = self._handle.features()
            self._features = {name: maps[name] for name in self._feature_names}
        return self._features

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """float64 [N, classes]: the softmax of the logits."""
        import numpy

        logits = self.logits.astype(numpy.float64)
        shifted = numpy.exp(logits - logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]

    @property
    def trace(self) -> Trace:
        """What was computed: per block masks, rates and MACs."""
        if self._trace is None:
            assert self._handle is not None
            fields = self._handle.trace()
            fields["blocks"] = tuple(BlockTrace(**block) for block in fields["blocks"])
            self._trace = Trace(**fields, preprocessing=self._preprocessing)
        return self._trace

    def top(self, k: int = 5) -> list[list[tuple[str, float]]]:
        """The k best classes of each image, best first, with their probabilities.

        A class without a name is called by its number, "0", "1", ...

        >>> [[(name, probability)]] = result.top(1)
        >>> print(f"{name} {probability:.2f}")
        bird 0.82

        Raises Error if logits are not finite numbers, so that there is no best class, and for a backbone.
        """
        import numpy

        arguments.integer("k", k, 1)
        if self.logits.shape[1] == 0:
            raise Error("top: the network is a backbone without a classifier (0 classes); result.features has its maps")
        finite = numpy.isfinite(self.logits).all(axis=1)
        if not finite.all():
            raise Error(
                f"top: the logits of image {finite.argmin()} are not finite numbers, so it has no class: the weights "
                "are too large, or the input is not what the network was trained on (run with check_finite=True names "
                "the first layer)"
            )
        best = []
        for probabilities in self.probabilities:
            order = numpy.argsort(-probabilities, kind="stable")[:k]
            best.append([(self._name(int(index)), float(probabilities[index])) for index in order])
        return best

    def _name(self, index: int) -> str:
        return self._class_names[index] if self._class_names else str(index)

    def __repr__(self) -> str:
        images, classes = self.logits.shape
        return f"<lasnet.Result of {images} image{'s' if images > 1 else ''}, {classes} classes>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_result, (self.logits, self.trace, self._class_names, self.features)


def _new_result(
    handle: _core.RunResult | None,
    preprocessing: Preprocessing,
    class_names: tuple[str, ...],
    feature_names: tuple[str, ...],
) -> Result:
    result = object.__new__(Result)
    result._handle = handle
    result._preprocessing = preprocessing
    result._class_names = class_names
    result._feature_names = feature_names
    return result


def _restore_result(logits: Any, trace: Trace, class_names: tuple[str, ...], features: dict[str, Any]) -> Result:
    result = _new_result(None, trace.preprocessing, class_names, tuple(features))
    result._logits = logits
    result._trace = trace
    result._features = features
    return result


class Session:
    """Runs a model.

    model: what `load` or `create` returned.
    threads: 1 to 1024; None for one per core that this process may use. Results do not depend on it.
    backend: "cpu", "cuda" (in builds with CUDA), or "reference" (plain loops, slow).
    isa: instruction set of the cpu backend, one of `available_isas()`; None for the fastest.
    precision: "fp32"; "int8" of a model that `quantize` made, on the cpu and reference backends; on the cuda
        backend also "tf32", "fp16", "bf16".
    schedule: how blocks are executed, e.g. "masker=incremental,traversal=row_bands"; None for what is predicted to be
        fastest here.

    For one image, all threads in one session are fastest. For many, one session of one thread per Python thread
    is: runs let other Python threads go on. Sessions of one model share its weights. Threads that share a session
    wait for each other. A session pickles as its model and options. After os.fork a child may use it, if
    no thread was running it.

    >>> with lasnet.Session(model, threads=1, isa="scalar") as session:
    ...     result = session.run(x)

    Raises Error on options that this machine cannot serve; TypeError on arguments of a wrong type.
    """

    def __init__(
        self,
        model: Model,
        *,
        threads: int | None = None,
        backend: str = "cpu",
        isa: str | None = None,
        precision: str = "fp32",
        schedule: str | None = None,
    ) -> None:
        self._model = arguments.model("model", model)
        self._class_names = model.class_names
        self._options = {
            "threads": None if threads is None else arguments.threads(threads),
            "backend": arguments.text("backend", backend),
            "isa": arguments.optional_text("isa", isa),
            "precision": arguments.text("precision", precision),
            "schedule": arguments.optional_text("schedule", schedule),
        }
        self._handle = _core.session(model._handle, backend, isa, precision, schedule, arguments.threads(threads))
        self._facts = self._handle.describe()
        self._budgeted: tuple[Any, Sequence[float]] = (None, ())  #: the last budget, and thresholds that meet it

    @property
    def model(self) -> Model:
        """What it runs."""
        return self._model

    @property
    def backend(self) -> str:
        """ "cpu", "cuda" or "reference"."""
        return str(self._facts["backend"])

    @property
    def isa(self) -> str:
        """The instruction set whose kernels run; "scalar" on the other backends."""
        return str(self._facts["isa"])

    @property
    def precision(self) -> str:
        """The arithmetic of the convolutions."""
        return str(self._facts["precision"])

    @property
    def threads(self) -> int:
        """Threads of a run, the calling one included."""
        return int(self._facts["threads"])

    def run(
        self,
        x: Any,
        *,
        dense: bool = False,
        force_masks: Mapping[str, Any] | None = None,
        thresholds: Any = None,
        macs: float | None = None,
        budget_ms: float | None = None,
        hardware: str | os.PathLike[str] | None = None,
        check_finite: bool = False,
        record_masks: bool = True,
        features: Sequence[str] = _NO_FEATURES,
        feature_layout: str = "nchw",
    ) -> Result:
        """Runs a batch.

        x: float32 [N, 3, H, W] with H, W >= 32, as `Model.preprocess` returns it: NumPy, torch, anything with
            __dlpack__ or the buffer protocol, on the CPU. A contiguous array is read where it lies; any other
            (a transposed one, torch's channels_last) is copied. It must not change during the run.
        dense: run the static network: no maskers, every pixel. Excludes thresholds, macs and budget_ms.
        force_masks: replaces the decisions of blocks, by name: uint8 or bool [N, height, width] of 0 and 1, constant
            over patches.
        thresholds: the least logit difference of an active patch: one number for all blocks, or one for each.
            None for 0, with which the network was trained; more computes less.
        macs: choose the operating point of this ratio of multiply-accumulates (`Model.operating_point`, `tune`).
        budget_ms: choose the one that is predicted to take no longer for this batch.
        hardware: for budget_ms, the name or path of a profile; None for this machine's CPU.
        check_finite: raise Error naming the first layer whose output is not finite. Slower. The input is checked
            always.
        record_masks: keep masks and logit differences in the trace.
        features: names of maps to return in `Result.features`, of those in `Model.features`. Each is copied once.
        feature_layout: the order of their values: "nchw" for [N, C, H, W], or "nhwc" for [N, H, W, C], whose copy
            is the faster one.

        >>> session.run(x).trace.macs_ratio < 1
        True
        >>> session.run(x, thresholds=0.5).trace.macs_ratio < session.run(x).trace.macs_ratio
        True
        >>> {name: values.shape for name, values in session.run(x, features=["layer2", "layer4"]).features.items()}
        {'layer2': (1, 512, 20, 20), 'layer4': (1, 2048, 5, 5)}

        The same bits for any number of threads and any split of a batch. Ctrl-C ends it between blocks.

        Raises TypeError on another type, dtype or device, naming the argument; Error on a wrong shape, NaN or infinity
        in x, an unknown map or layout, too little memory, a session that is closed, and a budget that the model's
        operating points do not reach.
        """
        masks = None if force_masks is None else _mask_dict(force_masks)
        chosen = self._thresholds(x, dense, thresholds, macs, budget_ms, hardware)
        names = tuple(arguments.texts("features", features)) if features is not _NO_FEATURES else _NO_FEATURES
        layout = arguments.text("feature_layout", feature_layout)
        handle = self._handle.run(
            x, bool(dense), masks, chosen, bool(check_finite), bool(record_masks), names, layout
        )
        return _new_result(handle, self._model.preprocessing, self._class_names, names)

    def _thresholds(
        self, x: Any, dense: bool, thresholds: Any, macs: Any, budget_ms: Any, hardware: Any
    ) -> Sequence[float]:
        budgets = (thresholds is not None) + (macs is not None) + (budget_ms is not None)
        if budgets > 1:
            raise Error("thresholds, macs, budget_ms: give one of them")
        if dense and budgets > 0:
            raise Error("dense: computes everything; leave out thresholds, macs and budget_ms")
        if hardware is not None and budget_ms is None:
            raise Error("hardware: is of budget_ms, which is not given")
        if macs is None and budget_ms is None:
            return arguments.thresholds("thresholds", thresholds)
        if budget_ms is not None and hardware is None:
            if self.backend != "cpu":
                raise Error(f"budget_ms: on the {self.backend} backend, hardware= has to name a profile")
            if self.isa != available_isas()[-1]:
                if self.precision == "int8":
                    raise Error(f"budget_ms: of int8 with isa={self.isa!r}, hardware= has to name a profile")
                hardware = f"cpu-{self.isa}"
        shape = tuple(getattr(x, "shape", ()))
        batch, size = (shape[0], shape[2:]) if budget_ms is not None and len(shape) == 4 else (1, None)
        key = (macs, budget_ms, hardware, batch, size)
        budgeted = self._budgeted  # another thread may replace it
        if key != budgeted[0]:  # predictions take longer than runs of small networks
            point = self._model.operating_point(
                macs=macs,
                budget_ms=budget_ms,
                hardware=hardware,
                size=size,
                batch=batch,
                threads=self.threads,
                precision=self.precision,
            )
            self._budgeted = budgeted = (key, point.thresholds)
        return budgeted[1]

    def close(self) -> None:
        """Frees its memory and ends its threads, once a run in progress is over. Results stay. May be repeated."""
        self._handle.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        kernels = self.backend if self.backend != "cpu" else f"cpu {self.isa}"
        return f"<lasnet.Session of {self.model!r}, {kernels}, {self.threads} thread{'s' if self.threads > 1 else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_again, (self._model, self._options)


def _open_again(model: Model, options: dict[str, Any]) -> Session:
    return Session(model, **options)


def _mask_dict(masks: Any) -> dict[str, Any]:
    try:
        named = dict(masks)
    except (TypeError, ValueError):
        raise TypeError(f"force_masks: expected a dict of arrays by block name, got {type(masks).__name__}") from None
    return {arguments.text("force_masks: name of a block", name): _bytes(mask) for name, mask in named.items()}


def _bytes(mask: Any) -> Any:
    """A mask of truth values as one of 0 and 1; any other stays."""
    if str(getattr(mask, "dtype", "")) not in ("bool", "torch.bool"):
        return mask
    import numpy

    return numpy.asarray(mask).view(numpy.uint8)


def default_threads() -> int:
    """Threads of a session that is not told: one per physical core that this process may use.

    A container's quota of processor time, rounded up, limits it.

    >>> lasnet.default_threads() >= 1
    True
    """
    return _core.default_threads()


def available_isas() -> list[str]:
    """Instruction sets of this build that this processor has, slowest first.

    >>> lasnet.available_isas()[0]
    'scalar'
    """
    return _core.isas()


def cuda_devices() -> list[str]:
    """Names of the GPUs that the cuda backend can use; empty in builds without CUDA, and without a driver or device."""
    return _core.cuda_devices()
