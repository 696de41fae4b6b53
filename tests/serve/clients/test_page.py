"""The page in a headless chromium: upload, knob, errors, dark and light, narrow windows, the camera."""

import json
import os
from pathlib import Path

import pytest

from browser import PROGRAM, Browser
from conftest import MODEL, PHOTOS

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")

MACS = "parseFloat(document.getElementById('macs').textContent)"
ERROR = "document.getElementById('error')"


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests; nothing on its pages may fail unseen."""
    made = Browser()
    yield made
    made.close()
    assert made.problems == []


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """The demo model with operating points that nobody measured: for the knob, not for accuracy."""
    data = MODEL.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    described = json.loads(header["__metadata__"]["lasnet"])
    described["operating_points"] = {"version": 1, "points": [
        {"macs_ratio": macs, "top1": macs, "thresholds": [threshold] * 16, "rates": [macs] * 16, "predicted_ms": {}}
        for macs, threshold in ((0.3, 1.5), (0.5, 0.0), (0.8, -1.5))]}
    header["__metadata__"]["lasnet"] = json.dumps(described)
    text = json.dumps(header).encode()
    path = tmp_path_factory.mktemp("tuned") / "tuned.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size:])
    return path


def upload(browser, photo):
    """Waits for its numbers."""
    browser.choose_file("#file", photo)
    browser.wait_for(f"{MACS} > 0 && document.querySelectorAll('#classes tr').length > 0")


def turn_knob(browser, value):
    """As dragging it does."""
    browser.evaluate(f"(() => {{ const knob = document.getElementById('knob'); knob.value = {value};"
                     "knob.dispatchEvent(new Event('input')); })()")


def keep_screenshot(browser, name):
    """For people, where they ask for it."""
    folder = os.environ.get("LASNET_SCREENSHOTS")
    if folder:
        browser.screenshot(Path(folder) / (name + ".png"))


def test_upload_and_threshold(browser, server):
    """Picture, classes and blocks; the knob of a model without operating points is its threshold."""
    browser.open(server.url)
    browser.wait_for("document.getElementById('model').options.length === 1")
    upload(browser, PHOTOS[0])
    assert browser.evaluate("document.querySelector('#classes td').textContent") == "bird"
    assert browser.evaluate("document.querySelectorAll('#blocks tr').length") == 16
    assert browser.evaluate("document.getElementById('drop').classList.contains('full')")
    before = browser.evaluate(MACS)
    picture = browser.evaluate("document.getElementById('picture').toDataURL()")
    turn_knob(browser, 1)
    browser.wait_for(f"{MACS} < {before} - 1")
    assert browser.evaluate("document.getElementById('picture').toDataURL()") != picture
    assert "ms" in browser.evaluate("document.getElementById('time').textContent")
    assert "ms" in browser.evaluate("document.getElementById('dense').textContent")
    assert browser.evaluate("document.getElementById('speedup').textContent").endswith("x")


def test_a_block_can_be_looked_at(browser, server):
    """Its own mask instead of all."""
    browser.open(server.url)
    browser.wait_for("document.getElementById('model').options.length === 1")
    upload(browser, PHOTOS[0])
    picture = browser.evaluate("document.getElementById('picture').toDataURL()")
    browser.evaluate("document.querySelectorAll('#blocks tr')[3].click()")
    browser.wait_for("document.getElementById('shown').textContent.includes('layer2.0')")
    assert browser.evaluate("document.getElementById('picture').toDataURL()") != picture


def test_knob_of_operating_points(browser, start, tuned):
    """From most to least, live, the last value wins."""
    server = start(models=(f"demo={tuned}",))
    browser.open(server.url)
    browser.wait_for("document.getElementById('model').options.length === 1")
    upload(browser, PHOTOS[1])
    assert "MACs" in browser.evaluate("document.getElementById('knob-name').textContent")
    most, least = (float(browser.evaluate(f"document.getElementById('knob').{end}")) for end in ("max", "min"))
    before = browser.evaluate(MACS)
    for i in range(11):
        turn_knob(browser, most - (most - least) * i / 10)
    browser.wait_for(f"{MACS} < {before} - 2")
    browser.wait_for("!state.isBusy")
    keep_screenshot(browser, "knob")
    after = browser.evaluate(MACS)
    turn_knob(browser, most)
    browser.wait_for(f"{MACS} > {after} + 1")


def test_errors_are_shown(browser, server, tmp_path):
    """What is no image, and then one that is."""
    browser.open(server.url)
    browser.wait_for("document.getElementById('model').options.length === 1")
    wrong = tmp_path / "wrong.jpg"
    wrong.write_text("this is no image")
    browser.choose_file("#file", wrong)
    browser.wait_for(f"!{ERROR}.hidden")
    assert "inputs[0].data[0]" in browser.evaluate(ERROR + ".textContent")
    keep_screenshot(browser, "error")
    upload(browser, PHOTOS[0])
    browser.wait_for(f"{ERROR}.hidden")


def test_a_server_that_is_gone_is_said(browser, start):
    """Without a reload of the page."""
    server = start()
    browser.open(server.url)
    browser.wait_for("document.getElementById('model').options.length === 1")
    upload(browser, PHOTOS[0])
    server.stop()
    turn_knob(browser, 1)
    browser.wait_for(f"!{ERROR}.hidden")
    assert "does not answer" in browser.evaluate(ERROR + ".textContent")


def test_the_page_asks_for_a_key(browser, start, tmp_path):
    """And uses it."""
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef\n")
    server = start("--api-key", str(keys))
    browser.open(server.url)
    browser.wait_for("!document.getElementById('key-form').hidden")
    browser.evaluate("document.getElementById('key').value = '0123456789abcdef'; "
                     "document.getElementById('key-form').requestSubmit()")
    browser.wait_for("document.getElementById('model').options.length === 1")
    upload(browser, PHOTOS[0])


def test_the_camera(browser, server):
    """The browser's own picture of a camera, frame after frame."""
    browser.open(server.url)
    browser.wait_for("document.getElementById('model').options.length === 1")
    browser.evaluate("document.getElementById('camera').click()")
    browser.wait_for(f"{MACS} > 0")
    first = browser.evaluate("document.getElementById('picture').toDataURL()")
    browser.wait_for(f"document.getElementById('picture').toDataURL() !== {first!r}")
    browser.evaluate("document.getElementById('camera').click()")
    browser.wait_for("!state.camera")


@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize("dark", [False, True])
def test_windows_of_all_kinds(browser, server, width, dark):
    """Nothing sticks out, and colours follow the system."""
    browser.open(server.url, width=width, height=900, dark=dark)
    browser.wait_for("document.getElementById('model').options.length === 1")
    keep_screenshot(browser, f"{width}-{'dark' if dark else 'light'}-empty")
    upload(browser, PHOTOS[0])
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    back = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in back[4:-1].split(",")) < 384) == dark
    keep_screenshot(browser, f"{width}-{'dark' if dark else 'light'}")
