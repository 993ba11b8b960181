"""Opens the page of a strategy in headless Chromium, at two sizes, light and dark, and uses it as a reader would.

python3 strategy_page_check.py PAGE PAGE_WITH_COMPONENT [PICTURES]; exit status 77 where there is no Chromium.
"""

import sys
from pathlib import Path

from chromium import Chromium, find_chromium
from layout import expect_room


def check(browser, page, pictures):
    for width, height in ((1280, 800), (1920, 1080)):
        for scheme in ("light", "dark"):
            browser.resize(width, height)
            browser.prefer(scheme)
            browser.open(page)
            browser.wait_for("window.opweave?.firstDrawn")
            evaluate = browser.evaluate
            assert evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than the window"
            # Memory, time, layers and mesh are on the first screen.
            for part in ("memory", "time", "layers", "mesh"):
                bottom = evaluate(f"document.getElementById('{part}').getBoundingClientRect().top")
                assert bottom < height, (part, bottom)
            background = evaluate("getComputedStyle(document.documentElement).backgroundColor")
            assert (background == "rgb(15, 18, 22)") == (scheme == "dark"), background
            if pictures:
                browser.screenshot(Path(pictures) / f"{Path(page).stem}-{width}-{scheme}.png")
    source = evaluate("opweave.source")
    best = source["strategies"][0]
    layers = sum(run["count"] for run in source["model"]["layers"])
    assert evaluate("document.querySelectorAll('.layers-map i').length") == layers
    assert abs(sum(part["count"] for stage in best["stages"] for part in stage["layers"]) - layers) < 1e-6
    # The largest stage is the one that the value of the strategy is about.
    totals = [stage["memory_bytes"]["total"] for stage in best["stages"]]
    assert max(totals) == best["memory_bytes"]["total"] == totals[best["memory_bytes"]["stage"]]
    rows = evaluate("document.querySelectorAll('#runners tbody tr').length")
    assert rows == len(source["strategies"]) == evaluate("document.querySelectorAll('#time .choice').length")
    # A click on a runner-up shows it everywhere.
    before = evaluate("document.getElementById('figures').textContent")
    evaluate("document.querySelectorAll('#time .choice')[1].click()")
    assert evaluate("document.getElementById('figures').textContent") != before
    assert evaluate("document.querySelector('#time .shown').dataset.strategy") == "1"
    for theme in ("light", "dark", "auto"):
        evaluate("document.getElementById('theme-button').click()")
        assert evaluate("document.documentElement.dataset.theme") == theme
    assert not evaluate("document.getElementById('injected') !== null"), "a name became markup"
    expect_room(browser)
    assert not browser.complaints, browser.complaints


def check_component(browser, page):
    """Ranks of a component's own mesh are the first, and each mesh has its table."""
    browser.open(page)
    browser.wait_for("window.opweave?.firstDrawn")
    source = browser.evaluate("opweave.source")
    machines, best = source["machines"], source["strategies"][0]["strategy"]
    (own,) = best["components"]
    axes = ("tensor", "context", "data", "pipeline")
    ranks = own["tensor"] * own["context"] * own["data"] * own["pipeline"]
    devices = machines["nodes"] * machines["devices_per_node"]
    captions = browser.evaluate("[...document.querySelectorAll('#mesh .caption')].map(e => e.textContent)")
    assert captions[:2] == [f"tower: {ranks} ranks", f"all others: {devices - ranks} ranks"], captions
    rows = browser.evaluate("[...document.querySelectorAll('#mesh table.mesh tr')].map(e => e.children[1].textContent)")
    assert rows[:8] == [str(mesh[axis]) for mesh in (own, best) for axis in axes], rows
    titles = browser.evaluate("[...document.querySelectorAll('#mesh .devices i')].map(e => e.title)")
    assert len(titles) == devices
    assert all(("tower" in title) == (rank < ranks) for rank, title in enumerate(titles)), titles
    assert titles[ranks] == f"rank {ranks}: t0 c0 d0 p{own['pipeline']}" and titles[-1].startswith(f"rank {devices - 1}: t")
    layers = browser.evaluate("[...document.querySelectorAll('.layers-map i')].map(e => Number(e.textContent))")
    assert layers == sorted(layers) and layers[-1] == own["pipeline"] + best["pipeline"] - 1
    assert "tower" in browser.evaluate("document.getElementById('runners').textContent")
    assert not browser.complaints, browser.complaints


def main():
    if find_chromium() is None:
        print("no Chromium")
        sys.exit(77)
    with Chromium() as browser:
        check(browser, sys.argv[1], sys.argv[3] if len(sys.argv) > 3 else None)
        check_component(browser, sys.argv[2])


if __name__ == "__main__":
    main()
