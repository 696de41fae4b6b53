#!/usr/bin/env python3
"""A report's page in a headless chromium: what it draws and says, in light and dark, narrow, wide and on paper.

    check_page.py REPORT_FOLDER SCREENSHOTS

Exits with 77 where chromium is not installed. Screenshots are for people.
"""

import base64
import csv
import re
import sys
import zlib
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "serve/clients"))
from browser import PROGRAM, Browser  # noqa: E402

SECTIONS = ["regions", "prediction", "speed", "ablations", "blocks", "knob", "machine"]
TITLES = ["Computed regions", "Latency prediction guides S", "Real speed-up", "Ablations", "Where the time goes", "The knob",
          "This machine"]
READY = "document.documentElement.dataset.ready === 'true'"
PICTURE = "document.getElementById('mask').toDataURL()"
PATCH = "document.getElementById('patch').textContent"


def expect(condition, message):
    """Ends the program unless it holds."""
    if not condition:
        sys.exit(f"check_page: {message}")


def open_page(browser, page, width, height=900, dark=False):
    """Waits until photographs are drawn."""
    browser.open(page.as_uri(), width, height, dark)
    browser.wait_for(READY)


def check_width(browser, page, screenshots):
    """No window size scrolls sideways, whatever is unfolded."""
    for width in (360, 768, 1600):
        for dark in (False, True):
            open_page(browser, page, width, dark=dark)
            name = f"{width}-{'dark' if dark else 'light'}"
            back = browser.evaluate("getComputedStyle(document.body).backgroundColor")
            bright = int(re.findall(r"\d+", back)[0]) > 128
            expect(bright != dark, f"{name}: the background is {back}")
            screenshot(browser, screenshots / f"{name}.png")
            browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            wide = browser.evaluate("document.documentElement.scrollWidth")
            expect(wide <= width, f"{name}: the page is {wide} px wide")


def screenshot(browser, path):
    """All of the page."""
    height = browser.evaluate("document.documentElement.scrollHeight")
    width = browser.evaluate("innerWidth")
    picture = browser.send("Page.captureScreenshot", captureBeyondViewport=True,
                           clip={"x": 0, "y": 0, "width": width, "height": min(height, 15000), "scale": 1})
    path.write_bytes(base64.b64decode(picture["data"]))


def check_sections(browser):
    """All seven, each with its figures, each figure with marks."""
    found = browser.evaluate("[...document.querySelectorAll('main > section')].map((one) => one.id)")
    expect(found == SECTIONS, f"sections are {found}")
    marks = browser.evaluate(
        "[...document.querySelectorAll('figure')].map((one) => [one.dataset.figure,"
        " one.querySelectorAll('.mark, svg .point, svg .line').length])")
    for name, count in marks:
        expect(count > 0, f"figure {name} has no marks")
    for section in SECTIONS:
        expect(browser.evaluate(f"document.querySelectorAll('#{section} figure').length") > 0, f"{section} has no figure")
        expect(browser.evaluate(f"document.querySelectorAll('#{section} .command code').length") > 0, f"{section} has no command")
    units = browser.evaluate("[...document.querySelectorAll('.plot svg')].map((one) => one.getAttribute('aria-label'))")
    expect(all(units), f"plots without a name: {units}")


def check_regions(browser):
    """Slider, keys and pointer do what they say."""
    blocks = browser.evaluate("photographs[0].blocks.length")
    pictures = set()
    for block in range(blocks):
        browser.evaluate(f"(() => {{ const one = document.getElementById('block'); one.value = {block};"
                         "one.dispatchEvent(new Event('input')); })()")
        pictures.add(browser.evaluate(PICTURE))
    masks = browser.evaluate("new Set(photographs[0].blocks.map((one) => one.rows + one.mask)).size")
    expect(len(pictures) >= min(masks, 2), f"{blocks} blocks with {masks} masks give {len(pictures)} pictures")
    browser.evaluate("chooseBlock(photographs[0].blocks.findIndex((one) => one.mask.includes('0')))")
    block = browser.evaluate("photographs[0].blocks[state.block]")
    box = browser.evaluate("(() => { const one = document.getElementById('mask'); one.scrollIntoView({block: 'center', behavior: 'instant'});"
                           "const {left, top, width, height} = one.getBoundingClientRect(); return [left, top, width, height]; })()")
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] + 3, y=box[1] + 3)
    said = browser.wait_for(f"/logit/.test({PATCH}) && {PATCH}")
    logit = f"{abs(block['logits'][0]):.2f}"
    expect(logit in said and block["name"] in said, f"the patch says {said!r}; its logit is {logit}")
    expect(("computed" in said) == (block["mask"][0] == "1"), f"the patch says {said!r}; its mask {block['mask'][0]}")
    if block["cols"] > 1:
        browser.evaluate("document.getElementById('mask').focus()")
        browser.send("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", code="ArrowRight")
        moved = browser.evaluate(PATCH)
        expect("patch 1, 2" in moved, f"after an arrow key the patch says {moved!r}")
    expect(browser.evaluate("document.querySelectorAll('#sheet .cell').length") == blocks, "not every block has its mask")
    shown = browser.evaluate("[...document.querySelectorAll('#sheet .fill')].map((one) => parseFloat(one.style.width))")
    rates = browser.evaluate("photographs[state.photograph].blocks.map((one) => 100 * one.rate)")
    expect(all(abs(a - b) < 0.01 for a, b in zip(shown, rates)), f"bars {shown} of rates {rates}")
    if browser.evaluate("photographs.length") > 1:
        before = browser.evaluate(PICTURE)
        browser.evaluate("document.querySelectorAll('[data-photograph]')[1].click()")
        expect(browser.evaluate(PICTURE) != before, "another photograph shows the same picture")


def check_marks_tell(browser):
    """A pointer that rests on a mark is told its numbers."""
    box = browser.evaluate("(() => { const one = document.querySelector('#blocks .seg'); one.scrollIntoView({block: 'center', behavior: 'instant'});"
                           "const {left, top, width, height} = one.getBoundingClientRect(); return [left + width / 2, top + height / 2]; })()")
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    told = browser.evaluate("document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent")
    expect(told.endswith("ms"), f"the tip says {told!r}")


def check_numbers(browser, folder):
    """What the page's tables say is what the CSV files hold."""
    tables = browser.evaluate(
        "Object.fromEntries([...document.querySelectorAll('table[data-csv]')].map((table) => [table.dataset.csv,"
        " [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent))]))")
    expect(len(tables) >= 10, f"only {list(tables)} on the page")
    for name, shown in tables.items():
        with open(folder / "data" / f"{name}.csv", newline="", encoding="utf-8") as file:
            held = list(csv.reader(file))
        expect(shown == held, f"{name}.csv and the page differ")
        expect(len(held) > 1, f"{name}.csv has no rows")


def check_accessible(browser):
    """Names for all that can be used or seen, and one order of headings."""
    nameless = browser.evaluate(
        "[...document.querySelectorAll('button, input, canvas, svg[role=img], img, [role=group], [role=region]')].filter((one) =>"
        " !(one.getAttribute('aria-label') || one.alt || one.textContent.trim() || (one.id && document.querySelector(`label[for=${one.id}]`))"
        " || one.closest('button'))).map((one) => one.outerHTML.slice(0, 80))")
    expect(nameless == [], f"without a name: {nameless}")
    levels = browser.evaluate("[...document.querySelectorAll('h1, h2')].map((one) => one.tagName)")
    expect(levels == ["H1"] + ["H2"] * 7, f"headings are {levels}")


def check_screen_reader(browser):
    """What a screen reader is given, which is the browser's accessibility tree."""
    browser.send("Accessibility.enable")
    nodes = [node for node in browser.send("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]

    def of(*roles):
        return [node for node in nodes if node["role"]["value"] in roles]

    def name(node):
        return node.get("name", {}).get("value", "").strip()

    headings = [name(node) for node in of("heading")][1:]
    expect(len(headings) == len(TITLES) and all(said.endswith(title) for said, title in zip(headings, TITLES)),
           f"headings are read as {headings}")
    for role in ("image", "slider", "button", "link", "region", "navigation"):
        found = of(role)
        expect(found, f"there is no {role}")
        nameless = [node["backendDOMNodeId"] for node in found if not name(node)]
        expect(nameless == [], f"{len(nameless)} of {len(found)} of role {role} have no name")
    pressed = [name(node) for node in of("button")
               if any(one["name"] == "pressed" and one["value"]["value"] == "true" for one in node.get("properties", []))]
    expect(len(pressed) == 2, f"one photograph and one block are chosen, but pressed are {pressed}")
    block = browser.evaluate("photographs[state.photograph].blocks[state.block].name")
    spoken = [node.get("value", {}).get("value") for node in of("slider")]
    said = browser.evaluate("document.getElementById('block').getAttribute('aria-valuetext')")
    expect(block in said and spoken, f"the slider says {said!r} at block {block}")
    browser.send("Accessibility.disable")


def check_print(browser, screenshots):
    """All sections are on paper."""
    pdf = base64.b64decode(browser.send("Page.printToPDF", printBackground=True, generateTaggedPDF=True,
                                        generateDocumentOutline=True)["data"])
    (screenshots / "page.pdf").write_bytes(pdf)
    # Titles of the outline, as text or as UTF-16.
    text = pdf + b"".join(inflated(part) for part in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL))
    for title in TITLES:
        as_hex = title.encode("utf-16-be").hex().upper().encode()
        expect(title.encode() in text or title.encode("utf-16-be") in text or as_hex in text, f"no {title!r} in the PDF")


def inflated(part):
    """A compressed part of a PDF; nothing where it is something else."""
    try:
        return zlib.decompress(part)
    except zlib.error:
        return b""


def main():
    """Run the program."""
    folder, screenshots = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    if PROGRAM is None:
        print("check_page: skipped: chromium is not installed (scripts/install-deps.sh --clients)")
        sys.exit(77)
    screenshots.mkdir(parents=True, exist_ok=True)
    browser = Browser()
    try:
        browser.send("Network.enable")
        check_width(browser, folder / "index.html", screenshots)
        open_page(browser, folder / "index.html", 1280)
        check_sections(browser)
        check_regions(browser)
        check_marks_tell(browser)
        check_numbers(browser, folder)
        check_accessible(browser)
        check_screen_reader(browser)
        check_print(browser, screenshots)
        expect(browser.problems == [], f"the console says {browser.problems}")
        asked = [url for url in browser.requests if not url.startswith("data:") and url != (folder / "index.html").as_uri()]
        expect(asked == [], f"the page asks for {asked}")
    finally:
        browser.close()
    print(f"check_page: the page is as it should be; screenshots are in {screenshots}")


if __name__ == "__main__":
    main()
