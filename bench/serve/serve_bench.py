#!/usr/bin/env python3
"""Times `lasnet serve` on this machine: what HTTP adds to a run, throughput, latency under load, start.

    serve_bench.py BUILD MODEL [--side PX] [--threads N] [--seconds S] [--only PART]

Needs nothing but Python. The client runs on the same machine and takes its share of the processor. Every part starts
its own server.
"""

import argparse
import array
import json
import random
import re
import socket
import statistics
import subprocess
import threading
import time
from pathlib import Path


def quantile(values, share):
    """Interpolated linearly."""
    values = sorted(values)
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


class Server:
    """Started, and timed until it says that it is ready."""

    def __init__(self, build, model, *arguments):
        began = time.perf_counter()
        self.process = subprocess.Popen([build / "lasnet-serve", f"m={model}", "--port", "0", "--no-access-log", *arguments],
                                        stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        while "ready" not in line:
            line = self.process.stderr.readline()
        self.seconds = time.perf_counter() - began
        self.port = int(re.search(r"http://[^:]+:(\d+)", line).group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


class Client:
    """A kept connection that sends one tensor."""

    def __init__(self, port, side, seed=0):
        choose = random.Random(seed)
        raw = array.array("f", (choose.random() for _ in range(3 * side * side))).tobytes()
        header = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3, side, side],
                                         "parameters": {"binary_data_size": len(raw)}}],
                             "outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}).encode()
        self.request = (f"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(header) + len(raw)}\r\n"
                        f"Inference-Header-Content-Length: {len(header)}\r\n\r\n").encode() + header + raw
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def infer(self):
        """Seconds until the answer is here, and the engine's own."""
        began = time.perf_counter()
        self.socket.sendall(self.request)
        answer = self.socket.recv(65536)  # small: it comes in one piece
        took = time.perf_counter() - began
        assert answer.startswith(b"HTTP/1.1 200"), answer[:300]
        return took, float(re.search(rb'"run_ms":([0-9.e+-]+)', answer).group(1)) / 1e3


def measure_overhead(options):
    """One client: the time that a request takes beside the engine's run."""
    with Server(options.build, options.model, "--threads", str(options.threads)) as server:
        client = Client(server.port, options.side)
        for _ in range(10):
            client.infer()
        beside, runs = [], []
        end = time.monotonic() + options.seconds
        while time.monotonic() < end:
            took, run = client.infer()
            beside.append(1e3 * (took - run))
            runs.append(1e3 * run)
    print(f"overhead, {options.side} px FP32 binary, {len(beside)} requests: median {quantile(beside, 0.5):.3f} ms, "
          f"p99 {quantile(beside, 0.99):.3f} ms; run: median {quantile(runs, 0.5):.2f} ms, p99 {quantile(runs, 0.99):.2f} ms")


def crowd(port, side, clients, seconds):
    """Answers per second to clients that ask without a pause."""
    counts = [0] * clients
    end = time.monotonic() + seconds

    def ask(index):
        client = Client(port, side)
        while time.monotonic() < end:
            client.infer()
            counts[index] += 1

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - began)


def measure_throughput(options):
    """16 clients; several ways to divide the threads."""
    ways = [["--workers", "1", "--threads", str(options.threads)], ["--workers", str(options.threads), "--threads", "1"],
            ["--workers", "1", "--threads", str(options.threads), "--batch", "8"]]
    for way in ways:
        with Server(options.build, options.model, *way) as server:
            alone = Client(server.port, options.side)
            run = statistics.median(alone.infer()[1] for _ in range(30))
            crowd(server.port, options.side, 16, 1)
            rates = [crowd(server.port, options.side, 16, options.seconds / 3) for _ in range(3)]
        print(f"throughput, 16 clients, {' '.join(way)}: {statistics.median(rates):.1f} images/s "
              f"({min(rates):.1f} to {max(rates):.1f}); a run alone takes {1e3 * run:.2f} ms, so this is "
              f"{statistics.median(rates) * run / int(way[1]):.2f} of what the engine could do")


def measure_load(options):
    """Requests at 70 % of what the server can do, at random moments, whether or not earlier ones are answered."""
    way = ["--workers", str(options.threads), "--threads", "1"]
    with Server(options.build, options.model, *way) as server:
        most = crowd(server.port, options.side, 16, 3)
        clients = [Client(server.port, options.side) for _ in range(32)]
        choose = random.Random(1)
        begin = time.monotonic() + 0.2
        moments, at = [], begin
        while at < begin + options.seconds:
            moments.append(at)
            at += choose.expovariate(0.7 * most)
        moments.reverse()
        took, lock = [], threading.Lock()

        def ask(client):
            while True:
                with lock:
                    if not moments:
                        return
                    due = moments.pop()
                time.sleep(max(0, due - time.monotonic()))
                client.infer()
                with lock:
                    took.append(time.monotonic() - due)

        threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
    print(f"70 % of {most:.1f} images/s, {len(took)} requests: p50 {1e3 * p50:.1f} ms, p99 {1e3 * p99:.1f} ms, "
          f"ratio {p99 / p50:.2f}")


def measure_start(options):
    """From exec to ready."""
    times = []
    for _ in range(7):
        with Server(options.build, options.model, "--threads", str(options.threads)) as server:
            times.append(server.seconds)
    print(f"start to ready: median {statistics.median(times):.3f} s ({min(times):.3f} to {max(times):.3f})")


PARTS = {"start": measure_start, "overhead": measure_overhead, "throughput": measure_throughput, "load": measure_load}


def main():
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="folder of lasnet-serve")
    parser.add_argument("model", type=Path)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    for name, measure in PARTS.items():
        if options.only in (None, name):
            measure(options)


if __name__ == "__main__":
    main()
