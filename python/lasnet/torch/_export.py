"""Writes a dynamic network as the engine's model file.

The container is written here and not by the package safetensors: 8 bytes of length, a JSON header and raw values need
no dependency, and the file gets its name only once it is whole.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ._blocks import DynamicBlock
from ._network import DynamicNetwork

_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def export(
    net: nn.Module,
    path: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    preprocessing: Any = None,
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the network to `path`, a .safetensors file that `lasnet run` and `lasnet.load` read.

    net: the dynamic network, or what wraps it (DistributedDataParallel, torch.compile, an EMA copy).
    classes: names of the classes, in the order of the logits.
    preprocessing: how a photograph becomes an input: a dict with any of `resize` (shorter side, px), `crop` (px, 0 for
      none), `mean` and `std` (RGB, of values from 0 to 1), a lasnet.Preprocessing, or the transforms of
      torchvision's weights. What is not given is torchvision's: 256, 224, ImageNet's mean and deviation.
    training: a dict of facts about the training, free in form; `lasnet inspect` shows it.
    dtype: torch.float32, float16 or bfloat16, as which the values are stored.

    A network whose `fc` is Identity is a backbone: its file has no classifier, and the engine returns its maps.

    Maskers are written with what stands before them folded in. Raises ValueError, before anything is written, on values
    that are not finite, and on names and preprocessing that do not fit.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype: expected torch.float32, float16 or bfloat16, got {dtype}")
    network = next((module for module in net.modules() if isinstance(module, DynamicNetwork)), None)
    if network is None:
        raise ValueError(f"net: {type(net).__name__} holds no whole dynamic network (lasnet.torch.dynamic)")
    metadata = _metadata(network, classes, preprocessing, training)
    _write(path, _tensors(network, dtype), {"lasnet": json.dumps(metadata, allow_nan=False)})


def _tensors(network: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """All values that the file holds, in float and by name."""
    folded: dict[str, Tensor] = {}
    left_out = []
    for name, block in network.named_modules():
        if isinstance(block, DynamicBlock):
            weight, bias = block.masker.folded()
            folded.update({f"{name}.masker.conv2.weight": weight, f"{name}.masker.conv2.bias": bias})
            left_out.append(f"{name}.masker.norm.")
    kept = {
        name: value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked") and not name.startswith(tuple(left_out))
    }
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in {**kept, **folded}.items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"net: {name} holds values that are not finite in {dtype}; the training has diverged")
    return tensors


def _count_classes(network: Any) -> int:
    """Outputs of the classifier; 0 of a backbone."""
    if isinstance(network.fc, nn.Identity):
        return 0
    if not isinstance(network.fc, nn.Linear) or network.fc.bias is None:
        kind = type(network.fc).__name__
        raise ValueError(f"net: its classifier 'fc' is {kind}; expected Linear with a bias, or Identity for none")
    return network.fc.out_features


def _metadata(
    network: Any, classes: Sequence[str] | None, preprocessing: Any, training: Mapping[str, Any] | None
) -> dict[str, Any]:
    architecture, names, count = network.architecture, list(classes or []), _count_classes(network)
    if names and len(names) != count:
        raise ValueError(f"classes: expected {count} names, one per logit, got {len(names)}")
    if not all(isinstance(name, str) for name in names):
        raise TypeError("classes: expected strings")
    description = {
        "name": architecture.name,
        "width": architecture.width,
        "classes": count,
        "stem": architecture.stem,
        "granularity": architecture.granularity_text,
    }
    if architecture.is_regnet:
        description["se_pool"] = "active"
    return {
        "version": 1,
        "architecture": description,
        "class_names": names,
        "preprocessing": _preprocessing(preprocessing),
        "masker": {"kind": "mean-pool-conv1x1", "logits": 2},
        "training": dict(training or {}),
    }


def _preprocessing(given: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"resize": 256, "crop": 224, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    if hasattr(given, "resize_size"):  # torchvision's presets
        given = {"resize": given.resize_size[0], "crop": given.crop_size[0], "mean": given.mean, "std": given.std}
    elif all(hasattr(given, key) for key in known):  # lasnet.Preprocessing
        given = {key: getattr(given, key) for key in known}
    unknown = set(given or {}) - set(known)
    if unknown:
        raise ValueError(f"preprocessing: unknown {sorted(unknown)}; expected any of {list(known)}")
    known.update(given or {})
    resize, crop = int(known["resize"]), int(known["crop"])
    mean, std = [float(v) for v in known["mean"]], [float(v) for v in known["std"]]
    if not (1 <= resize and 0 <= crop <= resize):
        raise ValueError(f"preprocessing: expected 1 <= resize and 0 <= crop <= resize, got {resize} and {crop}")
    if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, mean)) or not all(0 < v < math.inf for v in std):
        raise ValueError(f"preprocessing: expected 3 finite means and 3 positive deviations, got {mean} and {std}")
    return {"resize": resize, "crop": crop, "mean": mean, "std": std}


def _write(path: str | os.PathLike[str], tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name in sorted(tensors):
        value = tensors[name]
        end = offset + value.numel() * value.element_size()
        header[name] = {"dtype": _DTYPES[value.dtype], "shape": list(value.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name in sorted(tensors):
                file.write(_bytes(tensors[name]))
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _bytes(tensor: Tensor) -> bytes:
    """The values of a contiguous tensor, little-endian."""
    words = tensor.view(torch.int16 if tensor.element_size() == 2 else torch.int32).numpy()
    return (words.byteswap() if sys.byteorder == "big" else words).tobytes()
