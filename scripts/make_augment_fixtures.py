#!/usr/bin/env python3
"""Writes tests/train/data/augment: what torchvision makes of one small image with fixed parameters.

    source.png       the image
    results.png      the results, one below the other
    results.txt      one line for each of them: the change and its magnitude
    magnitudes.txt   one line for each change of TrivialAugmentWide: whether it goes both ways, and its magnitudes

Needs numpy, Pillow, torch and torchvision. The committed files were made with torchvision 0.14.1 and Pillow 9.4 of
Debian 12.
"""

import pathlib

import numpy as np
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode, TrivialAugmentWide
from torchvision.transforms.autoaugment import _apply_op

FOLDER = pathlib.Path(__file__).parent.parent / "tests" / "train" / "data" / "augment"
WIDTH, HEIGHT = 24, 20
STRENGTHS = (1, 10, 20, 30)


def source() -> Image.Image:
    """Smooth with noise, and with grey, saturated, black and white pixels."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = np.stack([30 + 7 * x, 220 - 9 * y, 60 + 3 * x * y / 8], 2)
    pixels = np.clip(planes + np.random.default_rng(1).integers(-25, 26, planes.shape), 3, 250).astype(np.uint8)
    pixels[0, :4] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 255]]
    pixels[10, 5:9] = [[77, 77, 77], [12, 200, 12], [200, 12, 200], [1, 0, 0]]
    return Image.fromarray(pixels)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    image = source()
    results, lines, table = [], [], []
    for name, (magnitudes, signed) in TrivialAugmentWide()._augmentation_space(31).items():
        values = [float(value) for value in magnitudes] if magnitudes.ndim else []
        table.append(" ".join([name, "signed" if signed else "unsigned"] + [repr(value) for value in values]))
        chosen = [values[i] for i in STRENGTHS] if values else [0.0]
        for magnitude in chosen + ([-value for value in chosen] if signed else []):
            results.append(_apply_op(image, name, magnitude, interpolation=InterpolationMode.NEAREST, fill=None))
            lines.append(f"{name} {magnitude!r}")
    for turn in (0.0, 0.1, 0.5, -0.03, -0.4):
        results.append(F.adjust_hue(image, turn))
        lines.append(f"Hue {turn!r}")
    image.save(FOLDER / "source.png")
    Image.fromarray(np.concatenate([np.asarray(result) for result in results])).save(FOLDER / "results.png", optimize=True)
    (FOLDER / "results.txt").write_text("\n".join(lines) + "\n")
    (FOLDER / "magnitudes.txt").write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
