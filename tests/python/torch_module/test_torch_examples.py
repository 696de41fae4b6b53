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


def run(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE), os.environ.get("PYTHONPATH", "")])}
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
