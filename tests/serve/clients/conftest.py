"""Starts servers for tests, and ends them."""

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

TREE = Path(os.environ["LASNET_TREE"])
PROGRAM = Path(os.environ["LASNET_SERVE"])
LASNET = PROGRAM.parent / "lasnet"
MODEL = TREE / "models/demo.safetensors"
PHOTOS = sorted((TREE / "samples").glob("*.jpg"))


class Server:
    """A server of the demo model on a port that was free."""

    def __init__(self, *arguments, models=(str(MODEL),)):
        self.process = subprocess.Popen(
            [str(PROGRAM), *models, "--port", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.log, self.messages = [], []
        self._ready = threading.Event()
        self._threads = [threading.Thread(target=self._collect, args=pair, daemon=True)
                         for pair in ((self.process.stdout, self.log), (self.process.stderr, self.messages))]
        for thread in self._threads:
            thread.start()
        if not self._ready.wait(120) or self.process.poll() is not None:
            self.process.kill()
            raise RuntimeError("the server did not become ready: " + "".join(self.messages))

    def _collect(self, stream, lines):
        for line in stream:
            lines.append(line.decode())
            found = re.search(r"http://127\.0\.0\.1:(\d+)", lines[-1])
            if found:
                self.port = int(found.group(1))
            if found or "error" in lines[-1]:
                self._ready.set()

    @property
    def address(self):
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        """With its scheme."""
        return f"http://{self.address}"

    def resident_kb(self):
        """Resident memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))

    def signal(self, number):
        """Sends a signal."""
        self.process.send_signal(number)

    def wait_for_message(self, text, seconds=60):
        """Waits until a message on standard error has the text."""
        end = time.monotonic() + seconds
        while not any(text in line for line in self.messages):
            assert time.monotonic() < end, "".join(self.messages)
            time.sleep(0.01)

    def stop(self):
        """Ends it as a service manager does; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        for thread in self._threads:
            thread.join(10)
        return code


@pytest.fixture
def start():
    """Starts servers with arguments; all are ended after the test."""
    servers = []

    def make(*arguments, **options):
        servers.append(Server(*arguments, **options))
        return servers[-1]

    yield make
    for server in servers:
        if server.process.poll() is None:
            assert server.stop() == 0


@pytest.fixture(scope="session")
def server():
    """One for all tests that change nothing."""
    running = Server("--workers", "2", "--threads", "1")
    yield running
    assert running.stop() == 0
