"""The same numbers as the program prints."""

import numpy
import pytest
from PIL import Image

import lasnet
from repository import DEMO, PHOTO, ROOT


def test_run(program, result):
    printed = program("run", DEMO, PHOTO, "--json", "--repeat", 1)["images"][0]
    top = [(entry["class"], pytest.approx(entry["probability"], rel=1e-12)) for entry in printed["top"]]
    assert result.top(5) == [top]
    assert result.trace.macs_ratio == pytest.approx(printed["macs_ratio"], rel=1e-12)
    assert len(result.trace.blocks) == len(printed["blocks"])
    for block, other in zip(result.trace.blocks, printed["blocks"]):
        assert block.name == other["name"]
        assert block.granularity == other["granularity"]
        assert block.rate == pytest.approx(other["rate"], rel=1e-12)
        assert block.dilated_rate == pytest.approx(other["dilated_rate"], rel=1e-12)
        assert block.macs == pytest.approx(other["macs"], rel=1e-12)


def test_forward(program, session, x, tmp_path):
    batch = numpy.concatenate([x, x[..., ::-1]])
    numpy.save(tmp_path / "x.npy", batch)
    options = ["--output", tmp_path / "y.npy", "--masks", tmp_path / "masks", "--features", tmp_path / "maps"]
    program("forward", DEMO, "--input", tmp_path / "x.npy", *options)
    result = session.run(batch, features=[feature.name for feature in session.model.features])
    for name, values in result.features.items():
        assert numpy.array_equal(values, numpy.load(tmp_path / "maps" / f"{name}.npy"))
    assert numpy.array_equal(result.logits, numpy.load(tmp_path / "y.npy"))
    for block in result.trace.blocks:
        assert numpy.array_equal(block.mask, numpy.load(tmp_path / "masks" / f"{block.name}.npy"))
        assert block.mask.mean(axis=(1, 2)) == pytest.approx(block.rates)


def test_int8(program, x, tmp_path):
    path = tmp_path / "int8.safetensors"
    program("quantize", DEMO, "--images", ROOT / "samples", "-o", path)
    numpy.save(tmp_path / "x.npy", x)
    program("forward", path, "--precision", "int8", "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    model = lasnet.load(path)
    assert model.quantized and not lasnet.load(DEMO).quantized
    session = lasnet.Session(model, precision="int8")
    assert session.precision == "int8"
    assert numpy.array_equal(session.run(x).logits, numpy.load(tmp_path / "y.npy"))
    with pytest.raises(lasnet.Error, match="no int8 weights"):
        lasnet.Session(lasnet.load(DEMO), precision="int8")


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_quantize(program, model, x, method, tmp_path):
    samples = ROOT / "samples"
    written = tmp_path / "int8.safetensors"
    program("quantize", DEMO, "--images", samples, "--check", samples, "--method", method, "-o", written)
    photos = sorted(path for path in samples.iterdir() if path.suffix in (".jpg", ".png", ".webp"))
    shares = []
    with pytest.warns(UserWarning, match=f"images: scales were chosen on {len(photos)} images; expected 16 or more"):
        quantized = lasnet.quantize(model, photos, method=method, threads=1, progress=shares.append)
    assert len(shares) == len(photos) and shares[-1] == 1
    expected = lasnet.Session(lasnet.load(written), precision="int8").run(x)
    assert numpy.array_equal(lasnet.Session(quantized, precision="int8").run(x).logits, expected.logits)
    quantized.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == written.read_bytes()
    clipped = lasnet.clipped_shares(quantized, photos)
    assert clipped.keys() >= {"conv1", "layer1.0"} and max(clipped.values()) < 0.01


def test_pictures(program, result, tmp_path):
    program("run", DEMO, PHOTO, "--overlay", tmp_path, "--json", "--repeat", 1)
    name, probability = result.top(1)[0][0]
    title = f"{name} {100 * probability:.0f} %"
    heat = lasnet.heat_map(PHOTO, result.trace, title=title)
    sheet = lasnet.mask_sheet(PHOTO, result.trace, title=title)
    # Titles may be rounded otherwise; everything under them is the same.
    for picture, kind in ((heat, "heat"), (sheet, "masks")):
        printed = numpy.asarray(Image.open(tmp_path / f"{PHOTO.stem}.{kind}.png"))
        assert picture.shape == printed.shape
        assert numpy.array_equal(picture[50:], printed[50:])


def test_thresholds(program, session, x, tmp_path):
    numpy.save(tmp_path / "x.npy", x)
    for thresholds in (0.5, float("-inf"), [0.1 * i for i in range(16)]):
        text = ",".join(map(str, numpy.atleast_1d(thresholds)))
        program("forward", DEMO, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", f"--threshold={text}")
        result = session.run(x, thresholds=thresholds)
        assert numpy.array_equal(result.logits, numpy.load(tmp_path / "y.npy"))
    assert result.trace.macs_ratio < session.run(x).trace.macs_ratio
    for block, threshold in zip(result.trace.blocks, thresholds):
        side = block.granularity
        expected = (block.logit_difference >= numpy.float32(threshold)).repeat(side, 1).repeat(side, 2)
        assert numpy.array_equal(block.mask, expected[:, : block.height, : block.width])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of two labelled photographs of each class that has one."""
    folder = tmp_path_factory.mktemp("photos")
    for name, stem in (("bird", "bird_nuthatch"), ("flower", "dandelions"), ("fruit_vegetable", "fruit_fig")):
        (folder / name).mkdir()
        with Image.open(ROOT / "samples" / f"{stem}.jpg") as photo:
            photo.save(folder / name / "a.png")
            photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / name / "b.png")
    return folder


def test_tune(program, model, x, photos, tmp_path):
    options = "--points", 3, "--images", 4, "--batch", 2, "--seed", 5, "--hardware", "tx2"
    printed = program("tune", DEMO, photos, "-o", tmp_path / "tuned.safetensors", *options, "--json")["points"]
    paths = sorted(photos.glob("*/*.png"))
    labels = [model.class_names.index(path.parent.name) for path in paths]
    shares = []
    tuned = lasnet.tune(
        model, paths, labels, points=3, deciding_images=4, batch=2, seed=5, hardware=["tx2"], progress=shares.append
    )
    assert [vars(point) for point in tuned.operating_points] == [
        point | {"thresholds": tuple(point["thresholds"]), "rates": tuple(point["rates"])} for point in printed
    ]
    assert 0 < min(shares) and max(shares) <= 1
    assert lasnet.load(tmp_path / "tuned.safetensors").operating_points == tuned.operating_points
    assert tuned.training == model.training

    least, most = tuned.operating_points[0], tuned.operating_points[-1]
    session = lasnet.Session(tuned, threads=1)
    assert tuned.operating_point(macs=most.macs_ratio) == most
    expected = session.run(x, thresholds=least.thresholds)
    for budget in ({"macs": least.macs_ratio}, {"budget_ms": least.predicted_ms["tx2"] * 1.0000001, "hardware": "tx2"}):
        result = session.run(x, **budget)
        assert result.trace.macs_ratio == pytest.approx(expected.trace.macs_ratio, abs=0.01)
    assert session.run(x, budget_ms=1e6).trace.macs_ratio == pytest.approx(
        session.run(x, thresholds=most.thresholds).trace.macs_ratio
    )


def test_predict(program):
    printed = program("predict", "resnet101", "--hardware", "tx2", "--granularity", "4-4-2-1", "--rate", 0.5, "--json")
    latency = lasnet.predict_latency("resnet101", hardware="tx2", granularity=(4, 4, 2, 1), rate=0.5)
    assert 1e3 * latency.static_seconds == pytest.approx(printed["static_ms"], rel=1e-9)
    assert 1e3 * latency.dynamic_seconds == pytest.approx(printed["dynamic_ms"], rel=1e-9)
    assert latency.speedup == pytest.approx(printed["speedup"], rel=1e-9)
    assert latency.macs_ratio == pytest.approx(printed["macs_ratio"], rel=1e-9)
    assert (latency.batch, list(latency.size)) == (printed["batch"], printed["size"])
    for block, other in zip(latency.blocks, printed["blocks"], strict=True):
        assert (block.name, block.stage) == (other["name"], other["stage"])
        assert 1e6 * block.dynamic_seconds == pytest.approx(other["dynamic_us"], rel=1e-9)
        assert [part.name for part in block.operators] == [part["name"] for part in other["operators"]]
        assert [part.bound for part in block.operators] == [part["bound"] for part in other["operators"]]


def test_predict_defaults_are_the_programs(program, model):
    for hardware in ("v100", "cpu-avx2"):
        printed = program("predict", DEMO, "--hardware", hardware, "--json")
        for network in (model, DEMO):
            latency = lasnet.predict_latency(network, hardware=hardware)
            assert 1e3 * latency.dynamic_seconds == pytest.approx(printed["dynamic_ms"], rel=1e-9)
            assert (latency.batch, list(latency.size)) == (printed["batch"], printed["size"])
    static = lasnet.predict_latency("resnet18", granularity="static")
    assert static.dynamic_seconds == static.static_seconds
    assert lasnet.predict_latency("resnet18").dynamic_seconds * 1e3 == pytest.approx(
        program("predict", "resnet18", "--json")["dynamic_ms"], rel=1e-9
    )


def test_search(program):
    printed = program("search", "resnet50", "--hardware", "v100", "--budget-ms", 200, "--json")
    found = lasnet.search("resnet50", hardware="v100", budget_ms=200)
    assert found.granularity == printed["granularity"]
    assert found.rate == pytest.approx(printed["rate"], rel=1e-9)
    assert found.rates == pytest.approx(printed["rates"])
    assert 1e3 * found.latency.dynamic_seconds == pytest.approx(printed["dynamic_ms"], rel=1e-9)
    assert len(found.curves) == len(printed["curves"])
    assert [curve.chosen for curve in found.curves] == [curve["chosen"] for curve in printed["curves"]]


def test_predict_and_search_in_int8(program):
    options = dict(hardware="cpu-int8-avx512_vnni", precision="int8")
    arguments = "--hardware", "cpu-int8-avx512_vnni", "--precision", "int8", "--json"
    predicted = lasnet.predict_latency("resnet50", rate=0.4, **options)
    printed = program("predict", "resnet50", "--rate", 0.4, *arguments)
    assert predicted.dynamic_seconds == pytest.approx(printed["dynamic_ms"] / 1e3)
    assert predicted.speedup > 1.2
    assert lasnet.search("resnet50", **options).granularity == program("search", "resnet50", *arguments)["granularity"]
    with pytest.raises(lasnet.Error, match="cpu-avx2 predicts CPU kernels that compute in fp32"):
        lasnet.predict_latency("resnet50", hardware="cpu-avx2", precision="int8")


def test_predictions_print_in_a_line():
    found = lasnet.search("resnet50", hardware="tx2")
    for value in (found, found.latency, found.latency.blocks[0], *lasnet.hardware_profiles()):
        assert len(repr(value)) < 250 and "\n" not in repr(value)
    assert "S 4-4-2-1 at r 0.5" in repr(found) and "on tx2" in repr(found)
    assert "batch 1 of 224 x 224 px" in repr(found)


def test_search_among_layers(program):
    arguments = ("--candidates", "2,4,layer", "--max-patch-share", 1, "--rate", 0.5, "--json")
    printed = program("search", "resnet50", "--hardware", "v100", *arguments)
    found = lasnet.search("resnet50", hardware="v100", candidates=(2, 4, "layer"), max_patch_share=1)
    assert found.granularity == printed["granularity"]
    for curve, other in zip(found.curves, printed["curves"], strict=True):
        assert (curve.granularity, curve.coarse) == (other["granularity"], other["coarse"])
        assert (curve.patch_share, curve.saves) == pytest.approx((other["patch_share"], other["saves"]), rel=1e-9)
    assert sum(curve.granularity == "layer" for curve in found.curves) == 4


def test_layer_skipping(program, tmp_path):
    model = lasnet.create("resnet18", granularity=(4, 4, "layer", "layer"), width=0.125, classes=10, stem="small")
    assert model.granularity == "4-4-layer-layer"
    model.save(tmp_path / "m.safetensors")
    x = numpy.random.default_rng(1).standard_normal((3, 3, 48, 40)).astype(numpy.float32)
    trace = lasnet.Session(model).run(x).trace
    sides = [entry["granularity"] for entry in program("inspect", tmp_path / "m.safetensors", "--json")["blocks"]]
    assert [block.granularity for block in trace.blocks] == sides == [4] * 4 + ["layer"] * 4
    assert all(block.logit_difference.shape == (3, 1, 1) for block in trace.blocks[4:])


def test_convert(program, tmp_path):
    program("convert", DEMO, tmp_path / "a.safetensors", "--dtype", "bf16", "--json")
    converted = lasnet.convert(DEMO, tmp_path / "b.safetensors", dtype="bf16")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert converted.path == str(tmp_path / "b.safetensors")


def test_hardware_profiles():
    profiles = {profile.name: profile for profile in lasnet.hardware_profiles()}
    assert {"v100", "tx2", "nano", "cpu-avx2", "cuda-h100"} <= set(profiles)
    assert profiles["v100"].kind == "gpu"
    assert all(profile.description and profile.source for profile in profiles.values())


def test_a_profile_can_be_read_back(tmp_path):
    tx2 = next(profile for profile in lasnet.hardware_profiles() if profile.name == "tx2")
    (tmp_path / "copy.toml").write_text(tx2.toml)
    arguments = dict(granularity="4-4-2-1", rate=0.5)
    by_path = lasnet.predict_latency("resnet18", hardware=tmp_path / "copy.toml", **arguments)
    by_name = lasnet.predict_latency("resnet18", hardware="tx2", **arguments)
    assert by_path.dynamic_seconds == by_name.dynamic_seconds
