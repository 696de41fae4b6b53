"""Types of the compiled module. tests/python/test_package.py holds its names against the module's."""

from collections.abc import Callable, Sequence
from typing import Any

_Preprocessing = tuple[int, int, Sequence[float], Sequence[float]]

DEFAULT_MAX_PIXELS: int

class Error(RuntimeError): ...

class Model:
    def describe(self) -> dict[str, Any]: ...
    def save(self, path: bytes, dtype: str, /) -> None: ...

class RunResult:
    def logits(self) -> Any: ...
    def features(self) -> dict[str, Any]: ...
    def trace(self) -> dict[str, Any]: ...

class Session:
    def run(
        self,
        x: object,
        dense: bool,
        force_masks: dict[str, Any] | None,
        thresholds: Sequence[float],
        check_finite: bool,
        record_masks: bool,
        features: Sequence[str],
        feature_layout: str,
    ) -> RunResult: ...
    def close(self) -> None: ...
    def describe(self) -> dict[str, Any]: ...

def load(
    path: bytes,
    overrides: dict[str, Any],
    state_dict: str,
    class_names: Sequence[str],
    preprocessing: _Preprocessing | None,
    /,
) -> Model: ...
def create(overrides: dict[str, Any], seed: int, /) -> Model: ...
def architectures() -> list[str]: ...
def session(model: Model, backend: str, isa: str | None, precision: str, schedule: str | None, threads: int) -> Session: ...
def default_threads() -> int: ...
def input_address(x: object, /) -> tuple[int, bool]: ...
def prepare(
    tagged: list[tuple[str, Any]], names: Sequence[str], preprocessing: _Preprocessing, max_pixels: int, strict: bool, /
) -> tuple[Any, list[str]]: ...
def png(picture: object, /) -> bytes: ...
def heat_map(
    image: tuple[str, Any], trace: object, index: int, title: str, size: tuple[int, int], preprocessing: _Preprocessing, /
) -> Any: ...
def mask_sheet(
    image: tuple[str, Any], trace: object, index: int, title: str, size: tuple[int, int], preprocessing: _Preprocessing, /
) -> Any: ...
def operating_points(model: Model, /) -> list[dict[str, Any]]: ...
def operating_point(
    model: Model,
    macs: float | None,
    seconds: float | None,
    hardware: str | None,
    size: tuple[int, int] | None,
    batch: int,
    threads: int,
    precision: str,
) -> dict[str, Any]: ...
def tune(
    model: Model,
    read: Callable[[list[int]], object],
    labels: Sequence[int],
    points: int,
    images: int,
    batch: int,
    seed: int,
    threads: int,
    backend: str,
    hardware: Sequence[str],
    progress: Callable[[float], object],
    /,
) -> Model: ...
def few_images_warning(images: int, /) -> str: ...
def quantize(
    model: Model,
    read: Callable[[list[int]], object],
    count: int,
    method: str,
    threads: int,
    progress: Callable[[float], object],
    /,
) -> tuple[Model, list[str]]: ...
def clipped_shares(
    model: Model,
    read: Callable[[list[int]], object],
    count: int,
    threads: int,
    progress: Callable[[float], object],
    /,
) -> tuple[dict[str, float], list[str]]: ...
def predict(network: Model | str, question: dict[str, Any], /) -> dict[str, Any]: ...
def search(network: Model | str, question: dict[str, Any], /) -> dict[str, Any]: ...
def hardware_profiles() -> list[dict[str, Any]]: ...
def version() -> str: ...
def isas() -> list[str]: ...
def cuda_devices() -> list[str]: ...
