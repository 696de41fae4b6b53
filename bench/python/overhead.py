#!/usr/bin/env python3
"""What the Python package costs: time per call above C++, two threads beside one, the time of an import, copies.

    bench/python/overhead.py [--repeat N]

Pairs are interleaved, so that a busy machine disturbs both alike; medians and quartiles are printed.
"""

import argparse
import pathlib
import subprocess
import sys
import threading
import time

import numpy

import lasnet
from lasnet import _core

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from measured import quartiles  # noqa: E402


def spread(values):
    return "{median:.2f} ({q1:.2f} to {q3:.2f})".format(**quartiles(values))


def call_overhead(repeat):
    """us of a call of session.run, less the time that C++ took for the run within it."""
    model = lasnet.create("resnet18", granularity="4-4-2-1", width=0.125, classes=10, stem="small")
    session = lasnet.Session(model, threads=1)
    x = numpy.random.default_rng(0).random((1, 3, 32, 32), dtype=numpy.float32)
    above, whole = [], []
    for _ in range(repeat):
        began = time.perf_counter()
        result = session.run(x)
        result.logits
        seconds = time.perf_counter() - began
        # Not result.trace, which the result would keep, so that the next call would free it.
        above.append(1e6 * (seconds - result._handle.trace()["seconds"]))
        whole.append(1e6 * seconds)
    print(f"session.run above C++: {spread(above)} us, of a call of {spread(whole)} us")


def thread_scaling(repeat):
    """Throughput of two Python threads, a session each, over that of one."""
    model = lasnet.create("resnet50", granularity="4-4-2-1", width=0.5)
    sessions = [lasnet.Session(model, threads=1) for _ in range(2)]
    x = numpy.random.default_rng(0).random((1, 3, 224, 224), dtype=numpy.float32)

    def work(session, count):
        for _ in range(count):
            session.run(x)

    def seconds(threads, count=8):
        workers = [threading.Thread(target=work, args=(session, count)) for session in sessions[:threads]]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return (time.perf_counter() - began) / (threads * count)

    seconds(2)
    ratios = [seconds(1) / seconds(2) for _ in range(repeat)]
    print(f"two threads with two sessions: {spread(ratios)} times the throughput of one")


def import_time(repeat):
    """ms of `import lasnet` in a fresh process, NumPy not loaded."""
    code = "import time; t = time.perf_counter(); import lasnet; print(1e3 * (time.perf_counter() - t))"
    values = [float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) for _ in range(repeat)]
    print(f"import lasnet: {spread(values)} ms, least {min(values):.1f} ms")


def copies():
    """Counted by the addresses that C++ sees."""
    x = numpy.zeros((4, 3, 64, 64), numpy.float32)
    at, copied = _core.input_address(x)
    model = lasnet.create("resnet18", granularity="4-4-2-1", width=0.125, classes=10)
    result = lasnet.Session(model, threads=1).run(x)
    same = result._handle.logits().ctypes.data == result._handle.logits().ctypes.data
    print(f"copies of a contiguous input: {int(copied or at != x.ctypes.data)}, of the logits: {int(not same)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=30)
    repeat = parser.parse_args().repeat
    copies()
    import_time(repeat)
    call_overhead(100 * repeat)
    thread_scaling(repeat)


if __name__ == "__main__":
    main()
