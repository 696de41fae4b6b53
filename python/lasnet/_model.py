"""Models: loading, making, converting, and preparing images for them."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any, Sequence

from . import _arguments as arguments
from . import _core, _images
from . import _operating as operating
from ._core import Error
from ._operating import OperatingPoint

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ._arguments import GranularityLike, ImageLike

_MODEL_SUFFIX = ".safetensors"
_DTYPES = ("fp32", "fp16", "bf16")
_LARGEST_SIDE = 1 << 16


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input, as torchvision does it.

    The shorter side is resized to `resize` px (bilinear, antialiased). A square of `crop` px is cut from the
    centre; with 0 all is kept. The input is (value / 255 - mean) / std, per channel red, green, blue.

    >>> lasnet.Preprocessing(resize=184, crop=160)
    Preprocessing(resize=184, crop=160, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

    Raises Error on a side outside 1 to 65536 px, on a crop larger than the resize, and on a std of 0.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the object is frozen
        set_field(self, "resize", arguments.integer("resize", self.resize, 1, _LARGEST_SIDE))
        set_field(self, "crop", arguments.integer("crop", self.crop, 0, _LARGEST_SIDE))
        set_field(self, "mean", arguments.numbers("mean", self.mean, 3))
        set_field(self, "std", arguments.numbers("std", self.std, 3))
        if self.crop > self.resize:
            raise Error(f"crop: {self.crop} px of images whose shorter side is {self.resize} px (resize)")
        if 0 in self.std:
            raise Error(f"std: {self.std}; expected no zeros, by which values are divided")

    def _astuple(self) -> tuple[int, int, tuple[float, ...], tuple[float, ...]]:
        return self.resize, self.crop, self.mean, self.std


@dataclasses.dataclass(frozen=True)
class Feature:
    """A map inside a network that `Session.run` can return."""

    name: str  #: "stem", and the stages as torchvision names them: "layer1" to "layer4", or "block1" to "block4"
    channels: int  #: of the map
    stride: int  #: px of the image to one of the map, in both directions; sizes are rounded up


def _shortest(values: Sequence[float]) -> tuple[float, ...]:
    """float32 values as they were written."""
    return tuple(float(f"{value:.7g}") for value in values)


class Model:
    """A network: its description and weights. Made by `load` and `create`; immutable; any thread may use it.

    Sessions of one model with equal options share their weights. A model that was loaded pickles as the path of
    its file and the arguments of `load`, so the file has to be there where it is unpickled.
    """

    def __init__(self) -> None:
        raise TypeError("lasnet.Model: made by lasnet.load(path) or lasnet.create(arch)")

    _handle: _core.Model
    _load_arguments: dict[str, Any] | None
    _facts: dict[str, Any]
    _preprocessing: Preprocessing

    @classmethod
    def _wrap(cls, core: _core.Model, load_arguments: dict[str, Any] | None) -> Model:
        model = object.__new__(cls)
        model._handle = core
        model._load_arguments = load_arguments
        model._facts = core.describe()
        resize, crop, mean, std = model._facts["preprocessing"]
        model._preprocessing = Preprocessing(resize, crop, _shortest(mean), _shortest(std))
        return model

    @property
    def path(self) -> str | None:
        """The file that it was loaded from, absolute; None of a model that was created."""
        return None if self._load_arguments is None else str(self._load_arguments["path"])

    @property
    def arch(self) -> str:
        """The architecture, one of `lasnet.architectures()`."""
        return str(self._facts["arch"])

    @property
    def granularity(self) -> str:
        """Side S of a patch in px of the block's output, per stage or block, e.g. "4-4-2-layer"; else "static".

        "layer" is one patch per image: the block is computed or skipped.
        """
        return str(self._facts["granularity"])

    @property
    def is_dynamic(self) -> bool:
        """Whether blocks have maskers."""
        return self.granularity != "static"

    @property
    def width(self) -> float:
        """Channel multiplier."""
        return float(self._facts["width"])

    @property
    def classes(self) -> int:
        """Outputs of the classifier; 0 for a backbone, which has none."""
        return int(self._facts["classes"])

    @property
    def features(self) -> tuple[Feature, ...]:
        """The maps that `Session.run(x, features=)` can return, in network order.

        >>> [(feature.name, feature.channels, feature.stride) for feature in model.features][-1]
        ('layer4', 2048, 32)
        """
        return tuple(Feature(*facts) for facts in self._facts["features"])

    @property
    def dilated_stages(self) -> int:
        """Last stages whose stride is replaced by dilation."""
        return int(self._facts["dilated_stages"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty if the file has none."""
        return tuple(self._facts["class_names"])

    @property
    def preprocessing(self) -> Preprocessing:
        """How `preprocess` prepares images."""
        return self._preprocessing

    @property
    def training(self) -> dict[str, Any]:
        """Facts about the training, as the file has them."""
        return dict(json.loads(self._facts["training_json"]))

    @property
    def quantized(self) -> bool:
        """Whether it has int8 weights, for `Session(model, precision="int8")`. `quantize` makes them."""
        return bool(self._facts["quantized"])

    @property
    def operating_points(self) -> tuple[OperatingPoint, ...]:
        """What `tune` found, by rising MAC ratio and top-1; empty of a model that was not tuned."""
        return operating.points_of(self._handle)

    def operating_point(
        self,
        *,
        macs: float | None = None,
        budget_ms: float | None = None,
        hardware: str | os.PathLike[str] | None = None,
        size: int | tuple[int, int] | None = None,
        batch: int = 1,
        threads: int = 1,
        precision: str = "fp32",
    ) -> OperatingPoint:
        """The most accurate operating point within a budget, between two of them by interpolation.

        macs: the ratio of multiply-accumulates. Or budget_ms: the predicted time of a batch.
        hardware: for budget_ms, the name of a profile (`hardware_profiles`), or the path of one; None for this
            machine's CPU.
        size: side of the images in px, or (height, width); None for the model's, else 224.
        batch: images per run. threads: of a CPU. precision: "fp32"; of a GPU also "fp16", "bf16"; of a
            CPU also "int8".

        >>> photo, label = "samples/bird_nuthatch.jpg", model.class_names.index("bird")
        >>> tuned = lasnet.tune(model, [photo], [label], points=2)
        >>> tuned.operating_point(macs=0.5).macs_ratio <= 0.5
        True

        Raises Error on a model without operating points, and on a budget below the least that it reaches;
        TypeError on arguments of a wrong type.
        """
        return operating.point_within(self._handle, macs, budget_ms, hardware, size, batch, threads, precision)

    @property
    def state_dict(self) -> str:
        """The keys of the state dict that was read; "" if the weights are the file itself."""
        return str(self._facts["state_dict"])

    @property
    def other_state_dicts(self) -> tuple[str, ...]:
        """Keys of others in the file, for `load(..., state_dict=)`."""
        return tuple(self._facts["other_state_dicts"])

    @property
    def fresh_maskers(self) -> int:
        """Blocks whose masker the file lacked: such a masker selects every patch until it is trained."""
        return int(self._facts["fresh_maskers"])

    def preprocess(
        self,
        images: ImageLike | Sequence[ImageLike],
        *,
        preprocessing: Preprocessing | None = None,
        max_pixels: int = _core.DEFAULT_MAX_PIXELS,
        strict: bool = False,
    ) -> npt.NDArray[np.float32]:
        """Photographs as the network's input: float32 [N, 3, H, W].

        images: a path or the bytes of a JPEG, PNG or WebP file, a PIL image, an array uint8 [H, W, 3] in RGB
            (NumPy, torch, any DLPack or buffer), or a list of these. Files and PIL images are turned upright by
            their EXIF tag, and put over white where they are transparent. Arrays are read where they lie, also
            with gaps between rows; other orders are copied.
        preprocessing: in place of the model's own.
        max_pixels: a larger image is refused before anything is allocated for its pixels.
        strict: whether a damaged JPEG that can be decoded is an Error. It is a warning (UserWarning) otherwise.

        Without a crop all images of a list must become one size.

        >>> model.preprocess("samples/bird_nuthatch.jpg").shape
        (1, 3, 160, 160)
        >>> import numpy
        >>> model.preprocess([numpy.zeros((480, 640, 3), "uint8")] * 2).shape
        (2, 3, 160, 160)

        Raises Error on a file that cannot be read, a wrong shape or size; TypeError on any other object.
        """
        chosen = self._preprocessing if preprocessing is None else preprocessing
        if not isinstance(chosen, Preprocessing):
            raise TypeError(f"preprocessing: expected a lasnet.Preprocessing, got {type(chosen).__name__}")
        limit = arguments.integer("max_pixels", max_pixels, 1, 2**62)
        batch, warnings = _images.prepare(images, chosen._astuple(), limit, bool(strict))
        _images.warn(warnings)
        return batch  # type: ignore[no-any-return]

    def save(self, path: str | os.PathLike[str], *, dtype: str = "fp32") -> None:
        """Writes a model file that describes itself, atomically. Weights are stored as `dtype`: "fp32", "fp16", "bf16".

        Raises Error on a name that does not end in .safetensors, an unknown dtype, and a failed write.
        """
        encoded = arguments.path("path", path)
        if not encoded.endswith(_MODEL_SUFFIX.encode()):
            raise Error(f"path: {os.fsdecode(encoded)}; model files are {_MODEL_SUFFIX}: give a name that ends so")
        if arguments.text("dtype", dtype) not in _DTYPES:
            raise Error(f"dtype: {dtype!r}; expected one of {', '.join(_DTYPES)}")
        self._handle.save(encoded, dtype)

    def __repr__(self) -> str:
        shape = f"{self.arch}" + (f" x{self.width:g}" if self.width != 1 else "")
        return f"<lasnet.Model {shape}, S {self.granularity}, {self.classes} classes, {self.path or 'created'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._load_arguments is None:
            raise TypeError("lasnet.Model: a model that was created has no file to pickle; save it, and load that file")
        return _load_again, (self._load_arguments,)


def _load_again(load_arguments: dict[str, Any]) -> Model:
    return load(**load_arguments)


def load(
    path: str | os.PathLike[str],
    *,
    arch: str | None = None,
    granularity: GranularityLike | None = None,
    state_dict: str = "",
    classes: int | None = None,
    class_names: Sequence[str] = (),
    width: float | None = None,
    stem: str | None = None,
    se_pool: str | None = None,
    dilated_stages: int | None = None,
    preprocessing: Preprocessing | None = None,
) -> Model:
    """Reads a model file, or plain weights of PyTorch.

    path: a .safetensors file, or a checkpoint (.pth, .pt), told apart by content. Reading executes nothing of it.
    arch: the architecture of a file that does not describe itself, one of `architectures()`.
    granularity: S per stage or block, "4-4-2-1" or (4, 4, 2, 1); "static" for no masks. Maskers that the file
        lacks select every patch until they are trained.
    state_dict: which of a checkpoint's, by its keys, e.g. "state_dict_ema"; "" for the usual or only one.
    classes: outputs of the classifier. None: as many as the file's has, 0 if it has none, as of a backbone.
    class_names: their names.
    width: channel multiplier. stem: "imagenet", or "small" for 32 to 128 px.
    se_pool: what Squeeze-and-Excitation averages, "active" pixels or all ("dense").
    dilated_stages: last stages whose stride is replaced by dilation, 0 to 3; 2 is torchvision's
        replace_stride_with_dilation=[False, True, True].
    preprocessing: in place of the file's, or of ImageNet's usual one.

    >>> lasnet.load("models/demo.safetensors").arch
    'resnet50'

    Warns (UserWarning) of a granularity that the file's maskers were not trained for, of operating points or maskers
    that are left out, and of other weights in the file.

    Raises Error on a file that cannot be read, weights that do not fit, or an unknown name; TypeError on arguments
    of a wrong type.
    """
    encoded = arguments.path("path", path)
    if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
        raise TypeError(f"preprocessing: expected a lasnet.Preprocessing, got {type(preprocessing).__name__}")
    names = arguments.texts("class_names", class_names)
    overrides = _overrides(arch, granularity, classes, width, stem, se_pool, dilated_stages)
    core = _core.load(
        encoded,
        overrides,
        arguments.text("state_dict", state_dict),
        names,
        None if preprocessing is None else preprocessing._astuple(),
    )
    model = Model._wrap(
        core,
        {
            "path": os.path.abspath(os.fsdecode(encoded)),
            "state_dict": state_dict,
            "class_names": tuple(names),
            "preprocessing": preprocessing,
            **overrides,
        },
    )
    _images.warn(model._facts["warnings"])
    if names and len(names) != model.classes:
        raise Error(f"class_names: {len(names)} names; {os.fsdecode(encoded)} has {model.classes} classes")
    return model


def create(
    arch: str,
    *,
    granularity: GranularityLike | None = None,
    classes: int = 1000,
    width: float = 1.0,
    stem: str = "imagenet",
    se_pool: str = "active",
    dilated_stages: int = 0,
    seed: int = 0,
) -> Model:
    """A network with random weights of the seed, to time it, or to try something, before it is trained.

    Arguments as of `load`. Fresh maskers select nearly all patches. The weights are the same on every platform.

    >>> lasnet.create("resnet18", granularity="4-4-2-1", width=0.25, classes=10)
    <lasnet.Model resnet18 x0.25, S 4-4-2-1, 10 classes, created>

    Raises Error on an unknown name, or a width, number or granularity that no network has.
    """
    if isinstance(classes, (list, tuple)):
        raise TypeError("classes: expected how many, as an integer; save the model, and load it with class_names=")
    overrides = _overrides(arguments.text("arch", arch), granularity, classes, width, stem, se_pool, dilated_stages)
    return Model._wrap(_core.create(overrides, arguments.integer("seed", seed, 0, 2**64 - 1)), None)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    dtype: str = "fp32",
    **load_arguments: Any,
) -> Model:
    """Reads weights as `load(source, ...)` does, writes a model file that describes itself, and loads that.

    target: a name that ends in .safetensors; an old file is replaced.
    dtype: how weights are stored: "fp32", "fp16" or "bf16".

    >>> import os, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> lasnet.convert("models/demo.safetensors", os.path.join(folder, "half.safetensors"), dtype="fp16").classes
    6

    Raises as `load` and `Model.save` do.
    """
    load(source, **load_arguments).save(target, dtype=dtype)
    return load(target)


def architectures() -> list[str]:
    """Names that `load`, `create`, `predict_latency` and `search` take.

    >>> "resnet50" in lasnet.architectures()
    True
    """
    return _core.architectures()


def _overrides(
    arch: str | None,
    granularity: GranularityLike | None,
    classes: int | None = None,
    width: float | None = None,
    stem: str | None = None,
    se_pool: str | None = None,
    dilated_stages: int | None = None,
) -> dict[str, Any]:
    """What replaces the description of a file, checked."""
    return {
        "arch": arguments.optional_text("arch", arch),
        "granularity": arguments.granularity("granularity", granularity),
        "classes": None if classes is None else arguments.integer("classes", classes, 0, 1 << 20),
        "width": None if width is None else arguments.number("width", width),
        "stem": arguments.optional_text("stem", stem),
        "se_pool": arguments.optional_text("se_pool", se_pool),
        "dilated_stages": None if dilated_stages is None else arguments.integer("dilated_stages", dilated_stages, 0, 3),
    }
