"""What the tests of the Python package share. They run against an installed package; the program is the oracle."""

import json
import os
import shutil
import subprocess

import pytest

import lasnet
from repository import DEMO, PHOTO, ROOT


@pytest.fixture(scope="session", autouse=True)
def in_root(tmp_path_factory):
    """Examples name files of the repository; no test sees the profile that `lasnet calibrate` may have left."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.chdir(ROOT)


@pytest.fixture(scope="session")
def model():
    return lasnet.load(DEMO)


@pytest.fixture(scope="session")
def session(model):
    return lasnet.Session(model, threads=1)


@pytest.fixture(scope="session")
def x(model):
    return model.preprocess(PHOTO)


@pytest.fixture(scope="session")
def result(session, x):
    return session.run(x)


@pytest.fixture(scope="session")
def tiny():
    """A network whose run takes next to nothing."""
    return lasnet.create("resnet18", granularity="4-4-2-1", width=0.125, classes=10, stem="small", seed=3)


@pytest.fixture(scope="session")
def program():
    """Runs the program and returns what it prints as JSON."""
    path = os.environ.get("LASNET_PROGRAM") or shutil.which("lasnet")
    if path is None:
        pytest.skip("the program lasnet is not here to compare with (LASNET_PROGRAM)")

    def run(*arguments):
        command = [path, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return run
