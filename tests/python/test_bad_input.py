"""Bad input is a lasnet.Error or a TypeError that names the argument, and never ends the process."""

import os
import warnings

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import lasnet
from repository import DEMO, PHOTO

EXAMPLES = int(os.environ.get("LASNET_FUZZ_EXAMPLES", "300"))
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

GOOD = numpy.zeros((1, 3, 32, 32), numpy.float32)


@pytest.fixture(scope="module")
def tiny_session(tiny):
    return lasnet.Session(tiny, threads=1)


@pytest.mark.parametrize(
    "x, message",
    [
        (GOOD.astype(numpy.float64), "expected float32 .*, got float64"),
        (GOOD.astype(">f4"), "dtype >f4"),
        (GOOD.astype(object), "dtype object"),
        (GOOD.astype(numpy.uint8), "got uint8"),
        (GOOD.astype(bool), "got bool"),
        (GOOD.astype(numpy.complex64), "got complex64"),
        (numpy.zeros(3, [("a", "f4"), ("b", "u1")])["a"], "x"),
        ([[0.0]], "got an object of type list"),
        (None, "got an object of type NoneType"),
        ("photo.jpg", "got an object of type str"),
        (1.5, "got an object of type float"),
        (b"abc", "got uint8"),
    ],
)
def test_wrong_types(tiny_session, x, message):
    with pytest.raises(TypeError, match=f"x: .*{message}"):
        tiny_session.run(x)


@pytest.mark.parametrize(
    "x, message",
    [
        (GOOD.transpose(0, 2, 3, 1), "this is NHWC"),
        (GOOD[0], "give x\\[None\\]"),
        (GOOD[:0], "N >= 1"),
        (GOOD[:, :2], "expected \\[N, 3, H, W\\]"),
        (GOOD[..., :31], "H, W >= 32"),
        (GOOD.ravel(), "expected"),
        (numpy.float32(0).reshape(()), "shape \\[\\]"),
        (numpy.full_like(GOOD, numpy.nan), "NaN at image 0, channel 0, row 0, column 0"),
        (numpy.full_like(GOOD, -numpy.inf), "infinity at image 0"),
        (numpy.broadcast_to(GOOD[:, :, :1, :1], (1, 3, 10**6, 10**6)), "1000000"),
        (numpy.broadcast_to(GOOD[:, :, :1, :1], (10**6, 3, 32768, 32768)), "1000000"),
        (numpy.broadcast_to(GOOD[:, :, :1, :1], (65535, 3, 8192, 8192)), "65535 images of 8192 x 8192"),
    ],
)
def test_wrong_values(tiny_session, x, message):
    with pytest.raises(lasnet.Error, match=message):
        tiny_session.run(x)


def test_more_than_the_memory(session):
    """Refused before anything is copied."""
    x = numpy.broadcast_to(GOOD[:, :, :1, :1], (2000, 3, 1024, 1024))
    with pytest.raises(lasnet.Error, match="2000 images of 1024 x 1024 px needs .* GiB of memory"):
        session.run(x)


def test_more_prepared_images_than_the_memory(model):
    image = numpy.zeros((10, 10, 3), numpy.uint8)
    large = lasnet.Preprocessing(resize=8192, crop=0)
    with pytest.raises(lasnet.Error, match="1000 images of 8192 x 8192 px needs .* GiB of memory"):
        model.preprocess([image] * 1000, preprocessing=large)


def test_one_value_that_is_not_finite_is_found(tiny_session):
    x = numpy.zeros((3, 3, 40, 50), numpy.float32)
    x[2, 1, 7, 11] = numpy.nan
    with pytest.raises(lasnet.Error, match="x: NaN at image 2, channel 1, row 7, column 11"):
        tiny_session.run(x)
    x[2, 1, 7, 11] = numpy.finfo(numpy.float32).max
    tiny_session.run(x)


@pytest.mark.parametrize(
    "image",
    ["models", "no such file.jpg", "README.md", "a\0b", b"", b"GIF89a", [], ["samples"], numpy.zeros((0, 4, 3), "u1")],
)
def test_images_that_cannot_be_read(model, image):
    with pytest.raises(lasnet.Error):
        model.preprocess(image)


@pytest.mark.parametrize("image", [5, None, object(), [None], numpy.zeros((4, 4, 3)), {"a": 1}, lambda: 0])
def test_images_that_are_none(model, image):
    with pytest.raises(TypeError, match="images"):
        model.preprocess(image)


@pytest.mark.parametrize(
    "shape, hint", [((3, 40, 40), "CHW"), ((2, 40, 40, 3), "list"), ((40, 40), "grey"), ((40, 40, 4), "shape")]
)
def test_images_of_another_shape(model, shape, hint):
    with pytest.raises(lasnet.Error, match=f"images: .*{hint}"):
        model.preprocess(numpy.zeros(shape, numpy.uint8))
    with pytest.raises(lasnet.Error, match=r"images\[1\]"):
        model.preprocess([PHOTO, numpy.zeros(shape, numpy.uint8)])


@pytest.mark.parametrize(
    "options, name",
    [
        (dict(threads=0), "threads"),
        (dict(threads=1025), "threads"),
        (dict(threads=10**30), "threads"),
        (dict(backend="gpu"), "backend"),
        (dict(backend="cuda", isa="avx2"), "isa"),
        (dict(isa="avx99"), "avx99"),
        (dict(precision="fp16"), "precision"),
        (dict(schedule="masker=fast"), "fast"),
    ],
)
def test_wrong_options(tiny, options, name):
    with pytest.raises(lasnet.Error, match=name):
        lasnet.Session(tiny, **options)


@pytest.mark.parametrize(
    "options", [dict(threads="2"), dict(threads=1.0), dict(threads=True), dict(backend=1), dict(isa=2), dict(schedule=b"")]
)
def test_options_of_a_wrong_type(tiny, options):
    with pytest.raises(TypeError, match=next(iter(options))):
        lasnet.Session(tiny, **options)
    with pytest.raises(TypeError, match="model"):
        lasnet.Session(str(DEMO))


@pytest.mark.parametrize(
    "arguments, name",
    [
        (dict(path="models"), "models"),
        (dict(path="none.safetensors"), "none.safetensors"),
        (dict(path="README.md"), "README.md"),
        (dict(path=""), "path"),
        (dict(path=DEMO, arch="resnet5"), "resnet5"),
        (dict(path=DEMO, arch="resnet18"), "demo"),
        (dict(path=DEMO, granularity="4-4"), "granularity|S"),
        (dict(path=DEMO, granularity="0-4-2-1"), "0"),
        (dict(path=DEMO, state_dict="ema"), "ema"),
        (dict(path=DEMO, classes=7), "7 classes"),
        (dict(path=DEMO, classes=0), "classes"),
        (dict(path=DEMO, width=-1), "width"),
        (dict(path=DEMO, width=float("inf")), "width"),
        (dict(path=DEMO, class_names=["a"]), "class_names"),
        (dict(path=DEMO, stem="large"), "large"),
        (dict(path=DEMO, se_pool="all"), "all"),
    ],
)
def test_models_that_cannot_be_loaded(arguments, name):
    with pytest.raises(lasnet.Error, match=name):
        lasnet.load(**arguments)


@pytest.mark.parametrize(
    "arguments, name",
    [
        (dict(path=5), "path"),
        (dict(path=b"a"), "path"),
        (dict(path=DEMO, arch=5), "arch"),
        (dict(path=DEMO, granularity=4.5), "granularity"),
        (dict(path=DEMO, granularity=[4, "4"]), r"granularity\[1\]"),
        (dict(path=DEMO, class_names="abc"), "class_names"),
        (dict(path=DEMO, preprocessing=dict(crop=1)), "preprocessing"),
        (dict(path=DEMO, width="1"), "width"),
    ],
)
def test_arguments_of_load_of_a_wrong_type(arguments, name):
    with pytest.raises(TypeError, match=name):
        lasnet.load(**arguments)


@pytest.mark.parametrize(
    "arguments, name",
    [
        (dict(network="resnet5"), "resnet5"),
        (dict(network="models"), "models"),
        (dict(network="resnet18", hardware="tx3"), "tx3"),
        (dict(network="resnet18", rate=1.5), "rate"),
        (dict(network="resnet18", rate=float("nan")), "rate"),
        (dict(network="resnet18", batch=0), "batch"),
        (dict(network="resnet18", size=16), "size"),
        (dict(network="resnet18", size=(224, 224, 3)), "size"),
        (dict(network="resnet18", precision="fp64"), "fp64"),
        (dict(network="resnet18", schedule="fast"), "fast"),
        (dict(network="resnet18", equations="other"), "other"),
    ],
)
def test_questions_without_an_answer(arguments, name):
    network = arguments.pop("network")
    with pytest.raises(lasnet.Error, match=name):
        lasnet.predict_latency(network, **arguments)
    with pytest.raises(lasnet.Error, match=name):
        lasnet.search(network, **arguments)


def test_searches_without_an_answer():
    with pytest.raises(lasnet.Error, match="network: .* UTF-8"):
        lasnet.search(os.fsdecode(b"\xff.safetensors"))
    for given in (dict(macs=0.5, budget_ms=3), dict(rate=0.5, budget_ms=3), dict(rate=0.5, macs=0.5)):
        with pytest.raises(lasnet.Error, match="rate, macs, budget_ms: give one of them"):
            lasnet.search("resnet18", **given)
    with pytest.raises(lasnet.Error):
        lasnet.search("resnet18", hardware="tx2", budget_ms=1e-9)
    with pytest.raises(lasnet.Error):
        lasnet.search("resnet18", candidates=[])
    with pytest.raises(lasnet.Error, match="candidates"):
        lasnet.search("resnet18", candidates=[0])
    with pytest.raises(TypeError, match=r"candidates\[1\]"):
        lasnet.search("resnet18", candidates=[1, "layers"])
    with pytest.raises(lasnet.Error, match="max_patch_share"):
        lasnet.search("resnet18", max_patch_share=0)
    with pytest.raises(TypeError, match="network"):
        lasnet.search(5)
    with pytest.raises(TypeError, match="rate"):
        lasnet.search("resnet18", rate="half")


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (dict(thresholds="high"), TypeError, "thresholds"),
        (dict(thresholds=[0.1, "high"]), TypeError, r"thresholds\[1\]"),
        (dict(thresholds=[0.1, 0.2]), lasnet.Error, "thresholds: 2 values; resnet18 has 8 blocks"),
        (dict(thresholds=float("nan")), lasnet.Error, "thresholds"),
        (dict(thresholds=1e300), lasnet.Error, "thresholds"),
        (dict(thresholds=0.1, macs=0.5), lasnet.Error, "give one of them"),
        (dict(macs=0.5, budget_ms=5), lasnet.Error, "give one of them"),
        (dict(dense=True, macs=0.5), lasnet.Error, "leave out thresholds, macs and budget_ms"),
        (dict(dense=True, thresholds=0), lasnet.Error, "leave out thresholds, macs and budget_ms"),
        (dict(hardware="tx2"), lasnet.Error, "budget_ms"),
        (dict(macs="half"), TypeError, "macs"),
        (dict(macs=0.5), lasnet.Error, "no operating points"),
        (dict(budget_ms=5, hardware="tx3"), lasnet.Error, "tx3"),
        (dict(budget_ms=float("inf")), lasnet.Error, "budget_ms"),
    ],
)
def test_budgets_that_cannot_be_met(tiny_session, arguments, error, message):
    with pytest.raises(error, match=message):
        tiny_session.run(GOOD, **arguments)


def test_quantizing_without_sense(tiny, tmp_path):
    images = [numpy.zeros((64, 64, 3), numpy.uint8)] * 16
    with pytest.raises(TypeError, match="model"):
        lasnet.quantize("resnet18", images)
    with pytest.raises(TypeError, match="images"):
        lasnet.quantize(tiny, "photo.jpg")
    with pytest.raises(lasnet.Error, match="method"):
        lasnet.quantize(tiny, images, method="best")
    with pytest.raises(lasnet.Error, match="images"):
        lasnet.quantize(tiny, [])
    with pytest.raises(lasnet.Error, match="absent.png"):
        lasnet.quantize(tiny, ["absent.png"])
    with pytest.raises(lasnet.Error, match="not quantized"):
        lasnet.clipped_shares(tiny, images)

    def stop(share):
        raise KeyError(share)

    with pytest.raises(KeyError):
        lasnet.quantize(tiny, images, progress=stop)
    grey = lasnet.quantize(tiny, [numpy.full((64, 64, 3), 128, numpy.uint8)] * 16)
    with pytest.raises(lasnet.Error, match="quantized already"):
        lasnet.quantize(grey, images)
    with pytest.raises(lasnet.Error, match="stays fp32"):
        grey.save(tmp_path / "grey.safetensors", dtype="fp16")
    noise = numpy.random.default_rng(0).integers(0, 256, (64, 64, 3), numpy.uint8)
    with pytest.warns(UserWarning, match="images: the scale of the map .* clips"):
        assert max(lasnet.clipped_shares(grey, [noise]).values()) > 0.01


def test_what_a_file_is_not_made_for_is_warned_of(tmp_path):
    path = tmp_path / "m.safetensors"
    lasnet.create("resnet18", granularity="4-4-2-1", width=0.125, classes=10).save(path)
    with pytest.warns(UserWarning, match="granularity 2-2-2-2: .* is made for 4-4-2-1; its maskers do not know") as seen:
        lasnet.load(path, granularity="2-2-2-2")
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match="without masks its weights are not what they were fitted to"):
        lasnet.load(path, granularity="static")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lasnet.load(path, granularity="4-4-2-1")
        lasnet.load(path)


def test_tuning_on_few_images_is_warned_of(tiny):
    images = [numpy.zeros((64, 64, 3), numpy.uint8)] * 100
    labels = [0] * 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lasnet.tune(tiny, images, labels, points=2, deciding_images=1)
    with pytest.warns(UserWarning, match="images: top-1 of 25 images has a standard error of up to 10 %"):
        lasnet.tune(tiny, images[:25], labels[:25], points=2, deciding_images=1)


def test_tuning_without_sense(tiny):
    images = [numpy.zeros((64, 64, 3), numpy.uint8)] * 2
    with pytest.raises(lasnet.Error, match="labels: 1 for 2 images"):
        lasnet.tune(tiny, images, [0])
    with pytest.raises(lasnet.Error, match=r"labels\[1\]: 10; expected 0 to 9"):
        lasnet.tune(tiny, images, [0, 10])
    with pytest.raises(lasnet.Error, match="points"):
        lasnet.tune(tiny, images, [0, 1], points=1)
    with pytest.raises(lasnet.Error, match="without images"):
        lasnet.tune(tiny, [], [])
    with pytest.raises(lasnet.Error, match="static network"):
        lasnet.tune(lasnet.create("resnet18", width=0.125, classes=10), images, [0, 1])
    with pytest.raises(lasnet.Error, match="backbone without a classifier"):
        lasnet.tune(lasnet.create("resnet18", granularity="4-4-2-1", width=0.125, classes=0), images, [0, 1])
    with pytest.raises(lasnet.Error, match="absent.png"):
        lasnet.tune(tiny, ["absent.png"], [0])
    with pytest.raises(TypeError, match="model"):
        lasnet.tune("resnet18", images, [0, 1])
    with pytest.raises(TypeError, match="images"):
        lasnet.tune(tiny, "photo.jpg", [0])

    def stop(share):
        raise KeyError(share)

    with pytest.raises(KeyError):
        lasnet.tune(tiny, images, [0, 1], progress=stop)


def test_files_that_cannot_be_written(tiny, tmp_path):
    with pytest.raises(lasnet.Error, match="safetensors"):
        tiny.save(tmp_path / "model.pth")
    with pytest.raises(lasnet.Error, match="dtype"):
        tiny.save(tmp_path / "model.safetensors", dtype="int8")
    with pytest.raises(lasnet.Error, match="none"):
        tiny.save(tmp_path / "none" / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


NUMBERS = st.one_of(
    arrays.floating_dtypes(), arrays.integer_dtypes(), arrays.unsigned_integer_dtypes(), arrays.boolean_dtypes(),
    arrays.complex_number_dtypes(), arrays.byte_string_dtypes(), arrays.datetime64_dtypes(), st.just(numpy.dtype(object)),
)


@st.composite
def any_array(draw):
    """Any type and order, with shapes near those that are right."""
    dtype = draw(st.one_of(st.just(numpy.dtype("f4")), st.just(numpy.dtype("u1")), NUMBERS))
    side = st.sampled_from([0, 1, 3, 31, 32, 33, 40])
    shape = tuple(draw(st.lists(side, min_size=0, max_size=4)))
    shape = draw(st.sampled_from([shape, (1, 3, 32, 40), (2, 3, 33, 32), (40, 33, 3)]))
    values = numpy.zeros(shape, dtype)
    if dtype.kind in "fc" and values.size:
        value = draw(st.sampled_from([0, 1, -6e4, numpy.nan, numpy.inf]))
        values.reshape(-1)[draw(st.integers(0, values.size - 1))] = value
    if values.ndim:
        axis = draw(st.integers(0, values.ndim - 1))
        values = draw(
            st.sampled_from(
                [values, values[::-1], values.T, numpy.swapaxes(values, axis, -1), numpy.repeat(values, 2, axis=-1)[..., ::2]]
            )
        )
    return values


THINGS = st.one_of(
    any_array(), st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=200),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@fuzz
@given(x=THINGS)
def test_fuzz_run(tiny_session, x):
    try:
        result = tiny_session.run(x)
    except (lasnet.Error, TypeError) as error:
        assert "x" in str(error)
    else:
        assert x.dtype == numpy.float32 and x.shape[1] == 3
        assert result.logits.shape == (x.shape[0], 10)


@fuzz
@given(image=st.one_of(THINGS, st.lists(THINGS, max_size=3)))
def test_fuzz_preprocess(model, image):
    try:
        batch = model.preprocess(image, max_pixels=10**6)
    except (lasnet.Error, TypeError):
        return
    assert batch.shape[1:] == (3, 160, 160)


@pytest.mark.filterwarnings("ignore::UserWarning")  # files that are damaged and decoded all the same
@fuzz
@given(data=st.data())
def test_fuzz_damaged_files(model, data):
    contents = bytearray(PHOTO.read_bytes()[:20000])
    for _ in range(data.draw(st.integers(0, 8))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    del contents[data.draw(st.integers(0, len(contents))) :]
    try:
        model.preprocess(bytes(contents))
    except lasnet.Error as error:
        assert "images" in str(error)


WIDTHS = st.one_of(st.text(), st.sampled_from([0.125, 0, -1.0, 1e4, 1e300, 10**400, numpy.inf, numpy.nan]))


@fuzz
@given(
    width=WIDTHS,
    arguments=st.dictionaries(st.sampled_from(["granularity", "arch", "classes", "stem", "se_pool", "seed"]), THINGS),
)
def test_fuzz_create(width, arguments):
    if isinstance(arguments.get("classes"), int):
        arguments["classes"] %= 1000
    try:
        lasnet.create(arguments.pop("arch", "resnet18"), width=width, **arguments)
    except (lasnet.Error, TypeError):
        pass
