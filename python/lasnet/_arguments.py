"""Checks of arguments, with messages that name them."""

from __future__ import annotations

import math
import operator
import os
from typing import TYPE_CHECKING, Any, Iterable, Sequence, Union

from ._core import Error, default_threads

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as PilImage

    from ._model import Model

    #: What an image may be.
    ImageLike = Union[str, os.PathLike[str], bytes, bytearray, memoryview, PilImage, np.ndarray[Any, Any]]
    #: S per stage or per block: "4-4-2-1", (4, 4, 2, 1), (4, 4, "layer", "layer"), "layer" or "static".
    GranularityLike = Union[str, Sequence[Union[int, str]]]

_INT_LIMIT = 2**31 - 1
_FLOAT32_LIMIT = 3.4028234e38
_MAX_THREADS = 1024


def integer(name: str, value: Any, low: int = 0, high: int = _INT_LIMIT) -> int:
    """An integer from low to high. Raises TypeError or Error."""
    if isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {_describe(value)}") from None
    if not low <= number <= high:
        raise Error(f"{name}: {_shorten(number)}; expected {low} to {high}")
    return number


def threads(value: Any) -> int:
    """The number of threads that `threads=` asks for; None is the default. Raises TypeError or Error."""
    return default_threads() if value is None else integer("threads", value, 1, _MAX_THREADS)


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite float from low to high. Raises TypeError or Error."""
    result = _real(name, value)
    if not (math.isfinite(result) and low <= result <= high):
        raise Error(f"{name}: {result:g}; expected a finite number from {low:g} to {high:g}")
    return result


def _real(name: str, value: Any) -> float:
    """Any float. Raises TypeError."""
    if isinstance(value, (str, bytes, bool)):
        raise TypeError(f"{name}: expected a number, got {_describe(value)}")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: expected a number, got {_describe(value)}") from None


def text(name: str, value: Any) -> str:
    """A string. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {_describe(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Error(f"{name}: {value!r} cannot be written as UTF-8") from None
    return value


def optional_text(name: str, value: Any) -> str | None:
    """A string or None. Raises TypeError."""
    return None if value is None else text(name, value)


def texts(name: str, values: Any) -> list[str]:
    """Strings. Raises TypeError."""
    if isinstance(values, str):
        raise TypeError(f"{name}: expected a sequence of strings, got one string")
    return [text(f"{name}[{i}]", value) for i, value in enumerate(_iterate(name, values, "strings"))]


def numbers(name: str, values: Any, count: int) -> tuple[float, ...]:
    """So many finite floats. Raises TypeError or Error."""
    if isinstance(values, str):
        raise TypeError(f"{name}: expected {count} numbers, got a string")
    result = tuple(number(f"{name}[{i}]", v) for i, v in enumerate(_iterate(name, values, "numbers")))
    if len(result) != count:
        raise Error(f"{name}: {len(result)} numbers; expected {count}")
    return result


def path(name: str, value: Any) -> bytes:
    """A path, as the system takes it. Raises TypeError or Error."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name}: expected a path, got {_describe(value)}")
    encoded = os.fsencode(value)
    if b"\0" in encoded:
        raise Error(f"{name}: {os.fsdecode(encoded)!r} has a null character, which no path has")
    if not encoded:
        raise Error(f"{name}: is empty; expected a path")
    return encoded


def text_path(name: str, value: Any) -> str:
    """A path as text, which UTF-8 has. Raises TypeError or Error."""
    return text(name, os.fsdecode(path(name, value)))


def size(name: str, value: Any) -> tuple[int, int] | None:
    """(height, width) in px, of it or of one side; None stays. Raises TypeError or Error."""
    if value is None:
        return None
    sides = value if isinstance(value, (tuple, list)) else (value, value)
    if len(sides) != 2:
        raise Error(f"{name}: {len(sides)} numbers; expected a side in px, or (height, width)")
    height, width = (integer(name, side, 32, 8192) for side in sides)
    return height, width


def thresholds(name: str, values: Any) -> list[float]:
    """A threshold for all blocks or one for each, infinities included; None for none. Raises TypeError or Error."""
    if values is None:
        return []
    if isinstance(values, str):
        raise TypeError(f"{name}: expected a number, or one for each block, got a string")
    several = _iterate(name, values, "numbers") if hasattr(values, "__iter__") else [values]
    return [_threshold(f"{name}[{i}]", value) for i, value in enumerate(several)]


def _threshold(name: str, value: Any) -> float:
    result = _real(name, value)
    return result if math.isinf(result) else number(name, result, -_FLOAT32_LIMIT, _FLOAT32_LIMIT)


def granularity(name: str, value: Any) -> str | None:
    """"4-4-2-1" of it, or of integers and "layer"; None stays. Raises TypeError or Error."""
    if value is None or isinstance(value, str):
        return optional_text(name, value)
    return "-".join(patch_sides(name, value)) or "static"


def patch_sides(name: str, values: Any) -> list[str]:
    """Integers >= 1 or "layer", as texts. Raises TypeError or Error."""
    entries = enumerate(_iterate(name, values, 'integers or "layer"'))
    return [patch_side(f"{name}[{i}]", side) for i, side in entries]


def patch_side(name: str, value: Any) -> str:
    """An integer >= 1 or "layer", as a text. Raises TypeError or Error."""
    return value if isinstance(value, str) and value == "layer" else str(integer(name, value, 1))


def model(name: str, value: Any) -> Model:
    """A lasnet.Model. Raises TypeError."""
    from ._model import Model

    if not isinstance(value, Model):
        raise TypeError(f"{name}: expected a lasnet.Model, got {type(value).__name__}; lasnet.load(path) makes one")
    return value


def image_sequence(name: str, value: Any) -> None:
    """A sequence of images. Raises TypeError."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__getitem__"):
        raise TypeError(f"{name}: expected a sequence of images, got {type(value).__name__}")


def _iterate(name: str, values: Any, of_what: str) -> Iterable[Any]:
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{name}: expected a sequence of {of_what}, got {_describe(values)}") from None


def _describe(value: Any) -> str:
    described = repr(value) if isinstance(value, (str, bytes, bool, int, float)) else ""
    kind = f"a value of type {type(value).__name__}"
    return kind if not described or len(described) > 40 else f"{described}, {kind}"


def _shorten(value: int) -> str:
    return str(value) if -(10**20) < value < 10**20 else "an integer of more than 20 digits"
