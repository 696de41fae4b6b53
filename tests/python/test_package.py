"""What is installed: its version, licence, types; what importing does."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lasnet
from lasnet import _core
from repository import ROOT

PACKAGE = Path(lasnet.__file__).parent


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_version_is_the_projects():
    wanted = re.search(r"project\(lasnet VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())
    assert lasnet.__version__ == importlib.metadata.version("lasnet") == wanted[1]


def test_licence():
    metadata = importlib.metadata.metadata("lasnet")
    assert metadata["License-Expression"] == "Apache-2.0"
    licence = next(file for file in importlib.metadata.files("lasnet") if file.name == "LICENSE")
    assert licence.locate().read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_stable_abi():
    """One module for every CPython from 3.10 on, which asks for no symbol outside the stable ABI."""
    assert [file.name for file in PACKAGE.glob("_core*.so")] == ["_core.abi3.so"]
    tags = importlib.metadata.distribution("lasnet").read_text("WHEEL")
    assert "Tag: cp310-abi3-" in tags


def test_import_is_light():
    """NumPy and PIL come with the first array and image; no thread is started."""
    loaded = python("import lasnet, sys, os; print([m for m in ('numpy', 'PIL', 'torch') if m in sys.modules])")
    assert loaded == "[]"
    assert python("import lasnet, os; print(len(os.listdir('/proc/self/task')))") == "1"


def test_no_output():
    """Nothing is printed at the end either, when objects are still alive."""
    code = "import lasnet; m = lasnet.create('resnet18', width=0.125); s = lasnet.Session(m, threads=2)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_processor_without_avx2():
    """No module's constructor uses an instruction beyond the processor's; kernels are chosen when sessions are made."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("needs an emulator of older processors (Debian's qemu-user)")
    if "LASNET_SANITIZED" in os.environ:
        pytest.skip("sanitizers do not run in the emulator")
    code = (
        "import lasnet, numpy; m = lasnet.create('resnet18', granularity='4-4-2-1', width=0.125, stem='small');"
        "s = lasnet.Session(m, threads=2); y = s.run(numpy.ones((1, 3, 32, 32), 'f4')).logits;"
        "print(lasnet.available_isas(), s.isa, numpy.isfinite(y).all())"
    )
    done = subprocess.run([emulator, "-cpu", "Nehalem", sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "['scalar'] scalar True", done.stderr


def test_names():
    assert set(lasnet.__all__) <= set(dir(lasnet))
    assert lasnet.Error.__module__ == lasnet.Session.__module__ == lasnet.load.__module__ == "lasnet"
    assert issubclass(lasnet.Error, RuntimeError)


def test_stub_has_the_modules_names():
    """Which argument is which is held by everything that calls it, checked by mypy below."""
    names = set()
    for node in ast.parse((PACKAGE / "_core.pyi").read_text()).body:
        if isinstance(node, ast.AnnAssign):
            names.add(node.target.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
            members = [part.name for part in getattr(node, "body") if isinstance(part, ast.FunctionDef)]
            assert all(hasattr(getattr(_core, node.name), member) for member in members)
    assert names == {name for name in dir(_core) if not name.startswith("_")}


def test_types(tmp_path):
    pytest.importorskip("mypy")
    assert (PACKAGE / "py.typed").exists() and (PACKAGE / "_core.pyi").exists()
    (tmp_path / "user.py").write_text(
        "import lasnet\n"
        "model = lasnet.load('a.safetensors', granularity=(4, 4, 2, 1))\n"
        "result = lasnet.Session(model, threads=2).run(model.preprocess(['a.jpg', b'']))\n"
        "best: list[list[tuple[str, float]]] = result.top(5)\n"
        "ratio: float = result.trace.macs_ratio\n"
        "seconds: float = lasnet.predict_latency('resnet50', hardware='tx2').dynamic_seconds\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache"]
    modules = [f"-mlasnet.{file.stem}" for file in sorted(PACKAGE.glob("_[a-z]*.py"))]
    for checked in (["user.py"], ["-mlasnet", *modules]):
        done = subprocess.run([*map(str, command), *checked], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
