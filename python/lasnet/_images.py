"""Images as programs have them, for the module to read."""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from . import _arguments as arguments
from . import _core
from ._core import Error

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

#: Modes of PIL whose values are not 8 bits per channel.
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")

Tagged = tuple[str, Any]


def tag(image: Any, name: str) -> Tagged:
    """What the module reads: a kind, and the object. Raises TypeError or Error naming the argument."""
    if isinstance(image, (str, os.PathLike)):
        return "path", arguments.path(name, image)
    if isinstance(image, (bytes, bytearray)):
        return "bytes", bytes(image)
    if isinstance(image, memoryview):
        # Of one dimension it is a file, of three an image.
        return ("bytes", bytes(image)) if image.ndim == 1 else ("array", image)
    if _is_pil(image):
        return "array", _upright_rgb(image, name)
    return "array", image


def is_batch(images: Any) -> bool:
    """Whether it is a list of images."""
    return isinstance(images, (list, tuple))


def warn(messages: list[str]) -> None:
    """Passes on what was wrong with files that could be decoded all the same."""
    for message in messages:
        warnings.warn(message, UserWarning, stacklevel=3)


def _is_pil(image: Any) -> bool:
    pil = sys.modules.get("PIL.Image")  # who has such an image has imported it
    return pil is not None and isinstance(image, pil.Image)


def _upright_rgb(image: PilImage, name: str) -> Any:
    """Turned as its EXIF says, and over white where it is transparent: as lasnet decodes files."""
    import numpy
    from PIL import Image, ImageOps

    if image.mode in _DEEP_MODES:
        raise Error(f"{name}: a PIL image of mode {image.mode!r}; convert it to 'RGB' first")
    try:
        upright = ImageOps.exif_transpose(image)
        if "A" in upright.mode or "transparency" in upright.info:
            coloured = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
        return numpy.asarray(upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise Error(f"{name}: PIL cannot read this image: {error}") from error
    except Image.DecompressionBombError as error:
        raise Error(f"{name}: {error}") from error


def prepare(images: Any, preprocessing: tuple[Any, ...], max_pixels: int, strict: bool) -> tuple[Any, list[str]]:
    """float32 [N, 3, H, W], and warnings."""
    if is_batch(images):
        if not images:
            raise Error("images: the list is empty; expected at least one image")
        names = [f"images[{i}]" for i in range(len(images))]
    else:
        images, names = [images], ["images"]
    tagged = [tag(image, name) for image, name in zip(images, names)]
    return _core.prepare(tagged, names, preprocessing, max_pixels, strict)
