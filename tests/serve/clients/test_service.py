"""What an operator sees: signals, logs, metrics, keys, a reverse proxy."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import LASNET, MODEL, PHOTOS, PROGRAM, TREE

RAW = {"Inference-Header-Content-Length": "0"}


def ask(url, data=None, headers=None):
    """Status and body of a request."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}), timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def logits_of(body):
    """Of an answer in JSON."""
    return next(output["data"] for output in json.loads(body)["outputs"] if output["name"] == "logits")


def test_the_access_log_has_a_line_per_request(start):
    """JSON, with what the request took."""
    server = start()
    ask(server.url + "/v2/models/demo/infer", PHOTOS[0].read_bytes(), RAW)
    ask(server.url + "/nothing\x7f".replace("\x7f", "%7f%0a"))
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log]
    assert [line["status"] for line in lines] == [200, 404]
    assert lines[0]["model"] == "demo" and lines[0]["run_ms"] > 0 and 0 < lines[0]["macs_ratio"] < 1
    assert lines[0]["bytes_in"] == PHOTOS[0].stat().st_size and lines[0]["peer"] == "127.0.0.1"
    assert "error" in lines[1]


def test_a_log_file_is_opened_again(start, tmp_path):
    """As logrotate needs it."""
    log = tmp_path / "access.log"
    server = start("--access-log", str(log), "--log-level", "info")
    ask(server.url + "/v2")
    time.sleep(0.2)
    log.rename(tmp_path / "old")
    server.signal(signal.SIGHUP)
    server.wait_for_message("reloaded")
    ask(server.url + "/v2")
    assert server.stop() == 0
    assert len((tmp_path / "old").read_text().splitlines()) == 1
    assert len(log.read_text().splitlines()) == 1


def test_metrics_can_be_parsed(start):
    """By the Python client's parser, and by promtool where it is installed."""
    server = start()
    ask(server.url + "/v2/models/demo/infer", PHOTOS[0].read_bytes(), RAW)
    text = ask(server.url + "/metrics")[1].decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["lasnet_run_seconds"].type == "histogram"
    for name in ("lasnet_http_requests", "lasnet_queue_length", "lasnet_batch_images", "lasnet_macs_ratio",
                 "lasnet_block_rate", "lasnet_request_seconds", "process_resident_memory_bytes"):
        assert families[name].samples, name
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (package prometheus)")
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_keys(start, tmp_path):
    """Nothing of interest without one; the list can change."""
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef\n")
    server = start("--api-key", str(keys))
    assert ask(server.url + "/v2/health/ready")[0] == 200
    assert ask(server.url + "/v2")[0] == 401
    assert ask(server.url + "/v2/models/demo/infer", PHOTOS[0].read_bytes(), RAW)[0] == 401
    assert ask(server.url + "/v2", headers={"Authorization": "Bearer 0123456789abcdef"})[0] == 200
    keys.write_text("fedcba9876543210\n")
    server.signal(signal.SIGHUP)
    server.wait_for_message("reloaded")
    assert ask(server.url + "/v2", headers={"Authorization": "Bearer 0123456789abcdef"})[0] == 401
    assert ask(server.url + "/v2", headers={"X-API-Key": "fedcba9876543210"})[0] == 200


class Load:
    """Clients that ask for the same photograph again and again."""

    def __init__(self, url, clients):
        self.url, self.going = url, True
        self.statuses, self.logits, self.faults = [], set(), []
        self.threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        photo = PHOTOS[0].read_bytes()
        while self.going:
            try:
                status, body = ask(self.url + "/v2/models/demo/infer", photo, RAW)
            except (OSError, urllib.error.URLError) as error:
                self.faults.append(error)
                continue
            self.statuses.append(status)
            if status == 200:
                self.logits.add(tuple(logits_of(body)))

    def end(self):
        """Waits for the clients."""
        self.going = False
        for thread in self.threads:
            thread.join()


def test_a_reload_loses_no_request(start, tmp_path):
    """Five reloads under load, one of a damaged file, which leaves the old model."""
    model = tmp_path / "demo.safetensors"
    shutil.copy(MODEL, model)
    server = start("--no-access-log", models=(str(model),))
    load = Load(server.url, 4)
    for _ in range(4):
        server.messages.clear()
        server.signal(signal.SIGHUP)
        server.wait_for_message("reloaded")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(MODEL.read_bytes()[:100_000])
    damaged.rename(model)
    server.signal(signal.SIGHUP)
    server.wait_for_message("stays as it was")
    time.sleep(0.5)
    load.end()
    assert load.faults == [] and set(load.statuses) == {200} and len(load.statuses) > 10
    assert len(load.logits) == 1


def test_stopping_drains(start):
    """Requests that were sent before SIGTERM are answered, and the exit code is 0."""
    server = start("--workers", "1")
    photo = PHOTOS[0].read_bytes()
    head = f"POST /v2/models/demo/infer HTTP/1.1\r\nHost: x\r\nInference-Header-Content-Length: 0\r\n" \
           f"Content-Length: {len(photo)}\r\n\r\n"
    sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(12)]
    for connection in sockets:
        connection.sendall(head.encode() + photo)
    server.signal(signal.SIGTERM)
    for connection in sockets:
        connection.settimeout(60)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        assert received.startswith(b"HTTP/1.1 200")
        connection.close()
    assert server.process.wait(60) == 0


def test_a_model_that_cannot_be_read_is_said(tmp_path):
    """At the start, with exit code 1."""
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"nothing")
    ended = subprocess.run([PROGRAM, wrong, "--port", "0"], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1 and "wrong.safetensors" in ended.stderr


def test_no_file_of_the_server_can_be_read(server):
    """Whatever the path."""
    for path in ("/etc/passwd", "/../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd",
                 "/page.css/../../README.md", "/v2/models/../../etc/passwd", "/v2/models/demo/../../../etc/passwd"):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        assert received.startswith(b"HTTP/1.1 404"), path
        assert b"root:" not in received


NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if shutil.which("/usr/sbin/nginx") else None)


@pytest.mark.skipif(NGINX is None or shutil.which("openssl") is None, reason="nginx or openssl is not installed")
def test_tls_by_nginx(start, tmp_path):
    """The example of docs/serve.md, as it is but for ports and paths."""
    import ssl
    server = start()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
                    "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    site = (TREE / "packaging/nginx-lasnet.conf").read_text()
    for old, new in (("127.0.0.1:8000", server.address), ("listen [::]:443 ssl http2;", ""),
                     ("listen 443 ssl http2", f"listen 127.0.0.1:{port} ssl http2"),
                     ("/etc/ssl/certs/lasnet.pem", str(tmp_path / "cert.pem")),
                     ("/etc/ssl/private/lasnet.key", str(tmp_path / "key.pem"))):
        assert old in site
        site = site.replace(old, new)
    paths = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in
                    ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if os.geteuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(
        f"{user}pid {tmp_path}/pid;\nerror_log {tmp_path}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{site}\n}}\n")
    nginx = subprocess.Popen([NGINX, "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error.log", "-g", "daemon off;"],
                             stderr=subprocess.PIPE)
    try:
        context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        context.check_hostname = False
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert nginx.poll() is None, nginx.stderr.read()
                time.sleep(0.05)
        request = urllib.request.Request(f"https://127.0.0.1:{port}/v2/models/demo/infer", PHOTOS[0].read_bytes(), RAW)
        with urllib.request.urlopen(request, context=context, timeout=60) as response:
            through_tls = logits_of(response.read())
        direct = logits_of(ask(server.url + "/v2/models/demo/infer", PHOTOS[0].read_bytes(), RAW)[1])
        assert np.array_equal(through_tls, direct)
    finally:
        nginx.terminate()
        nginx.wait(20)


@pytest.mark.parametrize("arguments, words", [
    ([], "MODEL"),
    ([str(MODEL), "--port", "70000"], "--port"),
    ([str(MODEL), "--workers", "0"], "--workers"),
    ([str(MODEL), "--log-level", "loud"], "error, warning or info"),
    ([str(MODEL), "--no-access-log", "--access-log", "x"], "--access-log"),
    (["a b=" + str(MODEL)], "NAME=FILE"),
    ([str(MODEL), "--qeue", "3"], "did you mean '--queue'"),
])
def test_wrong_use(arguments, words):
    """Exit code 2 and a reason."""
    ended = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2 and words in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize("arguments, words", [
    ([str(MODEL), str(MODEL)], "NAME=FILE"),
    ([str(MODEL), "--api-key", "/nonexistent"], "/nonexistent"),
    ([str(MODEL), "--host", "203.0.113.1"], "203.0.113.1"),
])
def test_what_cannot_be_had_is_said(arguments, words):
    """Exit code 1 and a reason."""
    ended = subprocess.run([PROGRAM, *arguments, "--port", "0"], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1 and words in ended.stderr


def test_lasnet_serve_becomes_the_server():
    """As `lasnet bench` becomes lasnet-bench."""
    ended = subprocess.run([LASNET, "serve", "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert "--api-key" in ended.stdout
