"""int8 weights and scales for a model, from photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Sequence

from . import _arguments as arguments
from . import _core, _images
from ._model import Model

if TYPE_CHECKING:
    from ._arguments import ImageLike


def quantize(
    model: Model,
    images: Sequence[ImageLike],
    *,
    method: str = "mse",
    threads: int | None = None,
    progress: Callable[[float], object] | None = None,
) -> Model:
    """A copy of the model with int8 weights, for `Session(model, precision="int8")`. No labels, no training.

    images: photographs as `Model.preprocess` takes them, e.g. paths; a few hundred, like those that the network will
        see. They run in fp32 with their own masks; only computed pixels count.
    method: how each map's scale is chosen: "minmax" (nothing is clipped), "percentile" (0.01 % is) or "mse" (the
        least squared error).
    threads: as of `Session`.
    progress: called after every image with the share of the work that is done, 0 to 1.

    Warns (UserWarning) of fewer than 16 images, and of a map whose scale clips more than 1 % of its values.
    `clipped_shares` tells that of other images. `Model.save` writes the int8 weights; leave its dtype at "fp32".

    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # two photographs are few
    ...     quantized = lasnet.quantize(model, ["samples/bird_nuthatch.jpg", "samples/fruit_fig.jpg"])
    >>> lasnet.Session(quantized, precision="int8").run(x).top(1)[0][0][0]
    'bird'

    Raises Error on a model that is quantized already, weights or activations that are not finite, an unknown method,
    and images that cannot be read; TypeError on arguments of a wrong type.
    """
    check = arguments.model("model", model)
    handle, messages = _core.quantize(
        check._handle,
        reader(check, images),
        len(images),
        arguments.text("method", method),
        arguments.threads(threads),
        _ignore if progress is None else progress,
    )
    _images.warn(messages)
    return Model._wrap(handle, None)


def clipped_shares(
    model: Model,
    images: Sequence[ImageLike],
    *,
    threads: int | None = None,
    progress: Callable[[float], object] | None = None,
) -> dict[str, float]:
    """Of a quantized model: the share of each map's values in these images that its scale clips, by the map's name.

    Images of another kind than those that the scales were chosen on have large shares: warns (UserWarning) above 1 %.

    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # one photograph is few
    ...     quantized = lasnet.quantize(model, ["samples/bird_nuthatch.jpg"], method="minmax")
    >>> lasnet.clipped_shares(quantized, ["samples/bird_nuthatch.jpg"])["layer1.0"] < 0.001
    True

    Arguments and errors as of `quantize`; Error on a model that is not quantized.
    """
    check = arguments.model("model", model)
    shares, messages = _core.clipped_shares(
        check._handle,
        reader(check, images),
        len(images),
        arguments.threads(threads),
        _ignore if progress is None else progress,
    )
    _images.warn(messages)
    return shares


def reader(model: Model, images: Any) -> Callable[[list[int]], Any]:
    """A function of indices that prepares these images for the model. Raises TypeError on what is no sequence."""
    arguments.image_sequence("images", images)
    return lambda indices: model.preprocess([images[index] for index in indices])


def _ignore(share: float) -> None:
    pass
