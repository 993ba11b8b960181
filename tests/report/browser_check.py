"""Opens a report in headless Chromium and uses it as a reader would.

python3 browser_check.py PAGE MILLISECONDS [PICTURES]; exit status 77 where there is no Chromium.
MILLISECONDS is the limit for the first picture. Screenshots are written to the folder PICTURES, if given.
"""

import collections
import itertools
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path

from chromium import Chromium, find_chromium
from layout import expect_room
from reader import COLOUR, PIXEL, PLACE, Reader

SIZES = ((1280, 800), (1920, 1080))
PHASES = ("none", "f", "i", "w", "b", "o")


def check_opening(reader):
    paint = reader.browser.wait_for("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    slowest = max(reader.first_drawn, paint)
    assert slowest < reader.limit, f"first picture after {slowest:.0f} ms, limit {reader.limit} ms"
    tasks = len(reader.source["tasks"]["copy"])
    assert f"{tasks:,} tasks" in reader.text("summary"), reader.text("summary")
    assert reader.source["graph"] in reader("document.title")
    assert reader("document.querySelectorAll('#devices tbody tr').length") == len(reader.source["devices"])
    assert reader("document.querySelectorAll('#comparison tbody tr').length") == len(reader.source["comparison"])
    assert reader("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window"
    return slowest


def check_cells(reader):
    """The longest task of each phase has the colour of the phase and opens with a click."""
    reader.browser.key("f")
    if reader("document.getElementById('colour-phase').disabled"):
        return
    reader("document.getElementById('colour-phase').click()")
    operators, tasks = reader.source["operators"], reader.source["tasks"]
    op, ops = 0, []
    for difference in tasks["op"]:
        op += difference
        ops.append(op)
    longest = {}
    for task, duration in enumerate(tasks["duration"]):
        phase = operators["phase"][ops[task]]
        if phase not in longest or duration > tasks["duration"][longest[phase]]:
            longest[phase] = task
    for phase, task in longest.items():
        name = reader.task_name(task)
        reader.browser.key("/")
        reader.browser.type(name)
        reader("document.getElementById('search').requestSubmit()")
        reader("document.getElementById('lanes').focus()")
        reader.browser.key("Enter")
        reader.settle()
        assert reader.selected_name() == name, (reader.selected_name(), name)
        reader.browser.key("Escape")
        reader.settle()
        assert reader.selected_name() is None
        place = reader(f"{PLACE}({task})")
        assert place["inside"] and place["width"] > 50, (name, place)
        # Beside the label, which starts at the left.
        x = place["x"] + place["width"] / 2 - 6
        pixel = reader(f"{PIXEL}('cells', {x}, {place['y']})")
        assert pixel == reader(f"{COLOUR}('--phase-{PHASES[phase]}')"), (name, pixel)
        reader.browser.mouse("mouseMoved", place["x"], place["y"])
        reader.settle()
        tooltip = reader.text("tooltip")
        assert reader("!document.getElementById('tooltip').hidden") and name in tooltip, tooltip
        for label in ("start", "end", "duration", "stream", "device"):
            assert label in tooltip, tooltip
        reader.browser.click(place["x"], place["y"])
        assert reader.selected_name() == name
        reader.browser.key("Escape")
    reader.browser.key("f")


def check_navigation(reader):
    browser, makespan = reader.browser, reader.source["statistics"]["makespan"]
    box = reader.lanes()
    x, y = box["left"] + 0.6 * box["width"], box["top"] + 10
    assert reader.range() == (0, makespan)

    under = f"opweave.view.from + ({x - box['left']} - opweave.view.gutter) / opweave.view.width * (opweave.view.to - opweave.view.from)"
    before = reader(under)
    browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300)
    start, end = reader.range()
    assert end - start < 0.6 * makespan, (start, end)
    assert abs(reader(under) - before) < makespan / 500, "the time under the pointer moved"

    browser.drag(x, y, x - 100, y)
    moved = reader.range()
    assert moved[0] > start and abs((moved[1] - moved[0]) - (end - start)) < 1, (moved, start, end)
    browser.key("ArrowLeft")
    assert reader.range()[0] < moved[0]
    span = moved[1] - moved[0]
    browser.key("+")
    assert reader.range()[1] - reader.range()[0] < span
    browser.key("-")
    reader("document.getElementById('zoom-in').click()")
    assert reader.range()[1] - reader.range()[0] < span
    browser.key("0")
    assert reader.range() == (0, makespan)

    # A range on the overview, the second quarter of the plan, whatever is visible before.
    browser.key("+")
    reader.settle()
    axis = reader("(({top}) => top)(document.getElementById('axis').getBoundingClientRect())")
    gutter, width = reader("[opweave.view.gutter, opweave.view.width]")
    browser.drag(box["left"] + gutter + width / 4, axis + 10, box["left"] + gutter + width / 2, axis + 10)
    start, end = reader.range()
    assert abs(start - makespan / 4) < makespan / 100 and abs(end - makespan / 2) < makespan / 100, (start, end)
    browser.key("f")

    # Zoomed out completely, the wheel belongs to the page again.
    browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=300)
    assert reader.range() == (0, makespan)
    reader("scrollTo(0, 0)")


def check_memory(reader):
    """The tooltip under a device tells what is in use at the time under the pointer."""
    device = reader.source["devices"][0]
    reader("document.getElementById('lanes').scrollTop = 0")
    row = reader("opweave.view.rows.find(row => row.kind === 'memory').y")
    height = reader("opweave.view.rows.find(row => row.kind === 'memory').height")
    box = reader.lanes()
    reader.browser.mouse("mouseMoved", box["left"] + box["width"] - 2, box["top"] + row + height / 2)
    reader.settle()
    tooltip = reader.text("tooltip")
    assert f"memory of {device['name']}" in tooltip, tooltip
    left = sum(device["memory"]["bytes"])  # what is still there at the end of the plan
    assert (f"({left:,} B)" if left >= 1024 else f"in use{left} B") in tooltip, (left, tooltip)


def check_search(reader):
    names, copies = reader.source["operators"]["name"], reader.source["tasks"]["copy"]
    ops, op = [], 0
    for difference in reader.source["tasks"]["op"]:
        op += difference
        ops.append(op)
    part = names[0].split(".")[-1].lower()
    expected = sum(part in names[op].lower() for op in ops)
    reader.browser.key("/")
    reader.browser.type(part)
    reader.settle()
    assert reader.text("matches") == f"{expected:,} found", (reader.text("matches"), expected)
    reader("document.getElementById('search').requestSubmit()")
    assert reader.text("matches") == f"1 of {expected:,}"
    assert part in reader.selected_name().lower()
    reader.browser.key("Escape")
    per_name = collections.Counter(ops)[ops[0]]
    if per_name > 1:
        reader.browser.key("/")
        reader.browser.type(f"{names[ops[0]]}#{copies[0]}")
        reader.settle()
        longer = sum(
            names[ops[0]].lower() in names[op].lower() and copy == copies[0]
            for op, copy in zip(ops, copies, strict=False)
        )
        assert reader.text("matches") == f"{longer:,} found", reader.text("matches")
        reader.browser.key("Escape")
    reader.browser.key("/")
    reader.browser.type("no such operator")
    reader.settle()
    assert reader.text("matches") == "no match"
    reader.browser.key("Escape")
    assert reader.text("matches") == ""
    reader.browser.key("f")


def check_toggles(reader):
    height = reader("opweave.view.rowsHeight")
    reader.browser.key("m")
    reader.settle()
    assert reader("opweave.view.rowsHeight") < height
    reader.browser.key("m")
    reader.browser.key("]")
    reader.settle()
    reader.browser.key("[")
    reader.settle()
    if reader.source["transfers"]["copy"]:
        reader("document.getElementById('show-transfers').click()")
        reader.settle()
        assert "in view" in reader.text("note"), reader.text("note")
        reader.browser.key("t")
        reader.settle()
        assert reader.text("note") == ""
    # What the line of the critical path and the bands of idle time add to the legend.
    for key, words in (("k", "critical path"), ("i", "idle:")):
        legend = reader.text("legend")
        reader.browser.key(key)
        reader.settle()
        assert words not in legend and words in reader.text("legend"), (words, reader.text("legend"))
        reader.browser.key(key)
    if reader("!document.getElementById('colour-stage').disabled"):
        reader("document.getElementById('colour-stage').click()")
        assert "stage 0" in reader.text("legend"), reader.text("legend")
        reader("document.getElementById('colour-phase').click()")
    reader.browser.key("?")
    assert reader("document.getElementById('keys').open")
    reader("document.getElementById('keys').close()")


def check_themes(reader):
    browser = reader.browser
    background = "getComputedStyle(document.documentElement).backgroundColor"
    beside = "document.querySelector('#beside canvas')?.toDataURL() ?? null"
    shades, pictures = {}, {}
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        reader.settle()
        shades[scheme] = (reader(background), tuple(reader(f"{COLOUR}('--panel')")))
        pictures[scheme] = reader(beside)
    assert shades["light"] != shades["dark"], shades
    assert pictures["light"] is None or pictures["light"] != pictures["dark"], "side by side keeps the other theme"
    browser.prefer("light")
    for _ in range(2):  # auto, light, dark
        reader("document.getElementById('theme-button').click()")
    reader.settle()
    assert reader(background) == shades["dark"][0]
    reader("document.getElementById('theme-button').click()")
    assert reader(background) == shades["light"][0]


def check_explanation(reader):
    """Causes fill the bubble of every device, the path the makespan; both as the plan states them."""
    makespan = reader.source["statistics"]["makespan"]
    for device in reader.source["devices"]:
        assert sum(device["idle"]["length"]) == device["statistics"]["bubble"], device["name"]
    assert sum(reader.source["explanation"]["path"]["length"]) == makespan
    assert reader("opweave.criticalPath.at(-1)?.until ?? 0") == makespan
    rows = len(reader.source["devices"])
    assert reader("document.querySelectorAll('#idle tbody tr').length") == rows + (rows > 1)
    beside = reader.source["beside"]["rows"]
    assert reader("!document.getElementById('beside').hidden") == (len(beside) > 1)
    assert reader.source["provenance"]["command"] in reader.text("provenance")


def check_parameters(reader):
    """Per device a closed line; opened, it lists what lives there, the largest first."""
    holding = [device for device in reader.source["devices"] if device["parameters"]]
    assert reader("document.querySelectorAll('details.parameters').length") == len(holding)
    if not holding:
        return
    assert reader("document.querySelectorAll('details.parameters table').length") == 0
    first = holding[0]
    indices = list(itertools.accumulate(first["parameters"]))
    known = reader.source["parameters"]
    reader("document.querySelector('details.parameters summary').click()")
    reader.settle()
    shown = reader("[...document.querySelectorAll('details.parameters tbody tr')].map(row => row.cells[0].textContent)")
    assert shown == [known["name"][i] for i in sorted(indices, key=lambda i: (-known["bytes"][i], i))][:2000], shown[:5]
    reader("document.querySelector('details.parameters summary').click()")


def downloaded(reader, button, name):
    """Content of the file that a button saves."""
    with tempfile.TemporaryDirectory() as folder:
        reader.browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=folder)
        reader(f"document.getElementById('{button}').click()")
        deadline = time.monotonic() + 20
        picture = Path(folder) / name
        while not picture.exists():
            assert time.monotonic() < deadline, f"{name} was not saved"
            time.sleep(0.05)
        return picture.read_bytes()


def check_picture_export(reader):
    assert downloaded(reader, "save-picture", "opweave-plan.png").startswith(b"\x89PNG")
    for show in (False, True):  # with everything that can be drawn
        root = xml.etree.ElementTree.fromstring(downloaded(reader, "save-drawing", "opweave-plan.svg"))
        assert root.tag.endswith("svg") and float(root.get("width")) > 500
        texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
        assert texts & set(reader.source["streams"]), texts
        if not show:
            for key in "kit":
                reader.browser.key(key)
            reader.settle()
    for key in "kit":
        reader.browser.key(key)


def check_names_are_text(reader):
    assert reader("document.getElementById('injected')") is None
    assert reader("document.querySelectorAll('script').length") == 2


# What is written on the canvases when everything is drawn.
DRAWN_TEXTS = """(() => {
  const texts = [], canvas = CanvasRenderingContext2D.prototype, fillText = canvas.fillText;
  canvas.fillText = function (text, ...where) { texts.push(text); fillText.call(this, text, ...where); };
  try { window.opweave.drawAll(); } finally { canvas.fillText = fillText; }
  return texts;
})()"""


def check_names_are_whole(reader):
    """Names of devices stand there whole, but for what all begin with; parts of operators begin after a separator."""
    texts = reader(DRAWN_TEXTS)
    names = [device["name"] for device in reader.source["devices"]]
    note = [text for text in reader.text("legend").split("names of devices without “")[1:]]
    left_out = note[0].split("” in front")[0] if note else ""
    assert all(name.startswith(left_out) for name in names) and (not left_out or left_out[-1] in "./:_- ")
    shown = {text for text in texts if left_out + text in names}
    assert shown and not any(text.endswith("…") for text in texts), texts
    layers = {reader.source["words"][layer] for layer in reader.source["operators"]["layer"] if layer >= 0}
    labels = set(reader.source["operators"]["name"]) | layers
    for text in texts:
        if "…" in text:
            rest = text.split("…")[1]
            assert any(name.endswith(rest) and name[-len(rest) - 1] in "./:_- " for name in labels), text
    heights = reader("""[...document.querySelectorAll('td .name')]
        .map(name => name.getClientRects().length)""")
    assert heights and set(heights) == {1}, "a name of a device goes over several lines"


def check_lanes(reader):
    """A lane for every stream on which something runs, and for the compute stream of each device."""
    held = set()
    for op, devices in zip(
        reader("[...window.opweave.tasks.op]"), reader("[...window.opweave.tasks.devices]"), strict=True
    ):
        mask = reader.source["operators"]["streams"][op]
        held |= {
            (device, stream)
            for device in reader.source["device_sets"][devices]
            for stream in range(len(reader.source["streams"]))
            if mask >> stream & 1
        }
    held |= {(device, 0) for device in range(len(reader.source["devices"]))}
    drawn = reader(
        "window.opweave.view.rows.filter(row => row.kind === 'lane').map(row => [row.device.index, row.lane.stream])"
    )
    assert sorted(held) == sorted(map(tuple, drawn)), drawn


def check_figures(reader):
    """Speed is shown where it is known, and what memory is for adds up to the peak of every device."""
    work, labels = reader.source["work"], reader.text("figures")
    assert ("TFLOP/s" in labels) == bool(work["flops"]) and ("MFU" in labels) == bool(work["peak_flops_per_s"]), labels
    assert ("Tokens/s" in labels) == bool(work["tokens"]), labels
    parts = reader("window.opweave.devices.map(device => window.opweave.memoryParts(device).map(part => part[1]))")
    for device, split in zip(reader.source["devices"], parts, strict=True):
        assert abs(sum(split) - device["statistics"]["peak_memory"]) < 4, split
        assert len(split) == 4 and min(split) >= 0, split
    assert "Times" in reader.text("provenance")
    room = reader("""['a-b.c', 9, 'a-b.c', 4, 'a-b.c', 3, 'a-b.c', 2, 'abcdef', 5, 'x.', 2]
        .flatMap((name, i, all) => i % 2 ? [] : [window.opweave.lastParts(name, all[i + 1])])""")
    assert room == ["…b.c", "…b.c", "…c", "…c", "", ""], room


def take_screenshots(reader, folder, name):
    for width, height in SIZES:
        for scheme in ("light", "dark"):
            reader.browser.resize(width, height)
            reader.browser.prefer(scheme)
            reader.settle()
            reader.browser.screenshot(folder / f"{name}-{width}x{height}-{scheme}.png")


def main():
    if find_chromium() is None:
        print("skipped: no chromium")
        sys.exit(77)
    page, limit = Path(sys.argv[1]), float(sys.argv[2])
    with Chromium(*SIZES[0]) as browser:
        browser.prefer("light")
        reader = Reader(browser, page, limit)
        slowest = check_opening(reader)
        for check in (
            check_names_are_text,
            check_names_are_whole,
            check_lanes,
            check_figures,
            check_explanation,
            check_parameters,
            check_cells,
            check_memory,
            check_navigation,
            check_search,
            check_toggles,
            check_themes,
            check_picture_export,
        ):
            check(reader)
        expect_room(browser)
        browser.resize(*SIZES[0])
        assert not browser.complaints, browser.complaints
        redraw = reader(
            "(() => { const start = performance.now(); opweave.drawAll(); return performance.now() - start })()"
        )
        print(
            f"{page.name}: {page.stat().st_size:,} bytes, first picture after {slowest:.0f} ms, "
            f"redrawn in {redraw:.0f} ms"
        )
        if len(sys.argv) > 3:
            take_screenshots(reader, Path(sys.argv[3]), page.stem)


if __name__ == "__main__":
    main()
