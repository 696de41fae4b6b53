"""The example programs do what they say, on pictures that are made here."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from torch_support import ROOT, engine, read_safetensors

import lasnet.torch

Image = pytest.importorskip("PIL.Image")
EXAMPLES = ROOT / "examples" / "python"
PACKAGE = pathlib.Path(lasnet.torch.__file__).parents[2]


def run(script, *arguments, package=PACKAGE):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, EXAMPLES / script, *map(str, arguments)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def image_folder(folder, images):
    """Two classes: a red and a blue square on noise."""
    random = np.random.default_rng(1)
    for part in ("train", "val"):
        for channel, name in ((0, "red"), (2, "blue")):
            (folder / part / name).mkdir(parents=True)
            for index in range(images):
                pixels = random.integers(0, 100, (80, 80, 3), dtype=np.uint8)
                pixels[20:60, 20:60, channel] = 255
                Image.fromarray(pixels).save(folder / part / name / f"{index}.png")


def test_finetune_writes_a_model_that_the_engine_runs(tmp_path):
    image_folder(tmp_path / "data", images=16)
    model = tmp_path / "model.safetensors"
    options = ["--arch", "resnet18", "--weights", "none", "--size", 64, "--batch", 8, "--target", 0.7]
    said = run("finetune.py", tmp_path / "data", "-o", model, *options, "--epochs", 3)
    assert len(re.findall(r"epoch \d: loss", said)) == 5 and "MACs over the static" in said
    metadata = json.loads(read_safetensors(model)[1]["lasnet"])
    assert metadata["class_names"] == ["blue", "red"] and metadata["preprocessing"]["crop"] == 64
    evaluated = subprocess.run(
        [engine(), "eval", model, tmp_path / "data" / "val", "--json"], check=True, capture_output=True, text=True
    )
    assert json.loads(evaluated.stdout)["images"] == 32


def test_finetune_is_short():
    assert len((EXAMPLES / "finetune.py").read_text().splitlines()) <= 80


def test_detector_learns_and_saves():
    said = run("detector.py", "--steps", 12, "--size", 96, "--batch", 2)
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", said)]
    assert losses[-1] < losses[0]
    assert float(re.search(r"MACs of the backbone: ([\d.]+)%", said).group(1)) < 100


@pytest.fixture
def compiled_package(tmp_path):
    """A folder with lasnet's wheel and what its compiled part needs, but not the NumPy beside them."""
    installed = pathlib.Path(os.environ.get("LASNET_WHEEL_VENV", "none"))
    found = [path for name in ("lasnet", "nanobind") for path in installed.glob(f"lib/python3*/site-packages/{name}*")]
    if not found:
        pytest.skip("the wheel is not here (the test PythonPackage makes it)")
    package = tmp_path / "package"
    package.mkdir()
    for path in found:
        (package / path.name).symlink_to(path)
    return package


def test_the_engine_runs_the_detectors_backbone(compiled_package):
    said = run("detector.py", "--steps", 3, "--size", 96, "--batch", 2, "--engine", package=compiled_package)
    overlaps = re.findall(r"overlap.*?(\d\.\d\d)", said)
    assert len(overlaps) == 2 and overlaps[0] == overlaps[1]
    assert float(re.search(r"maps differ by (\S+) of", said).group(1)) < 1e-3
