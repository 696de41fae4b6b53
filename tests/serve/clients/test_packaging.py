"""The files of packaging/, by the programs that read them."""

import re
import shutil
import subprocess

import pytest

from conftest import PROGRAM, TREE

UNIT = TREE / "packaging/lasnet-serve.service"
MAX_EXPOSURE = 2.0  # of 10, as systemd-analyze counts

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (package systemd)")


def analyse(*arguments):
    """What systemd-analyze says, and its exit code."""
    ended = subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
    return ended.returncode, ended.stdout + ended.stderr


@needs_systemd
def test_systemd_takes_the_unit(tmp_path):
    """Every setting is known; the program is one that exists here."""
    unit = tmp_path / UNIT.name
    text = UNIT.read_text()
    assert "/usr/bin/lasnet-serve" in text
    unit.write_text(text.replace("/usr/bin/lasnet-serve", str(PROGRAM)))
    code, said = analyse("verify", "--man=no", "--recursive-errors=no", unit)
    assert code == 0 and str(unit) not in said, said


@needs_systemd
def test_the_unit_is_confined():
    """Hardly anything is exposed to the service."""
    code, said = analyse("security", "--offline=true", f"--threshold={round(10 * MAX_EXPOSURE)}", "--no-pager", UNIT)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found, said
    assert code == 0 and float(found.group(1)) <= MAX_EXPOSURE, said
