"""Preprocessing of every kind of image, and pictures."""

import io
import shutil

import numpy
import pytest
from PIL import Image

import lasnet
from repository import PHOTO

PIXELS = numpy.random.default_rng(1).integers(0, 256, (211, 300, 3), dtype=numpy.uint8)


def png_bytes(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def test_all_kinds_give_the_same(model, tmp_path):
    (tmp_path / "a.png").write_bytes(png_bytes(PIXELS))
    expected = model.preprocess(PIXELS)
    assert expected.shape == (1, 3, 160, 160) and expected.dtype == numpy.float32
    kinds = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        png_bytes(PIXELS),
        bytearray(png_bytes(PIXELS)),
        memoryview(png_bytes(PIXELS)),
        memoryview(PIXELS),
        Image.fromarray(PIXELS),
        Image.open(tmp_path / "a.png"),
        numpy.asfortranarray(PIXELS),
    ]
    for kind in kinds:
        assert numpy.array_equal(model.preprocess(kind), expected), type(kind)
    assert numpy.array_equal(model.preprocess(kinds), numpy.repeat(expected, len(kinds), axis=0))
    assert numpy.array_equal(model.preprocess(tuple(kinds[:2])), numpy.repeat(expected, 2, axis=0))


def test_torch(model):
    torch = pytest.importorskip("torch")
    assert numpy.array_equal(model.preprocess(torch.from_numpy(PIXELS)), model.preprocess(PIXELS))
    planes = torch.from_numpy(PIXELS.transpose(2, 0, 1).copy())
    assert numpy.array_equal(model.preprocess(planes.permute(1, 2, 0)), model.preprocess(PIXELS))


@pytest.mark.parametrize(
    "view",
    [
        lambda p: p[20:150, 30:200],
        lambda p: p[::2],
        lambda p: p[::-1],
        lambda p: p[:, ::-1],
        lambda p: p[:, ::3],
        lambda p: p[..., ::-1],
        lambda p: numpy.broadcast_to(p[:1], p.shape),
    ],
)
def test_views(view, model):
    seen = view(PIXELS)
    assert numpy.array_equal(model.preprocess(seen), model.preprocess(seen.copy()))


def test_equals_the_definition():
    """(value / 255 - mean) / std of pixels that are neither resized nor cropped."""
    tiny = lasnet.create("resnet18", width=0.125)
    chosen = lasnet.Preprocessing(resize=211, crop=0, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    mean, std = (numpy.array(v, numpy.float32) for v in (chosen.mean, chosen.std))
    expected = ((PIXELS.astype(numpy.float32) / numpy.float32(255) - mean) / std).transpose(2, 0, 1)[None]
    assert numpy.array_equal(tiny.preprocess(PIXELS, preprocessing=chosen), expected)


def test_pil_is_turned_upright_and_put_over_white(model):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    turned = png_bytes(PIXELS, exif=exif)
    assert numpy.array_equal(model.preprocess(Image.open(io.BytesIO(turned))), model.preprocess(turned))
    alpha = numpy.random.default_rng(2).integers(0, 256, (*PIXELS.shape[:2], 1), dtype=numpy.uint8)
    transparent = png_bytes(numpy.concatenate([PIXELS, alpha], axis=2))
    by_pil = model.preprocess(Image.open(io.BytesIO(transparent)))
    assert by_pil == pytest.approx(model.preprocess(transparent), abs=2 / 255)
    grey = Image.fromarray(PIXELS[..., 0])
    assert model.preprocess(grey) == pytest.approx(model.preprocess(numpy.repeat(PIXELS[..., :1], 3, axis=2)))


def test_sizes(model):
    whole = lasnet.Preprocessing(resize=96, crop=0)
    assert model.preprocess(PIXELS, preprocessing=whole).shape == (1, 3, 96, 136)
    with pytest.raises(lasnet.Error, match=r"images\[1\]: becomes \[136, 96\]"):
        model.preprocess([PIXELS, PIXELS.transpose(1, 0, 2)], preprocessing=whole)


def test_limits(model):
    with pytest.raises(lasnet.Error, match="max_pixels"):
        model.preprocess(PIXELS, max_pixels=100)
    with pytest.raises(lasnet.Error, match="pixels"):
        model.preprocess(png_bytes(PIXELS), max_pixels=100)


def test_damaged_jpeg_warns(model):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG")
    data = bytearray(file.getvalue())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    with pytest.warns(UserWarning, match="images"):
        model.preprocess(bytes(data))
    with pytest.raises(lasnet.Error, match="images"):
        model.preprocess(bytes(data), strict=True)


def test_preprocessing_is_checked():
    chosen = lasnet.Preprocessing(resize=100, crop=64, mean=[0, 0, 0], std=numpy.ones(3))
    assert chosen.std == (1.0, 1.0, 1.0)
    for wrong, name in [
        (dict(resize=0), "resize"),
        (dict(crop=-1), "crop"),
        (dict(resize=100, crop=101), "crop"),
        (dict(std=(1, 0, 1)), "std"),
        (dict(mean=(1, 2)), "mean"),
        (dict(mean=(float("nan"), 0, 0)), "mean"),
    ]:
        with pytest.raises(lasnet.Error, match=name):
            lasnet.Preprocessing(**wrong)
    with pytest.raises(TypeError, match="mean"):
        lasnet.Preprocessing(mean="imagenet")
    with pytest.raises(TypeError, match="resize"):
        lasnet.Preprocessing(resize=1.5)


def test_pictures(result, tmp_path):
    picture = lasnet.heat_map(PHOTO, result.trace, title="Nuthatch")
    assert picture.dtype == numpy.uint8 and picture.shape[2] == 3
    shown = Image.open(io.BytesIO(picture._repr_png_()))
    assert numpy.array_equal(numpy.asarray(shown), picture)
    assert Image.fromarray(picture).size == (picture.shape[1], picture.shape[0])
    assert picture[..., 0]._repr_png_() is None
    picture.save(tmp_path / "heat.png")
    assert numpy.array_equal(numpy.asarray(Image.open(tmp_path / "heat.png")), picture)
    with pytest.raises(lasnet.Error, match="ends in .png"):
        picture.save(tmp_path / "seen.jpg")
    with pytest.raises(lasnet.Error, match="none"):
        picture.save(tmp_path / "none" / "seen.png")


def test_pictures_show_what_the_network_saw(model, result):
    """A photograph is cropped as preprocessing does; what the network saw is taken as it is."""
    photo = numpy.asarray(Image.open(PHOTO).convert("RGB"))
    by_array = lasnet.mask_sheet(photo, result.trace)
    by_path = lasnet.mask_sheet(PHOTO, result.trace)
    assert abs(by_array.astype(int) - by_path).max() <= 16  # two JPEG decoders
    seen = (model.preprocess(PHOTO)[0].transpose(1, 2, 0) * 255).round().astype(numpy.uint8)
    assert lasnet.mask_sheet(seen, result.trace).ndim == 3
    with pytest.raises(lasnet.Error, match="image: of 20 x 10 px"):
        no_crop = lasnet.Preprocessing(resize=160, crop=0, mean=(0, 0, 0), std=(1, 1, 1))
        whole = lasnet.Session(model, threads=1).run(model.preprocess(PIXELS, preprocessing=no_crop))
        lasnet.heat_map(numpy.zeros((20, 10, 3), numpy.uint8), whole.trace)


def test_pictures_of_a_batch(model, session):
    batch = model.preprocess([PIXELS, PHOTO])
    trace = session.run(batch).trace
    single = session.run(batch[1:]).trace
    assert numpy.array_equal(lasnet.heat_map(PHOTO, trace, index=1)[50:], lasnet.heat_map(PHOTO, single)[50:])
    with pytest.raises(lasnet.Error, match="2"):
        lasnet.heat_map(PHOTO, trace, index=2)
    with pytest.raises(lasnet.Error, match="index: the trace is of 2 images; say which of them"):
        lasnet.heat_map(PHOTO, trace)


def test_pictures_refuse_what_has_no_masks(model, session, x, result):
    with pytest.raises(lasnet.Error, match="record"):
        lasnet.heat_map(PHOTO, session.run(x, record_masks=False).trace)
    with pytest.raises(TypeError, match="trace"):
        lasnet.heat_map(PHOTO, result)
    static = lasnet.create("resnet18", width=0.125)
    trace = lasnet.Session(static, threads=1).run(static.preprocess(PHOTO)).trace
    with pytest.raises(lasnet.Error):
        lasnet.heat_map(PHOTO, trace)
    with pytest.raises(TypeError, match="title"):
        lasnet.heat_map(PHOTO, result.trace, title=5)


def test_names_that_are_no_utf8(model, tmp_path):
    import os

    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    shutil.copy(PHOTO, name)
    assert model.preprocess(name).shape == (1, 3, 160, 160)
    with pytest.raises(lasnet.Error, match="cannot be opened"):
        model.preprocess(name + "x")
