#!/usr/bin/env python3
"""Writes tests/image/data/kinds/*: small images of every kind, and what Pillow reads from them.

    kinds/NAME.{png,jpg,webp}      the image
    kinds/pillow/NAME_EXT.png      ImageOps.exif_transpose(Image.open(...)).convert("RGB")
    kinds/by_rule/NAME_EXT.png     where lasnet's value is another on purpose (docs/images.md): that value

Needs python3-numpy and python3-pil. The committed files were made with Pillow 9.4 of Debian 12.
"""

import io
import pathlib
import shutil
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

FOLDER = pathlib.Path(__file__).parent.parent / "tests" / "image" / "data" / "kinds"
WIDTH, HEIGHT = 13, 9
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def noise(channels: int, top: int) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, top + 1, (HEIGHT, WIDTH, channels))


def photo(channels: int = 3) -> np.ndarray:
    """Smooth, with some noise, and without any symmetry."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [40 + 12 * x, 20 + 20 * y, 200 - x * y, 255 - 9 * x - 7 * y][:channels]
    return np.clip(np.stack(planes, 2) + noise(channels, 20), 0, 255).astype(np.uint8)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def packed(samples: np.ndarray, depth: int) -> bytes:
    """Rows with filter type 0 before each."""
    rows = b""
    for row in samples.reshape(samples.shape[0], -1):
        if depth == 16:
            rows += b"\0" + row.astype(">u2").tobytes()
        elif depth == 8:
            rows += b"\0" + row.astype(np.uint8).tobytes()
        else:
            bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
            rows += b"\0" + np.packbits(bits.astype(np.uint8).reshape(-1)).tobytes()
    return rows


def png(samples: np.ndarray, colour: int, depth: int, interlaced: bool = False, before: bytes = b"",
        after: bytes = b"") -> bytes:
    passes = [samples]
    if interlaced:
        passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
        passes = [part for part in passes if part.size > 0]
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour, 0, 0, interlaced)
    pixels = zlib.compress(b"".join(packed(part, depth) for part in passes), 9)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", pixels) + after
            + chunk(b"IEND", b""))


def exif(orientation: int | None, big_endian: bool = True) -> bytes:
    order = ">" if big_endian else "<"
    entries = [(0x0100, 4, struct.pack(order + "I", 640))]
    if orientation is not None:
        entries.append((0x0112, 3, struct.pack(order + "HH", orientation, 0)))
    tiff = (b"MM" if big_endian else b"II") + struct.pack(order + "HIH", 42, 8, len(entries))
    for tag, kind, value in entries:
        tiff += struct.pack(order + "HHI", tag, kind, 1) + value
    return tiff + bytes(4)


def to_8_bit(samples: np.ndarray) -> np.ndarray:
    return np.rint(samples / 257)


def over_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.rint((colours * alpha + 255.0 * (255 - alpha)) / 255)


def grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey, 3, axis=2)


def write_pngs(write) -> None:
    for depth in (1, 2, 4, 8):
        write(f"grey{depth}.png", png(noise(1, 2**depth - 1), GREY, depth))
    write("grey1_interlaced.png", png(noise(1, 1), GREY, 1, interlaced=True))
    deep = noise(1, 65535)
    for interlaced in (False, True):
        name = "grey16_interlaced" if interlaced else "grey16"
        write(f"{name}.png", png(deep, GREY, 16, interlaced), grey_to_rgb(to_8_bit(deep)))

    colours = np.random.default_rng(7).integers(0, 256, (256, 3))
    opacity = np.random.default_rng(8).integers(0, 256, (200, 1))
    for depth in (1, 2, 4, 8):
        table = chunk(b"PLTE", colours[:2**depth].astype(np.uint8).tobytes())
        write(f"palette{depth}.png", png(noise(1, 2**depth - 1), PALETTE, depth, before=table))
    table += chunk(b"tRNS", opacity.astype(np.uint8).tobytes())
    full_opacity = np.concatenate([opacity, np.full((56, 1), 255)])
    index = noise(1, 255)[:, :, 0]
    write("palette8_transparent.png", png(noise(1, 255), PALETTE, 8, before=table),
          over_white(colours[index], full_opacity[index]))

    rgb = photo()
    for interlaced in (False, True):
        suffix = "_interlaced" if interlaced else ""
        write(f"rgb8{suffix}.png", png(rgb, RGB, 8, interlaced))
        write(f"rgb16{suffix}.png", png(noise(3, 65535), RGB, 16, interlaced))
        rgba = noise(4, 255)
        write(f"rgba8{suffix}.png", png(rgba, RGBA, 8, interlaced), over_white(rgba[..., :3], rgba[..., 3:]))
    key = rgb[2, 3].astype(int)
    is_key = (rgb == key).all(axis=2, keepdims=True)
    write("rgb8_transparent.png", png(rgb, RGB, 8, before=chunk(b"tRNS", struct.pack(">HHH", *key))),
          np.where(is_key, 255, rgb))
    grey = noise(1, 255)
    key = int(grey[2, 3, 0])
    write("grey8_transparent.png", png(grey, GREY, 8, before=chunk(b"tRNS", struct.pack(">H", key))),
          grey_to_rgb(np.where(grey == key, 255, grey)))
    deep = to_8_bit(noise(4, 65535))
    write("rgba16.png", png(noise(4, 65535), RGBA, 16), over_white(deep[..., :3], deep[..., 3:]))
    both = noise(2, 255)
    write("grey_alpha8.png", png(both, GREY_ALPHA, 8), grey_to_rgb(over_white(both[..., :1], both[..., 1:])))
    deep = to_8_bit(noise(2, 65535))
    write("grey_alpha16.png", png(noise(2, 65535), GREY_ALPHA, 16),
          grey_to_rgb(over_white(deep[..., :1], deep[..., 1:])))

    write("gamma.png", png(rgb, RGB, 8, before=chunk(b"gAMA", struct.pack(">I", 100000))))
    write("srgb.png", png(rgb, RGB, 8, before=chunk(b"sRGB", b"\0")))
    write("text.png", png(rgb, RGB, 8, before=chunk(b"tEXt", b"Title\0a picture")))
    for orientation in range(1, 9):
        write(f"exif{orientation}.png", png(rgb, RGB, 8, before=chunk(b"eXIf", exif(orientation))))
    write("exif6_behind_pixels.png", png(rgb, RGB, 8, after=chunk(b"eXIf", exif(6, big_endian=False))))


def jpeg(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_exif(plain: bytes, *blocks: bytes) -> bytes:
    return plain[:2] + b"".join(segment(0xE1, b"Exif\0\0" + block) for block in blocks) + plain[2:]


def write_jpegs(write) -> None:
    rgb = Image.fromarray(photo())
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        write(f"baseline_{name}.jpg", jpeg(rgb, subsampling=subsampling))
        write(f"progressive_{name}.jpg", jpeg(rgb, subsampling=subsampling, progressive=True))
    write("grey.jpg", jpeg(rgb.convert("L")))
    write("grey_progressive.jpg", jpeg(rgb.convert("L"), progressive=True))

    cmyk = jpeg(Image.fromarray(photo(4), "CMYK"))
    write("cmyk.jpg", cmyk)
    adobe = cmyk.index(b"Adobe")
    write("ycck.jpg", cmyk[:adobe + 11] + b"\2" + cmyk[adobe + 12:])  # the same samples, read as YCCK
    # Without Adobe's marker 0 is no ink; Pillow takes it for all ink.
    plain = cmyk[:adobe - 4] + cmyk[adobe + 12:]
    inks = 255 - np.asarray(Image.open(io.BytesIO(cmyk))).astype(float)
    write("cmyk_without_adobe.jpg", plain, np.rint((255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255))
    jfif = jpeg(rgb, subsampling=0)
    write("rgb.jpg", jfif[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\0") + jfif[20:])

    for orientation in range(1, 9):
        write(f"exif{orientation}.jpg", with_exif(jfif, exif(orientation, big_endian=orientation % 2 == 0)))
    write("exif1_then_6.jpg", with_exif(jfif, exif(1), exif(6)))
    write("exif6_then_1.jpg", with_exif(jfif, exif(6), exif(1)))
    write("exif_none_then_6.jpg", with_exif(jfif, exif(None), exif(6)))

    damaged = bytearray(jfif)
    scan = damaged.index(b"\xff\xda")
    for at in range(scan + 60, scan + 90):
        damaged[at] = 0x55 + at % 7
    write("damaged_codes.jpg", bytes(damaged))
    write("cut_with_end_marker.jpg", jfif[:-len(jfif) // 6] + b"\xff\xd9")


def write_webps(write) -> None:
    def webp(pixels: np.ndarray, **options) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", **options)
        return buffer.getvalue()

    def read(content: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(float)

    write("lossy.webp", webp(photo(), quality=80))
    write("lossless.webp", webp(photo(), lossless=True))
    write("exif6.webp", webp(photo(), lossless=True, exif=exif(6)))
    rgba = noise(4, 255).astype(np.uint8)
    for name, options in (("lossy_alpha", {"quality": 80}), ("lossless_alpha", {"lossless": True, "exact": True})):
        content = webp(rgba, **options)
        values = read(content)
        write(f"{name}.webp", content, over_white(values[..., :3], values[..., 3:]))


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    for part in ("pillow", "by_rule"):
        (FOLDER / part).mkdir(parents=True)

    def save(pixels: np.ndarray, part: str, name: str) -> None:
        picture = Image.fromarray(np.asarray(pixels).astype(np.uint8), "RGB")
        picture.save(FOLDER / part / (name.replace(".", "_") + ".png"), optimize=True)

    def write(name: str, content: bytes, by_rule: np.ndarray | None = None) -> None:
        (FOLDER / name).write_bytes(content)
        opened = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
        save(np.asarray(opened), "pillow", name)
        if by_rule is not None:
            save(by_rule, "by_rule", name)

    write_pngs(write)
    write_jpegs(write)
    write_webps(write)


if __name__ == "__main__":
    main()
