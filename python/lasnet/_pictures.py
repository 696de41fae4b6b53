"""Pictures of what was computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from . import _arguments as arguments
from . import _core, _images
from ._core import Error
from ._session import Trace

if TYPE_CHECKING:
    from ._arguments import ImageLike
    from ._picture import Picture


def heat_map(image: ImageLike, trace: Trace, *, index: int | None = None, title: str = "") -> Picture:
    """The photograph, and beside it the same under a heat map of how many dynamic blocks computed each pixel.

    image: the photograph that was run, as of `Model.preprocess`: what the network saw of it is shown, at its own
        resolution (at most 1600 px). Or exactly what the network saw, of the input's size.
    trace: of the run. index: which image of the batch; has to be given for a batch of several. title: a line above the picture.

    Returns an array uint8 [height, width, 3], which a notebook shows, and PIL.Image.fromarray takes.

    >>> lasnet.heat_map("samples/bird_nuthatch.jpg", result.trace).ndim
    3

    Raises Error on an image of another size, an index outside the batch, a static network, and a trace without masks.
    """
    return _draw(_core.heat_map, image, trace, index, title)


def mask_sheet(image: ImageLike, trace: Trace, *, index: int | None = None, title: str = "") -> Picture:
    """One tile per dynamic block: the photograph with inactive patches darkened, the block's name, S and rate.

    Arguments, result and errors as of `heat_map`.

    >>> lasnet.mask_sheet("samples/bird_nuthatch.jpg", result.trace, title="bird").dtype.name
    'uint8'
    """
    return _draw(_core.mask_sheet, image, trace, index, title)


def _draw(draw: Callable[..., Any], image: Any, trace: Any, index: Any, title: Any) -> Picture:
    from ._picture import Picture

    if not isinstance(trace, Trace):
        raise TypeError(f"trace: expected a lasnet.Trace (result.trace), got {type(trace).__name__}")
    tagged = _images.tag(image, "image")
    images = len(trace.image_macs)
    if index is None and images > 1:
        raise Error(f"index: the trace is of {images} images; say which of them the image is, 0 to {images - 1}")
    position = 0 if index is None else arguments.integer("index", index)
    pixels = draw(
        tagged, trace, position, arguments.text("title", title), trace.input_size, trace.preprocessing._astuple()
    )
    return pixels.view(Picture)  # type: ignore[no-any-return]
