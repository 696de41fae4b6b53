#!/usr/bin/env python3
"""Writes tests/image/data/*.png: a picture and what Pillow's BILINEAR makes of it at several sizes.

Needs: pip install pillow numpy. The committed files were made with Pillow 13.0.
"""

import pathlib

import numpy as np
from PIL import Image

# Pillow may resize columns first where they shrink and rows grow; that rounds differently and is left out.
SIZES = [(20, 15), (97, 80), (9, 90), (61, 20), (30, 47), (1, 1)]


def picture(width: int, height: int) -> Image.Image:
    """Gradients, hard edges and noise, so that every rounding matters."""
    y, x = np.mgrid[0:height, 0:width]
    red = 255 * x / (width - 1)
    green = 255 * ((x // 7 + y // 5) % 2)
    blue = np.random.default_rng(0).integers(0, 256, (height, width))
    return Image.fromarray(np.stack([red, green, blue], axis=2).astype(np.uint8))


def main() -> None:
    folder = pathlib.Path(__file__).parent.parent / "tests" / "image" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    source = picture(61, 47)
    source.save(folder / "source.png")
    for width, height in SIZES:
        resized = source.resize((width, height), Image.Resampling.BILINEAR)
        resized.save(folder / f"resized_{width}x{height}.png")


if __name__ == "__main__":
    main()
