"""The pictures and the site are made as they are, from what is in the repository."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

import pytest
from pages import ROOT

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


def test_the_site_is_built_without_a_warning(tmp_path):
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed (requirements-docs.txt)")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tutorial/index.html").exists()
