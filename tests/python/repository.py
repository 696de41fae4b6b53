"""Files of the repository that the tests use."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "models/demo.safetensors"
PHOTO = ROOT / "samples/bird_nuthatch.jpg"
