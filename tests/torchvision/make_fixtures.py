#!/usr/bin/env python3
"""Makes data/*.npy: logits and maps of torchvision's own ResNets and RegNets on the networks and inputs of
dump_networks. Of the maps every 997th value is kept.

    apt-get install python3-torchvision
    python3 tests/torchvision/make_fixtures.py build/dump_networks
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torchvision
from torchvision.models.feature_extraction import create_feature_extractor

sys.path.append(str(pathlib.Path(__file__).parents[1] / "support"))
from torch_fixtures import load_weights, read_safetensors  # noqa: E402

KEPT = 997  # as in networks.h


def feature_extractor(name, net):
    """Torchvision's nodes whose values are the maps, in the order of feature_specs."""
    stages = range(1, 5)
    if name.startswith("regnet"):
        return create_feature_extractor(net, ["stem"] + [f"trunk_output.block{i}" for i in stages])
    return create_feature_extractor(net, ["maxpool"] + [f"layer{i}" for i in stages])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(__file__).parent / "data"
    out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], folder], check=True)
        for weights in sorted(pathlib.Path(folder).glob("*.safetensors")):
            name, *dilated = weights.stem.split("_dilated")
            options = {"replace_stride_with_dilation": [False, True, True]} if dilated else {}
            net = getattr(torchvision.models, name)(num_classes=50, **options)
            load_weights(net, read_safetensors(weights)[0])
            net.eval()
            for inputs in sorted(pathlib.Path(folder).glob(f"{weights.stem}_[0-9]*_x.npy")):
                x = torch.from_numpy(np.load(inputs))
                with torch.no_grad():
                    logits = net(x).numpy()
                    maps = feature_extractor(name, net)(x).values()
                case = inputs.name[: -len("_x.npy")]
                np.save(out / f"{case}.npy", logits)
                np.save(out / f"{case}_maps.npy", np.concatenate([values.numpy().ravel()[::KEPT] for values in maps]))
                print(inputs.name, logits.shape, float(abs(logits).max()))


if __name__ == "__main__":
    main()
