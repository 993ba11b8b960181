"""Runs every code block of the documents, page by page, in a temporary folder.

A block says by its language what happens to it:

- sh       is run by bash; it must exit with 0. The blocks of a page share one folder. `opweave` is the program under
           test, with a short limit for `plan` where the block gives none.
- python   is run by this Python, with the package `opweave` of the build folder; left out where that was not built.
- json     must be JSON. With "format": "opweave.<kind>" it is also read by opweave's own reader, as `check_json` says.
- text     is an illustration: output, a picture, a pattern. Nothing is run.
- others   (html, cpp, ...) are not allowed, nor is a block without a language: so that no command is left out by mistake.

HTML comments before a block, invisible to readers, say what it needs:

    <!-- setup: COMMAND -->     is run before it
    <!-- needs: MODULE -->      is left out where this Python has no such module, or where "opweave" was not built
    <!-- instead: COMMAND -->   is run in its place, where the block installs something or runs this very test
"""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPWEAVE = pathlib.Path(os.environ.get("OPWEAVE_BIN", ROOT / "build/default/opweave")).resolve()
PACKAGE = pathlib.Path(os.environ.get("OPWEAVE_PACKAGE", ROOT / "build/default/python"))
PAGES = sorted(
    page.relative_to(ROOT)
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "examples/*/README.md")
    for page in ROOT.glob(pattern)
)
BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!-- (setup|needs|instead): (.*?) -->", re.DOTALL)

# Stands before the program on PATH: a page that plans in earnest would take a minute.
SHIM = """#!/bin/bash
if [ "$1" = plan ]; then
  case " $* " in *" --time-limit "* | *" --work-limit "* | *" --help "*) ;; *) set -- "$@" --time-limit 1 ;; esac
fi
exec "{program}" "$@"
"""


def is_there(module):
    return bool(list(PACKAGE.glob("opweave/_core*")) if module == "opweave" else importlib.util.find_spec(module))


class Block:
    def __init__(self, page, match, between):
        self.page = page
        self.language = match["language"].strip()
        self.text = re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        # Only comments directly before the block belong to it.
        self.comments = COMMENT.findall(between.rsplit("\n\n\n", 1)[-1])

    def all(self, kind):
        return [text for of, text in self.comments if of == kind]

    def is_run(self):
        needed = self.all("needs") + ["opweave"] * (self.language == "python")
        return all(is_there(module) for module in needed)


def blocks(page):
    text = (ROOT / page).read_text()
    end = 0
    for match in BLOCK.finditer(text):
        yield Block(page, match, text[end : match.start()])
        end = match.end()


def run(command, folder, environment):
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=folder, env=environment, text=True,
                          capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}\nexits with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def environment_for(folder):
    programs = folder / ".programs"
    programs.mkdir()
    shim = programs / "opweave"
    shim.write_text(SHIM.format(program=OPWEAVE))
    shim.chmod(0o755)
    if importlib.util.find_spec("highsbox"):  # a solver beside ours, as users have it on their path
        import highsbox

        highs = programs / "highs"
        highs.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{highsbox.highs_lib_dir()}" exec "{highsbox.highs_bin_path()}" "$@"\n')
        highs.chmod(0o755)
    paths = [str(PACKAGE), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), "PATH": f"{programs}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
            "OPWEAVE_SOURCE": str(ROOT), "OPWEAVE_PACKAGE": str(PACKAGE), "HOME": str(folder)}


def check_json(text, folder, environment):
    """Reads the document with the command that is for it; plans and strategies where the page has what they are for."""
    value = json.loads(text)
    kind = value.get("format", "").removeprefix("opweave.") if isinstance(value, dict) else ""
    if not kind:
        return
    (folder / f"{kind}.json").write_text(text)
    if kind == "pipeline":
        run("opweave convert pipeline pipeline.json --shape free --devices 2 -o p.graph.json --cluster p.cluster.json",
            folder, environment)
    if kind == "plan":
        run("opweave check graph.json cluster.json plan.json", folder, environment)
    batch = "--global-batch 64 --sequence 2048"
    if kind == "model":
        run(f"opweave parallelize model.json --cluster h100 {batch}", folder, environment)
    if kind == "machines":
        run(f"opweave parallelize model.json --cluster machines.json {batch}", folder, environment)
    if kind == "strategy":
        run(f"opweave parallelize model.json --cluster h100 {batch} --evaluate strategy.json", folder, environment)
    if kind == "measured-steps":
        run("opweave calibrate measured-steps.json", folder, environment)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_block_of_the_page_runs(page, tmp_path):
    environment = environment_for(tmp_path)
    for block in blocks(page):
        assert block.language in ("sh", "python", "json", "text"), f"{page}: ```{block.language}\n{block.text[:200]}"
        if block.language == "text" or not block.is_run():
            continue
        for command in block.all("setup"):
            run(command, tmp_path, environment)
        if instead := block.all("instead"):
            run("\n".join(instead), tmp_path, environment)
        elif block.language == "sh":
            run(block.text, tmp_path, environment)
        elif block.language == "python":
            script = tmp_path / "block.py"
            script.write_text(block.text)
            run(f"'{sys.executable}' block.py", tmp_path, environment)
        else:
            check_json(block.text, tmp_path, environment)


def test_the_pages_have_blocks_that_run():
    count = sum(block.language == "sh" and block.is_run() for page in PAGES for block in blocks(page))
    assert count >= 12, count


def test_the_pictures_can_be_drawn_again(tmp_path):
    environment = {**os.environ, "OPWEAVE_BIN": str(OPWEAVE)}
    subprocess.run([sys.executable, ROOT / "docs/pictures/make.py", tmp_path], env=environment, check=True, timeout=120)
    drawn = {picture.name for picture in tmp_path.glob("*.svg")}
    there = {picture.name for picture in (ROOT / "docs/pictures").glob("*.svg")}
    assert drawn == there - {"folders.svg"}  # that one is drawn by scripts/architecture
    for picture in drawn:
        assert xml.etree.ElementTree.parse(tmp_path / picture).getroot().tag.endswith("svg")


def test_the_site_is_built_without_a_warning(tmp_path):
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed (requirements-docs.txt)")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path], cwd=ROOT,
                          text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tutorial/index.html").exists()


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)(#[^)]*)?\)|!\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_of_the_page_leads_somewhere(page):
    text = BLOCK.sub("", (ROOT / page).read_text())
    for target, _, picture in LINK.findall(text):
        path = target or picture
        if not re.match(r"[a-z]+:", path):
            assert (ROOT / page).parent.joinpath(path).exists(), f"{page}: {path}"


def test_the_front_page_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


def test_every_page_is_in_the_index():
    linked = {target for target, _, _ in LINK.findall((ROOT / "docs/index.md").read_text())}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - linked == {"index.md"}


SENTENCE_END = re.compile(r"(?<=[.:;?!])\s+")


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/tutorial.md"])
def test_no_sentence_of_a_first_page_is_long(page):
    text = COMMENT.sub("", BLOCK.sub("", (ROOT / page).read_text()))
    prose = [line for line in re.split(r"\n\s*\n|\n(?=[-#|] ?)", text) if not line.lstrip().startswith("|")]
    for paragraph in prose:
        for sentence in SENTENCE_END.split(re.sub(r"\]\([^)]*\)", "]", paragraph)):
            assert len(sentence.split()) <= 35, f"{page}: {sentence}"


def test_the_version_is_the_same_everywhere():
    project = re.search(r"project\(opweave VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
    assert cited == project


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_line_of_prose_is_long(page):
    text = COMMENT.sub("", BLOCK.sub("", (ROOT / page).read_text()))
    prose = [line for line in text.splitlines() if not line.lstrip().startswith(("|", "<!--")) and not line.startswith("    ")]
    assert not [line for line in prose if len(line) > 120 and " " in line[:120]], page
