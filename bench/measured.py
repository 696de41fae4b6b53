"""What the benchmarks in Python say of a measurement: its quartiles, and the processor."""

import pathlib
import platform
import statistics


def quartiles(values):
    """Of one value at least, as numpy.percentile has them."""
    values = list(values)
    q1, median, q3 = statistics.quantiles(values if len(values) > 1 else 2 * values, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3}


def processor_name():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
