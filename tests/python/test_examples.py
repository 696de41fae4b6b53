"""The programs and the notebook of examples/python."""

import shutil
import subprocess
import sys

import pytest

from repository import DEMO, ROOT

EXAMPLES = ROOT / "examples/python"


def classify(*arguments):
    command = [sys.executable, EXAMPLES / "classify_folder.py", *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True)


def test_classify_folder(tmp_path):
    for name in ("bird_nuthatch", "flower_dahlia"):
        shutil.copy(ROOT / f"samples/{name}.jpg", tmp_path)
    done = classify(DEMO, tmp_path, "--threads", 2)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == ""
    assert [line.split()[0] for line in lines] == ["bird", "flower"]
    (tmp_path / "broken.png").write_bytes(b"nothing")
    done = classify(DEMO, tmp_path)
    assert done.returncode == 1 and done.stdout.splitlines() == lines
    assert "broken.png" in done.stderr and "Traceback" not in done.stderr
    assert "Traceback" not in classify("none.safetensors", tmp_path).stderr


def test_notebook():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(EXAMPLES / "masks.ipynb", as_version=4)
    resources = {"metadata": {"path": str(ROOT)}}
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=600, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
    assert any("bird" in str(output) for output in outputs)
