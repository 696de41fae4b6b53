"""What the scripts that make fixtures with PyTorch share."""

import json
import struct

import numpy as np
import torch


def read_safetensors(path):
    """Float32 tensors of a .safetensors file by name, and its metadata."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[begin:end], dtype="<f4").reshape(entry["shape"])
        tensors[name] = torch.from_numpy(values.copy())
    return tensors, metadata


def load_weights(net, tensors):
    """Every weight of `net`, and nothing else, is in `tensors`."""
    missing = net.load_state_dict(tensors, strict=False)
    assert not missing.unexpected_keys, missing
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys), missing
