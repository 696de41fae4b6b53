#!/usr/bin/env python3
"""Times `lasnet serve` on this machine: what HTTP adds to a run, throughput, latency under load, start.

    serve_bench.py BUILD MODEL [--photo FILE] [--side PX] [--threads N] [--seconds S] [--only PART]
                   [--json FILE]

Needs Debian's python3-pil and python3-numpy, and wrk for the throughput. Clients run on the same machine and take their
share of the processor. Every part starts its own server. All clients send one photograph, as the tensor that the network
reads. `lasnet bench` gets the same pixels.
"""

import argparse
import datetime
import heapq
import json
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measured import processor_name  # noqa: E402

CLIENTS = 16
LOAD = 0.7
WARM = 10  # requests before any is timed
FOLDER = Path(__file__).resolve().parent


def quantile(values, share):
    """Interpolated linearly."""
    values = sorted(values)
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


class Server:
    """Started, and timed until it says that it is ready."""

    def __init__(self, build, model, *arguments, log=None):
        began = time.perf_counter()
        logging = ["--access-log", log] if log else ["--no-access-log"]
        self.process = subprocess.Popen([build / "lasnet-serve", f"m={model}", "--port", "0", *logging, *arguments],
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


class Request:
    """A photograph as a tensor, in the binary extension. Also as a picture, in a folder of its own."""

    def __init__(self, photo, side, folder):
        image = Image.open(photo).convert("RGB")
        scale = side / min(image.size)
        image = image.resize([max(side, round(scale * length)) for length in image.size])
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        self.pictures = folder / "pictures"
        self.pictures.mkdir()
        image.save(self.pictures / "photo.png")
        raw = (np.asarray(image, np.float32) / 255).transpose(2, 0, 1).tobytes()
        header = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3, side, side],
                                         "parameters": {"binary_data_size": len(raw)}}],
                             "outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}).encode()
        self.json_size = len(header)
        self.body = folder / "body"
        self.body.write_bytes(header + raw)
        self.bytes = (f"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(header) + len(raw)}\r\n"
                      f"Inference-Header-Content-Length: {len(header)}\r\n\r\n").encode() + header + raw


class Client:
    """A kept connection that sends one request."""

    def __init__(self, port, request):
        self.request = request.bytes
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def infer(self):
        """Seconds until the answer is here, the engine's own, and the MAC ratio."""
        began = time.perf_counter()
        self.socket.sendall(self.request)
        answer = self.socket.recv(65536)  # small: it comes in one piece
        took = time.perf_counter() - began
        assert answer.startswith(b"HTTP/1.1 200"), answer[:300]
        facts = json.loads(re.search(rb'"parameters":({[^}]*})', answer).group(1))
        return took, facts["run_ms"] / 1e3, facts["macs_ratio"]


def measure_overhead(options, request):
    """One client: the time that a request takes beside the engine's run, as the client and as the server see it."""
    log = request.body.with_name("access.log")
    with Server(options.build, options.model, "--threads", str(options.threads), log=log) as server:
        client = Client(server.port, request)
        for _ in range(WARM):
            client.infer()
        beside, runs = [], []
        end = time.monotonic() + options.seconds
        while time.monotonic() < end:
            took, run, _ = client.infer()
            beside.append(1e3 * (took - run))
            runs.append(1e3 * run)
    lines = [json.loads(line) for line in log.read_text().splitlines()[WARM:]]
    beside_server = [line["ms"] - line["run_ms"] for line in lines]
    print(f"one client, {options.side} px FP32 binary, {len(runs)} requests, --threads {options.threads}: run "
          f"{describe(runs)}")
    print(f"  beside the run, as the client sees it: {describe(beside)}")
    print(f"  beside the run, as the server sees it: {describe(beside_server)}")
    print(f"    of it input {describe([line['input_ms'] for line in lines])}, waiting "
          f"{describe([line['queue_ms'] for line in lines])}")
    return {"run_ms": runs, "beside_client_ms": beside, "beside_server_ms": beside_server}


def describe(times):
    """Two quantiles."""
    return f"median {quantile(times, 0.5):.3f} ms, p99 {quantile(times, 0.99):.3f} ms"


def bench(options, request, threads):
    """Seconds that a run takes by `lasnet bench`, and its MAC ratio."""
    said = json.loads(subprocess.run(
        [options.build / "lasnet", "bench", options.model, "--images", request.pictures, "--size", str(options.side),
         "--threads", str(threads), "--repeat", str(options.repeat), "--json"], check=True, capture_output=True).stdout)
    return said["sparse"]["median_ms"] / 1e3, said["macs_ratio"]


def crowd(port, request, seconds):
    """Answers per second to clients that ask without a pause."""
    said = subprocess.run(
        ["wrk", "--threads", "1", "--connections", str(CLIENTS), "--duration", f"{seconds:.0f}s", "--timeout", "10s",
         "--script", FOLDER / "infer.lua", f"http://127.0.0.1:{port}/v2/models/m/infer", "--", request.body,
         str(request.json_size)], check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    return float(re.search(r"Requests/sec:\s+([0-9.]+)", said).group(1))


def measure_throughput(options, request):
    """Many clients; several ways to divide the threads. `lasnet bench` runs before and after, on as many threads."""
    ways = [["--workers", "1", "--threads", str(options.threads)], ["--workers", str(options.threads), "--threads", "1"],
            ["--workers", "1", "--threads", str(options.threads), "--batch", "8"]]
    results = []
    for way in ways:
        runs = [bench(options, request, options.threads)]
        with Server(options.build, options.model, *way) as server:
            macs = Client(server.port, request).infer()[2]
            crowd(server.port, request, 1)
            rates = [crowd(server.port, request, options.seconds / 3) for _ in range(3)]
        runs.append(bench(options, request, options.threads))
        run = statistics.mean(seconds for seconds, _ in runs)
        assert abs(macs - runs[0][1]) < 0.01, f"MAC ratio {macs}, in bench {runs[0][1]}: the model normalises its input"
        print(f"throughput, {CLIENTS} clients, {' '.join(way)}: {statistics.median(rates):.1f} images/s "
              f"({min(rates):.1f} to {max(rates):.1f}); lasnet bench --threads {options.threads}: {1e3 * run:.2f} ms a run, "
              f"MAC ratio {macs:.3f}. This is {statistics.median(rates) * run:.2f} of its {1 / run:.1f} images/s")
        results.append({"way": way, "images_per_s": rates, "bench_s": [seconds for seconds, _ in runs], "macs_ratio": macs})
    return results


def random_moments(rate, seconds):
    """When requests arrive if none knows of the others."""
    choose, moments, at = random.Random(1), [], 0
    while at < seconds:
        moments.append(at)
        at += choose.expovariate(rate)
    return moments


def even_moments(rate, seconds):
    """When requests arrive of clients that each ask once in a period."""
    choose, period = random.Random(1), CLIENTS / rate
    begins = [choose.uniform(0, period) for _ in range(CLIENTS)]
    return sorted(begin + i * period for begin in begins for i in range(int(seconds / period)))


def queued(moments, workers, run):
    """Times of requests that only wait for a worker and run: what no server of this kind can be better than."""
    idle_from, times = [0.0] * workers, []
    for at in moments:
        end = max(at, heapq.heappop(idle_from)) + run
        heapq.heappush(idle_from, end)
        times.append(end - at)
    return times


def ask_at(moments, clients):
    """Seconds from each moment to its answer, whether or not earlier ones are answered; and the runs' own."""
    begin = time.monotonic() + 0.2
    due, took, runs, lock = [begin + at for at in reversed(moments)], [], [], threading.Lock()

    def ask(client):
        while True:
            with lock:
                if not due:
                    return
                at = due.pop()
            time.sleep(max(0, at - time.monotonic()))
            run = client.infer()[1]
            with lock:
                took.append(time.monotonic() - at)
                runs.append(run)

    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took, runs


def measure_load(options, request):
    """Requests at a share of what the server can do, beside what waiting in a queue explains."""
    way, results = ["--workers", str(options.threads), "--threads", "1"], []
    with Server(options.build, options.model, *way) as server:
        most = crowd(server.port, request, 3)
        clients = [Client(server.port, request) for _ in range(4 * CLIENTS)]
        for name, moments in (("at random", random_moments(LOAD * most, options.seconds)),
                              ("evenly", even_moments(LOAD * most, options.seconds))):
            took, runs = ask_at(moments, clients)
            p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
            ideal = queued(moments, options.threads, options.threads / most)
            queue_alone = quantile(ideal, 0.99) / quantile(ideal, 0.5)
            print(f"{100 * LOAD:.0f} % of {most:.1f} images/s, {' '.join(way)}, {len(took)} requests that arrive {name}: "
                  f"p50 {1e3 * p50:.1f} ms, p99 {1e3 * p99:.1f} ms, ratio {p99 / p50:.2f}; the queue alone "
                  f"{queue_alone:.2f}; run {describe([1e3 * run for run in runs])}")
            results.append({"way": way, "arrivals": name, "most_images_per_s": most, "answer_s": took, "run_s": runs,
                            "queue_alone": queue_alone})
    return results


def measure_start(options, _):
    """From exec to ready, and how long the first request of the model's own size takes."""
    times, first, later = [], [], []
    for _ in range(7):
        with Server(options.build, options.model, "--threads", str(options.threads)) as server:
            times.append(server.seconds)
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/v2/lasnet") as answer:
                side = json.load(answer)["models"][0]["crop"]
            with tempfile.TemporaryDirectory() as folder:
                own = Request(options.photo, side, Path(folder))
            took = [1e3 * Client(server.port, own).infer()[0] for _ in range(6)]
            first.append(took[0])
            later.append(statistics.median(took[1:]))
    print(f"start to ready: median {statistics.median(times):.3f} s ({min(times):.3f} to {max(times):.3f}); the first request "
          f"takes {statistics.median(first):.1f} ms, later ones {statistics.median(later):.1f} ms")
    return {"ready_s": times, "first_ms": first, "later_ms": later}


PARTS = {"start": measure_start, "overhead": measure_overhead, "throughput": measure_throughput, "load": measure_load}


def rounded(value):
    """Numbers with six digits, at any depth."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def main():
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="folder of lasnet-serve")
    parser.add_argument("model", type=Path)
    parser.add_argument("--photo", type=Path, default=FOLDER.parents[1] / "samples/bird_nuthatch.jpg")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=12, help="of each measurement")
    parser.add_argument("--repeat", type=int, default=40, help="of lasnet bench")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--json", type=Path, help="write every time that was taken there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        request = Request(options.photo, options.side, Path(folder))
        results = {name: measure(options, request) for name, measure in PARTS.items() if options.only in (None, name)}
    if options.json:
        facts = {"date": datetime.date.today().isoformat(), "processor": processor_name(), "model": options.model.name,
                 "side": options.side, "threads": options.threads}
        options.json.write_text(json.dumps({**facts, **rounded(results)}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
