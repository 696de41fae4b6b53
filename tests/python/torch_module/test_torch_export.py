"""The engine computes what the exported network computes; what cannot be exported is refused, and nothing written."""

import json
import subprocess

import numpy as np
import pytest
from torch_support import engine, hashed, network, read_safetensors, set_hashed_values, torch, torchvision

import lasnet.torch as lt


def run(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def trained(name, granularity="4-4-2-1", stem="imagenet", **options):
    """A network that has seen a batch in training, so that its maskers' statistics are not the initial ones."""
    net = lt.dynamic(network(name, stem=stem), granularity, **options)
    set_hashed_values(net).train()
    torch.manual_seed(1)
    with torch.no_grad():
        net(hashed("others", (4, 3, 64, 64), 1.7))
    return net.eval()


@pytest.mark.parametrize(
    "name, granularity, size, options",
    [
        ("resnet18", "4-4-2-1", (64, 64), {}),
        ("resnet18", "8-3-2-9", (48, 33), {"stem": "small"}),
        ("resnet50", "3-5-2-1", (97, 75), {"standardise_maskers": True}),
        ("resnext50_32x4d", "4-4-2-1", (64, 64), {}),
        ("wide_resnet50_2", "4-4-2-1", (64, 64), {}),
        ("regnet_y_400mf", "4-4-2-1", (64, 96), {"standardise_maskers": True}),
        ("regnet_y_800mf", "4-2-2-1", (64, 64), {}),
        ("regnet_y_1_6gf", "2-2-2-2", (64, 64), {}),
        ("resnet50", "4-layer-2-layer", (97, 75), {}),
    ],
)
def test_engine_computes_the_same(tmp_path, name, granularity, size, options):
    program = engine()
    net = trained(name, granularity, **options)
    images = hashed("images", (3, 3, *size), 1.7)
    with torch.no_grad():
        expected = net(images)
    lt.export(net, tmp_path / "model.safetensors")
    np.save(tmp_path / "x.npy", images.numpy())
    paths = [str(tmp_path / part) for part in ("model.safetensors", "x.npy", "y.npy", "masks")]
    run(program, "forward", paths[0], "--input", paths[1], "--output", paths[2], "--masks", paths[3])
    logits = torch.from_numpy(np.load(paths[2]))
    assert (logits - expected).abs().max() <= 1e-4 * expected.abs().max()
    for block, masks in zip(net.architecture.blocks, lt.block_masks(net)):
        mask = np.load(tmp_path / "masks" / f"{block}.npy")
        assert (mask == masks.mask[:, 0].numpy()).all(), block
    assert 0.1 < lt.rates(net).mean() < 0.9
    inspected = json.loads(run(program, "inspect", paths[0], "--json"))
    assert inspected["arch"]["name"] == name and inspected["arch"]["granularity"] == granularity


@pytest.mark.parametrize("name, stages", [("resnet18", ["layer2", "layer4"]), ("regnet_y_400mf", ["block1", "block3"])])
def test_a_backbone_is_written_without_a_classifier(tmp_path, name, stages):
    program = engine()
    net = trained(name, "3-5-2-1")
    net.fc = torch.nn.Identity()
    expected = {}
    for stage in stages:
        module = getattr(net if name.startswith("resnet") else net.trunk_output, stage)
        module.register_forward_hook(lambda _, __, output, stage=stage: expected.update({stage: output}))
    images = hashed("images", (3, 3, 97, 75), 1.7)
    with torch.no_grad():
        net(images)
    lt.export(net, tmp_path / "model.safetensors")
    np.save(tmp_path / "x.npy", images.numpy())
    paths = [str(tmp_path / part) for part in ("model.safetensors", "x.npy", "maps")]
    run(program, "forward", paths[0], "--input", paths[1], "--features", paths[2], "--maps", ",".join(stages))
    for stage, wanted in expected.items():
        maps = torch.from_numpy(np.load(tmp_path / "maps" / f"{stage}.npy"))
        assert (maps - wanted).abs().max() <= 1e-4 * wanted.abs().max(), stage
    with pytest.raises(ValueError, match="expected 0 names"):
        lt.export(net, tmp_path / "named.safetensors", classes=["a"])


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 0), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_file_holds_the_networks_values(tmp_path, dtype, tolerance):
    net = trained("resnet18")
    lt.export(net, tmp_path / "model.safetensors", dtype=dtype)
    tensors, _ = read_safetensors(tmp_path / "model.safetensors")
    state = {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert tensors.keys() == state.keys()
    for name, value in state.items():
        assert torch.allclose(tensors[name], value, rtol=tolerance, atol=tolerance * 1e-2), name
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_file_can_be_trained_on(tmp_path):
    net = trained("resnet18")
    lt.export(net, tmp_path / "model.safetensors")
    again = lt.dynamic(network("resnet18"), "4-4-2-1")
    tensors, _ = read_safetensors(tmp_path / "model.safetensors")
    missing, unexpected = again.load_state_dict(tensors, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    images = hashed("images", (2, 3, 64, 64))
    assert torch.equal(again.eval()(images), net(images))


def metadata(tmp_path, **options):
    lt.export(trained("resnet18"), tmp_path / "model.safetensors", **options)
    return json.loads(read_safetensors(tmp_path / "model.safetensors")[1]["lasnet"])


def test_metadata(tmp_path):
    names = ["a", "b", "c", "d", "e", "f", "ein Gänseblümchen"]
    preprocessing = {"resize": 96, "crop": 64, "mean": [0, 0, 0], "std": [1, 1, 1]}
    written = metadata(tmp_path, classes=names, preprocessing=preprocessing, training={"epochs": 3})
    assert written["class_names"] == names and written["preprocessing"] == preprocessing
    assert written["training"] == {"epochs": 3}
    assert written["architecture"] == {
        "name": "resnet18",
        "width": 0.25,
        "classes": 7,
        "stem": "imagenet",
        "granularity": "4-4-2-1",
    }
    inspected = json.loads(run(engine(), "inspect", str(tmp_path / "model.safetensors"), "--json"))
    assert names[-1] in json.dumps(inspected, ensure_ascii=False)


def test_preprocessing_of_torchvisions_weights(tmp_path):
    preset = torchvision.models.ResNet50_Weights.IMAGENET1K_V2.transforms()
    preprocessing = metadata(tmp_path, preprocessing=preset)["preprocessing"]
    assert (preprocessing["resize"], preprocessing["crop"]) == (232, 224)
    assert preprocessing["mean"] == [0.485, 0.456, 0.406] and preprocessing["std"] == [0.229, 0.224, 0.225]


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"classes": ["a", "b"]}, "classes: expected 7 names, one per logit, got 2"),
        ({"dtype": torch.float64}, "dtype: expected torch.float32"),
        ({"preprocessing": {"size": 224}}, r"preprocessing: unknown \['size'\]"),
        ({"preprocessing": {"resize": 64, "crop": 96}}, "0 <= crop <= resize, got 64 and 96"),
        ({"preprocessing": {"std": [1, 0, 1]}}, "3 positive deviations"),
        ({"preprocessing": {"mean": [0.5]}}, "3 finite means"),
        ({"training": {"loss": float("nan")}}, "not JSON compliant"),
    ],
)
def test_wrong_descriptions_are_refused(tmp_path, options, reason):
    with pytest.raises(ValueError, match=reason):
        lt.export(trained("resnet18"), tmp_path / "model.safetensors", **options)
    assert not list(tmp_path.iterdir())


def test_what_is_no_classifier_or_diverged_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("an older file")
    net = trained("resnet18")
    with pytest.raises(ValueError, match="Sequential holds no whole dynamic network"):
        lt.export(net.layer1, path)
    net.layer2[0].conv1.weight.data[0] = float("nan")
    with pytest.raises(ValueError, match="layer2.0.conv1.weight holds values that are not finite"):
        lt.export(net, path)
    net = trained("resnet18")
    net.fc = torch.nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match="its classifier 'fc' is Conv2d"):
        lt.export(net, path)
    assert path.read_text() == "an older file" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        lt.export(trained("resnet18"), tmp_path / "no folder" / "model.safetensors")
