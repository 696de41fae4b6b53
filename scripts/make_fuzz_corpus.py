#!/usr/bin/env python3
"""Writes tests/fuzz/corpus/<reader>/*: small valid inputs from which fuzzing starts.

Needs python3-numpy and python3-pil.
"""

import io
import json
import pathlib
import struct
import zipfile

import numpy as np
from PIL import Image

TESTS = pathlib.Path(__file__).parent.parent / "tests"
CORPUS = TESTS / "fuzz" / "corpus"
CHECKPOINTS = TESTS / "model" / "data" / "torch-2.15"


def write(name: str, content: bytes) -> None:
    path = CORPUS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def metadata() -> str:
    return json.dumps({
        "version": 1,
        "architecture": {"name": "resnet18", "width": 0.5, "classes": 2, "stem": "small", "granularity": "4-4-2-1"},
        "class_names": ["cat", "dog"],
        "preprocessing": {"resize": 146, "crop": 128, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        "masker": {"kind": "mean-pool-conv1x1", "logits": 2},
        "training": {"epochs": 3},
    })


def tuned_metadata() -> str:
    """A network with operating points."""
    described = json.loads(metadata())
    points = [{"macs_ratio": macs, "top1": 0.4 + macs / 2, "thresholds": [0.5 - macs] * 8, "rates": [macs] * 8,
               "predicted_ms": {"tx2": 10 * macs}} for macs in (0.25, 0.5)]
    return json.dumps(described | {"operating_points": {"version": 1, "points": points}})


def safetensors(tensors: dict, values: bytes, info: dict | None = None) -> bytes:
    header = json.dumps(({"__metadata__": info} if info else {}) | tensors).encode()
    return struct.pack("<Q", len(header)) + header + values


def entry(dtype: str, shape: list, begin: int, end: int) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def state_dict_pickle() -> bytes:
    """A training checkpoint's pickle, by hand: importing PyTorch is not needed for it."""
    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    tensor = (b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0")
              + text("cpu") + b"K\x06tQK\x00K\x02K\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)RtRq\x01")
    namespace = b"cargparse\nNamespace\n)\x81}" + text("lr") + b"G" + struct.pack(">d", 0.1) + b"sb"
    return (b"\x80\x02}(" + text("state_dict") + b"}(" + text("module.a") + tensor + text("b")
            + b"ctorch._utils\n_rebuild_parameter\nh\x01\x88N\x87Ru" + text("args") + namespace + text("size")
            + b"ctorch\nSize\nK\x01K\x02\x86\x85R" + text("list") + b"](K\x01\x8a\x01\xffM\x00\x01Neu.")


def archive(pickle: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, content in (("data.pkl", pickle), ("byteorder", b"little"), ("data/0", bytes(24)), ("version", b"3\n")):
            file.writestr(zipfile.ZipInfo("a/" + name), content)
    return buffer.getvalue()


def image(mode: str, kind: str, **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 4), dtype=np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(pixels, "CMYK" if mode == "CMYK" else "RGBA").convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def main() -> None:
    write("metadata/dynamic", metadata().encode())
    write("metadata/tuned", tuned_metadata().encode())
    write("metadata/static", metadata().replace("4-4-2-1", "static").replace("small", "imagenet").encode())

    write("safetensors/empty", safetensors({}, b""))
    write("safetensors/types", safetensors({
        "a": entry("F32", [2], 0, 8), "b": entry("F16", [1, 3], 8, 14), "c": entry("BF16", [], 14, 16),
        "d": entry("F64", [1], 16, 24), "e": entry("I64", [1], 24, 32)}, bytes(32)))
    write("safetensors/metadata", safetensors({"x": entry("F32", [0, 4], 0, 0)}, b"", {"lasnet": metadata()}))

    write("npy/f32", npy(np.ones((1, 3, 2), np.float32)))
    write("npy/u8", npy(np.ones((5,), np.uint8)))
    write("npy/bool", npy(np.ones((2, 2), bool)))

    write("pickle/checkpoint", state_dict_pickle())
    write("pickle/protocol4", b"\x80\x04\x95\x12\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x05torch\x8c\x04Size\x93Nu.")
    write("pytorch/checkpoint", archive(state_dict_pickle()))
    for name in ("nested", "parameters", "strided"):
        checkpoint = (CHECKPOINTS / f"{name}.pth").read_bytes()
        write(f"pytorch/{name}", checkpoint)
        with zipfile.ZipFile(io.BytesIO(checkpoint)) as file:
            write(f"pickle/{name}", file.read(f"{name}/data.pkl"))
    write("pytorch/legacy", (CHECKPOINTS / "legacy.pth").read_bytes())
    tensor = {"name": "input", "datatype": "FP32", "shape": [1, 2]}
    body = {"id": "1", "parameters": {"macs": 0.5}, "inputs": [tensor | {"data": [[1, -2.5e0]]}],
            "outputs": [{"name": "logits", "parameters": {"binary_data": True, "classification": 2}}]}
    write("serve/json", b"\x01" + json.dumps(body).encode())
    texts = {"name": "image", "datatype": "BYTES", "shape": [2]}
    write("serve/base64", b"\x01" + json.dumps({"inputs": [texts | {"data": ["AA==", "/9j/"]}]}).encode())
    binary = [tensor | {"parameters": {"binary_data_size": 8}}, texts | {"parameters": {"binary_data_size": 11}}]
    header = json.dumps({"inputs": binary}).encode()
    write("serve/binary", b"\x02%d " % len(header) + header + bytes(8) + b"\x03\0\0\0abc\0\0\0\0")
    write("serve/image", b"\x020 \xff\xd8\xff")
    write("serve/head", b"\0POST /v2/models/demo/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nContent-Encoding: gzip\r\n"
                        b"Range: bytes=0-1\r\n\r\n")
    write("serve/chunked", b"\0POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
    write("config/demo", (TESTS.parent / "models" / "demo.toml").read_bytes())
    write("config/arrays", b"granularity = [4, 4, 2, 1]\nlr = 1e-3\nflip = false\nseed = 0x10\n")

    for path in (TESTS / "model" / "data" / "tar").glob("*.tar"):
        # Without most of the zeros at the end.
        content = path.read_bytes()
        blocks = -(-len(content.rstrip(b"\0")) // 512)
        write(f"tar/{path.stem}", content[:blocks * 512] + bytes(512))

    exif = Image.Exif()
    exif[0x0112] = 6
    write("image/rgb.jpg", image("RGB", "JPEG", exif=exif))
    write("image/progressive.jpg", image("RGB", "JPEG", progressive=True))
    write("image/grey.jpg", image("L", "JPEG"))
    write("image/cmyk.jpg", image("CMYK", "JPEG"))
    write("image/lossy.webp", image("RGB", "WEBP"))
    write("image/lossless_alpha.webp", image("RGBA", "WEBP", lossless=True, exif=exif))
    # A text that claims 2 GiB.
    write("image/long_text.png", image("L", "PNG")[:33] + b"\x7f\xff\xff\xfftEXt")
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"):
        write(f"image/{mode.replace(';', '')}.png", image(mode, "PNG"))


if __name__ == "__main__":
    main()
