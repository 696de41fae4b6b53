#!/usr/bin/env python3
"""compare.py as on a processor with AVX2 and FMA but without AVX-512, VNNI and AMX.

    bench/peers/without_avx512.py resnet50 --precision int8 --peers onnxruntime,openvino

ONNX Runtime chooses its kernels by the CPUID instruction, and has no option for it. So this program copies the packages of
ONNX Runtime and OpenVINO to build/peers-avx2, and replaces each CPUID instruction by a breakpoint. A library that is
preloaded (without_avx512.c) answers these without the newer instruction sets. Nothing else is changed, and nothing else runs
slower. lasnet runs with --isa avx2. PyTorch is left out. Needs gcc, objdump and readelf; the first run copies for some minutes.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
COPIES = HERE.parents[1] / "build/peers-avx2"
PACKAGES = ("onnxruntime", "openvino")
CPUID, BREAKPOINT = b"\x0f\xa2", b"\xcc\x90"


def lines_of(*command):
    """What a program prints, line by line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield from process.stdout
    if process.returncode != 0:
        sys.exit(f"error: {command[0]} failed on {command[-1]}")


def segments(path):
    """(address, end, offset in the file) of what is loaded of a library."""
    for line in lines_of("readelf", "-lW", path):
        words = line.split()
        if words[:1] == ["LOAD"]:
            offset, address, size = int(words[1], 16), int(words[2], 16), int(words[4], 16)
            yield address, address + size, offset


def replace_cpuid(path):
    """Puts a breakpoint in the place of each CPUID instruction; returns how many there were."""
    loaded = list(segments(path))
    code = bytearray(path.read_bytes())
    count = 0
    for line in lines_of("objdump", "-d", path):
        found = re.match(r"\s*([0-9a-f]+):\s+0f a2\s+cpuid", line)
        if not found:
            continue
        address = int(found[1], 16)
        offset = next(address - begin + at for begin, end, at in loaded if begin <= address < end)
        if code[offset:offset + 2] != CPUID:
            sys.exit(f"error: {path}: no CPUID at {offset:#x}; expected one, as objdump says")
        code[offset:offset + 2] = BREAKPOINT
        count += 1
    if count:
        path.write_bytes(code)
    return count


def copy_package(name):
    """A copy of an installed package whose libraries do not ask the processor."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        sys.exit(f"error: the package {name} is missing; expected this to run in build/peers (bench/peers/README.md)")
    partial = COPIES / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(Path(spec.origin).parent, partial)
    for path in sorted(partial.rglob("*.so*")):
        count = 0 if path.is_symlink() else replace_cpuid(path)
        if count:
            print(f"{name}: {path.name}: {count} CPUID instructions", file=sys.stderr)
    partial.rename(COPIES / name)


def main():
    """Prepare what is missing, then become compare.py."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return
    COPIES.mkdir(parents=True, exist_ok=True)
    answers = COPIES / "without_avx512.so"
    subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", answers, HERE / "without_avx512.c"], check=True)
    for name in PACKAGES:
        if not (COPIES / name).exists():
            copy_package(name)
    environment = {**os.environ, "LD_PRELOAD": str(answers), "PYTHONPATH": str(COPIES), "LASNET_PEERS_ISA": "avx2"}
    os.execve(sys.executable, [sys.executable, str(HERE / "compare.py"), *sys.argv[1:], "--isa", "avx2"], environment)


if __name__ == "__main__":
    main()
