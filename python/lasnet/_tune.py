"""Finding a model's operating points on labelled images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable, Sequence

from . import _arguments as arguments
from . import _core, _images
from ._core import Error
from ._model import Model
from ._quantize import reader

if TYPE_CHECKING:
    from ._arguments import ImageLike


def tune(
    model: Model,
    images: Sequence[ImageLike],
    labels: Sequence[int],
    *,
    points: int = 16,
    deciding_images: int = 256,
    batch: int = 32,
    seed: int = 0,
    hardware: Sequence[str | os.PathLike[str]] = (),
    threads: int | None = None,
    backend: str = "cpu",
    progress: Callable[[float], object] | None = None,
) -> Model:
    """A copy of the model with operating points: thresholds for MAC ratios from the least to 1.

    images: photographs as `Model.preprocess` takes them, e.g. paths. They are read in parts, several times.
    labels: the index of the class of each.
    points: how many operating points are measured; those that others surpass are left out.
    deciding_images: so many, drawn from the images by `seed`, decide which thresholds are chosen. More take longer.
    batch: images per run.
    hardware: names or paths of profiles for which times are predicted.
    threads, backend: as of `Session`.
    progress: called after every batch with the share of the work that is done, 0 to 1.

    Report accuracy on other images: thresholds were chosen on these. `Model.save` keeps the points. Warns
    (UserWarning) of fewer than 100 images, whose top-1 says little.

    >>> photos = ["samples/bird_nuthatch.jpg", "samples/fruit_fig.jpg"]
    >>> labels = [model.class_names.index(name) for name in ("bird", "fruit_vegetable")]
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # two photographs are few
    ...     tuned = lasnet.tune(model, photos, labels, points=2, deciding_images=1)
    >>> tuned.operating_points[0].macs_ratio < 1
    True

    Raises Error on a backbone, on a static network, on labels that are no class, and on images that cannot be read;
    TypeError on arguments of a wrong type.
    """
    arguments.model("model", model)
    read = reader(model, images)
    if model.classes == 0:
        raise Error("tune: a backbone without a classifier (0 classes) has no accuracy; expected a network with one")
    classes = [arguments.integer(f"labels[{i}]", label, 0, model.classes - 1) for i, label in enumerate(labels)]
    if len(classes) != len(images):
        raise Error(f"labels: {len(classes)} for {len(images)} images; expected one for each")

    profiles = [arguments.text_path(f"hardware[{i}]", name) for i, name in enumerate(hardware)]
    handle = _core.tune(
        model._handle,
        read,
        classes,
        arguments.integer("points", points, 2, 100),
        arguments.integer("deciding_images", deciding_images, 1),
        arguments.integer("batch", batch, 1, 4096),
        arguments.integer("seed", seed, 0, 2**64 - 1),
        arguments.threads(threads),
        arguments.text("backend", backend),
        profiles,
        (lambda share: None) if progress is None else progress,
    )
    few = _core.few_images_warning(len(images))
    _images.warn([f"images: {few}"] if few else [])
    return Model._wrap(handle, None)
