"""The pictures and the site are made as they are, from what is in the repository."""

import functools
import http.server
import importlib.util
import os
import pathlib
import subprocess
import sys
import threading
import xml.etree.ElementTree

import pytest
from pages import ROOT

sys.path.insert(0, str(ROOT / "tests/report"))
from chromium import Chromium, find_chromium
from layout import LOOKS, expect_room

OPWEAVE = pathlib.Path(os.environ.get("OPWEAVE_BIN", ROOT / "build/default/opweave")).resolve()


def test_the_pictures_can_be_drawn_again(tmp_path):
    environment = {**os.environ, "OPWEAVE_BIN": str(OPWEAVE)}
    subprocess.run([sys.executable, ROOT / "docs/pictures/make.py", tmp_path], env=environment, check=True, timeout=120)
    drawn = {picture.name for picture in tmp_path.glob("*.svg")}
    there = {picture.name for picture in (ROOT / "docs/pictures").glob("*.svg")}
    assert drawn == there - {"folders.svg"}  # that one is drawn by scripts/architecture
    for picture in drawn:
        assert xml.etree.ElementTree.parse(tmp_path / picture).getroot().tag.endswith("svg")


def test_the_gallery_shows_every_picture_with_its_report_and_can_be_drawn_again(tmp_path):
    there = {picture.stem for picture in (ROOT / "docs/gallery").glob("*.svg")}
    page = (ROOT / "docs/gallery.md").read_text()
    assert len(there) >= 6
    for name in there:
        assert f"(gallery/{name}.svg)" in page and f"(gallery/{name}.html)" in page
        assert (ROOT / f"docs/gallery/{name}.html").stat().st_size < 500_000
    environment = {**os.environ, "OPWEAVE_BIN": str(OPWEAVE)}
    drawn = ("strategies", "two-tower")
    command = [sys.executable, ROOT / "docs/pictures/gallery.py", tmp_path, *drawn]
    subprocess.run(command, env=environment, check=True, timeout=120)
    for name in drawn:
        assert xml.etree.ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")
        assert "<html" in (tmp_path / f"{name}.html").read_text()


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium")
def test_every_report_of_the_gallery_has_room_on_a_telephone_and_on_a_desk():
    with Chromium() as browser:
        for report in sorted((ROOT / "docs/gallery").glob("*.html")):
            browser.open(report)
            browser.wait_for("window.opweave?.firstDrawn")
            expect_room(browser)
        assert not browser.complaints, browser.complaints


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, which is built without a warning."""
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed (requirements-docs.txt)")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page(site):
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert all((site / page / "index.html").exists() for page in pages) and (site / "index.html").exists()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def address(site):
    """Of a server of the site, as it behaves otherwise where it is opened as files."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium")
def test_every_page_has_room_on_a_telephone_and_on_a_desk(site, address):
    with Chromium(serves=address) as browser:
        for page in sorted(site.rglob("index.html")):
            browser.open(address + str(page.parent.relative_to(site)) + "/")
            browser.wait_for("document.readyState === 'complete'")
            # Menu and search wait beside a narrow window. Pages are alike: one is looked at in every
            # way, the others where there is least room.
            looks = LOOKS if page.parent == site else LOOKS[:1]
            expect_room(browser, ignored=".md-sidebar, .md-search", looks=looks)
        assert not browser.complaints, browser.complaints


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium")
def test_the_site_is_light_or_dark_as_the_system_asks(site, address):
    with Chromium(serves=address) as browser:
        browser.open(address)
        for asked, scheme in (("dark", "slate"), ("light", "default"), ("dark", "slate")):
            browser.prefer(asked)
            browser.wait_for(f"document.body?.getAttribute('data-md-color-scheme') === '{scheme}'")
