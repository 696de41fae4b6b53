"""Sixty-four clients, most of them rude: no crash, no leak, and every right request answered rightly.

LASNET_LOAD_REQUESTS sets how many requests there are (10,000)."""

import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest

from conftest import LASNET, TREE

CLIENTS = 64
REQUESTS = int(os.environ.get("LASNET_LOAD_REQUESTS", "10000"))
SIDE = 64


def large_png():
    """The beginning of an image of 20,000 x 20,000 px."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 60001)) + chunk(b"IEND", b"")


def post(body, headers=""):
    """A request for an inference."""
    return (f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n").encode() + body


def tensor_request(array):
    """In the binary extension."""
    raw = array.tobytes()
    header = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": array.shape,
                                     "parameters": {"binary_data_size": len(raw)}}],
                         "outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}).encode()
    return post(header + raw, f"Inference-Header-Content-Length: {len(header)}\r\n")


class Connection:
    """A kept connection that is made again when it ends."""

    def __init__(self, port):
        self.port, self.socket = port, None

    def close(self, at_once=False):
        """Ends it, with a reset if asked."""
        if self.socket is None:
            return
        if at_once:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        self.socket = None

    def send(self, data):
        """Opens it if needed."""
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.socket.sendall(data)

    def receive(self):
        """Status, headers and body; None if the server closed first."""
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = self.socket.recv(65536)
            if not chunk:
                self.close()
                return None
            received += chunk
        head, body = received.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        while len(body) < int(headers["Content-Length"]):
            body += self.socket.recv(65536)
        if headers.get("Connection") == "close":
            self.close()
        return int(lines[0].split()[1]), headers, body

    def exchange(self, data):
        """One request and its answer."""
        for _ in range(2):
            try:
                self.send(data)
                if (answer := self.receive()) is not None:
                    return answer
            except OSError:
                pass
            self.close()  # a connection that the server had ended
        raise AssertionError("no answer")


class Crowd:
    """The clients, and what they saw."""

    def __init__(self, port, arrays, expected):
        self.port, self.arrays, self.expected = port, arrays, expected
        self.requests = [tensor_request(array) for array in arrays]
        self.large = large_png()
        self.right = self.wrong = 0
        self.faults, self.statuses, self.lock = [], {}, threading.Lock()

    def run(self, count, seed):
        """So many requests, divided among the clients."""
        threads = [threading.Thread(target=self._client, args=(count // CLIENTS, seed * CLIENTS + i))
                   for i in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, count, seed):
        choose = random.Random(seed)
        connection = Connection(self.port)
        kinds = [self.good] * 14 + [self.malformed, self.wrong_length, self.cut, self.reset, self.large_image, self.get]
        for i in range(count):
            kind = self.slow if i == count // 2 and seed % 8 == 0 else choose.choice(kinds)
            try:
                kind(connection, choose)
            except (AssertionError, OSError) as error:
                with self.lock:
                    self.faults.append(f"{kind.__name__}: {error!r}")
        connection.close()

    def count(self, status):
        """Remembers an answer."""
        with self.lock:
            self.statuses[status] = self.statuses.get(status, 0) + 1

    def good(self, connection, choose):
        """A request that has a right answer; one that is told to come again comes again."""
        which = choose.randrange(len(self.arrays))
        while True:
            status, headers, body = connection.exchange(self.requests[which])
            self.count(status)
            if status not in (429, 503):
                break
            time.sleep(0.02)
        assert status == 200, body[:300]
        logits = np.frombuffer(body[int(headers["Inference-Header-Content-Length"]):], np.float32)
        same = np.array_equal(logits, self.expected[which])
        with self.lock:
            self.right += same
            self.wrong += not same

    def refused(self, connection, data, statuses):
        """A request that has to be refused, with a reason."""
        status = 429
        while status in (429, 503):
            status, _, body = connection.exchange(data)
            self.count(status)
        assert status in statuses and "error" in json.loads(body), (status, body[:300])

    def malformed(self, connection, choose):
        """JSON with a byte changed or a piece missing."""
        body = bytearray(b'{"inputs":[{"name":"input","datatype":"FP32","shape":[1,3,64,64],"data":[1,2,3]}]}')
        if choose.random() < 0.5:
            body[choose.randrange(len(body))] = choose.randrange(256)
        else:
            del body[choose.randrange(len(body)):]
        self.refused(connection, post(bytes(body)), {400})

    def wrong_length(self, connection, choose):
        """A JSON header that claims another size."""
        request = self.requests[0]
        head, body = request.split(b"\r\n\r\n", 1)
        size = choose.choice([b"1", b"-4", b"99999999", b"abc"])
        lines = [b"Inference-Header-Content-Length: " + size if line.startswith(b"Inference") else line
                 for line in head.split(b"\r\n")]
        self.refused(connection, b"\r\n".join(lines) + b"\r\n\r\n" + body, {400})

    def large_image(self, connection, _):
        """Pixels beyond every limit."""
        self.refused(connection, post(self.large, "Inference-Header-Content-Length: 0\r\n"), {400})

    def cut(self, connection, choose):
        """Half a request, then nothing."""
        request = self.requests[0]
        connection.close()
        connection.send(request[:choose.randrange(1, len(request))])
        connection.close()

    def reset(self, connection, choose):
        """A whole request whose answer nobody wants."""
        connection.close()
        connection.send(self.requests[choose.randrange(len(self.requests))])
        connection.close(at_once=True)

    def slow(self, connection, _):
        """A header that never ends."""
        connection.close()
        connection.send(b"POST /v2/models/tiny/infer HTTP/1.1\r\n")
        try:
            for _ in range(100):
                time.sleep(0.1)
                connection.send(b"X: y\r\n")
        except OSError:
            pass
        connection.close()

    def get(self, connection, choose):
        """What monitors ask for."""
        path = choose.choice(["/v2/health/ready", "/metrics", "/", "/v2/models/tiny", "/nothing"])
        status, _, _ = connection.exchange(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.count(status)
        assert status == (404 if path == "/nothing" else 200)


KILLED = """
import socket, sys
sockets = []
for i in range(20):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    s.sendall(open(sys.argv[2], "rb").read()[:int(sys.argv[3]) if i % 2 else None])
    sockets.append(s)
print("sent", flush=True)
sys.stdin.read()
"""


def kill_clients(port, request, folder):
    """A program with twenty requests under way is killed."""
    (folder / "request").write_bytes(request)
    client = subprocess.Popen([sys.executable, "-c", KILLED, str(port), str(folder / "request"), str(len(request) // 2)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    client.stdout.readline()
    client.kill()
    client.wait()


def tiny_model(tmp_path):
    """A small network, inputs, and the logits of each."""
    model = tmp_path / "tiny.safetensors"
    subprocess.run([LASNET, "bench", "resnet18", "--width", "0.25", "--classes", "10", "--size", str(SIDE), "--repeat", "1",
                    "--save", model], check=True, capture_output=True)
    arrays = [np.random.default_rng(i).standard_normal((1, 3, SIDE, SIDE), dtype=np.float32) for i in range(16)]
    np.save(tmp_path / "x.npy", np.concatenate(arrays))
    subprocess.run([LASNET, "forward", model, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"], check=True,
                   capture_output=True)
    return model, arrays, np.load(tmp_path / "y.npy")


def test_a_rude_crowd(start, tmp_path):
    """All of it at once."""
    model, arrays, expected = tiny_model(tmp_path)
    server = start("--workers", "2", "--threads", "1", "--read-timeout", "2", "--queue", "48", "--access-log",
                   str(tmp_path / "access.log"), models=(str(model),))
    crowd = Crowd(server.port, arrays, expected)

    def part(share, seed):
        for i in range(3):
            crowd.run(int(REQUESTS * share / 3), 10 * seed + i)
            kill_clients(server.port, crowd.requests[0], tmp_path)

    part(0.4, 1)
    time.sleep(1)
    warm = server.resident_kb()
    part(0.6, 2)
    time.sleep(1)
    grown = server.resident_kb() / warm - 1
    print(f"answers by status: {crowd.statuses}; right {crowd.right}; resident {warm} kB, then {100 * grown:+.1f} %")
    assert crowd.faults == []
    assert crowd.wrong == 0 and crowd.right > REQUESTS // 2
    assert set(crowd.statuses) <= {200, 400, 404, 429, 503}
    assert grown < 0.05
    assert server.process.poll() is None


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk(start, tmp_path):
    """As fast as wrk can ask, every second request a wrong one. Others are killed with requests under way."""
    model, arrays, expected = tiny_model(tmp_path)
    head, body = tensor_request(arrays[0]).split(b"\r\n\r\n", 1)
    (tmp_path / "body").write_bytes(body)
    (tmp_path / "logits").write_bytes(expected[0].tobytes())
    (tmp_path / "image").write_bytes(large_png())
    json_size = re.search(rb"Inference-Header-Content-Length: (\d+)", head).group(1).decode()
    server = start("--workers", "2", "--threads", "1", "--queue", "48", "--access-log", str(tmp_path / "access.log"),
                   models=(str(model),))

    def begin(seconds):
        return subprocess.Popen(
            ["wrk", "--threads", "1", "--connections", str(CLIENTS), "--duration", f"{seconds}s", "--timeout", "30s", "--script",
             TREE / "tests/serve/clients/rude.lua", f"{server.url}/v2/models/tiny/infer", "--", tmp_path, json_size],
            stdout=subprocess.PIPE, text=True)

    def load():
        said = begin(6).communicate()[0]
        right, wrong, refused, other, unanswered = map(int, re.search(
            r"right (\d+) wrong (\d+) refused (\d+) other (\d+) unanswered (\d+)", said).groups())
        assert wrong == other == unanswered == 0 and right > 0 and refused > 0, said
        killed = begin(60)
        time.sleep(2)
        killed.kill()
        killed.communicate()
        time.sleep(1)
        return right + refused

    answers = load() + load()
    warm = server.resident_kb()
    answers += load()
    grown = server.resident_kb() / warm - 1
    print(f"{answers} answers; resident {warm} kB, then {100 * grown:+.1f} %")
    assert grown < 0.05
    assert server.process.poll() is None
