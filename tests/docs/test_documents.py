"""What the pages say: links, length of lines and sentences, index, version."""

import re
import shutil
import subprocess
import sys

import pytest
from pages import BLOCK, COMMENT, PAGES, ROOT

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)(#[^)]*)?\)|!\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_of_the_page_leads_somewhere(page):
    text = BLOCK.sub("", (ROOT / page).read_text())
    for target, _, picture in LINK.findall(text):
        path = target or picture
        if not re.match(r"[a-z]+:", path):
            assert (ROOT / page).parent.joinpath(path).exists(), f"{page}: {path}"


def test_links_of_the_site_stay_in_it():
    """A page of the site cannot lead to what is not on it; mkdocs says so of files alone, not of folders."""
    for page in (ROOT / "docs").rglob("*.md"):
        for target, _, picture in LINK.findall(BLOCK.sub("", page.read_text())):
            path = target or picture
            if not re.match(r"[a-z]+:", path):
                place = (page.parent / path).resolve()
                assert place.is_file() and place.is_relative_to(ROOT / "docs"), f"{page.name}: {path}"


def test_the_front_page_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


def test_results_in_short_are_those_of_the_benchmarks(tmp_path):
    written = ("README.md", "docs/results.md")
    for name in (*written, "benchmarks/results.md", "benchmarks/summary"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run([sys.executable, tmp_path / "benchmarks/summary"], check=True, timeout=60)
    for name in written:
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), f"{name}: run benchmarks/summary"


def test_every_page_is_in_the_index():
    linked = {target for target, _, _ in LINK.findall((ROOT / "docs/index.md").read_text())}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - linked == {"index.md"}


SENTENCE_END = re.compile(r"(?<=[.:;?!])\s+")


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        *(
            f"docs/{name}.md"
            for name in (
                "index",
                "tutorial",
                "train-models",
                "plan-capacity",
                "research-schedules",
                "faq",
                "how-to",
                "what-if",
                "models",
                "python",
                "gallery",
                "report",
                "sweep",
                "explain",
                "export",
            )
        ),
    ],
)
def test_no_sentence_of_a_first_page_is_long(page):
    text = COMMENT.sub("", BLOCK.sub("", (ROOT / page).read_text()))
    prose = [line for line in re.split(r"\n\s*\n|\n(?=[-#|] ?)", text) if not line.lstrip().startswith("|")]
    for paragraph in prose:
        for sentence in SENTENCE_END.split(re.sub(r"\]\([^)]*\)", "]", paragraph)):
            assert len(sentence.split()) <= 35, f"{page}: {sentence}"


# Words that lead in, such as "1. **Streams** (`stream`).", belong to the sentence behind them.
LEADING_WORDS = re.compile(r"^\s*(#+ )?(\d+\.|-)?\s*(\*{1,2}[^*]+\*{1,2})?\.?\s*(\([^)]*\)\.)?")
QUOTED = re.compile(r"`[^`]*`|\"[^\"]*\"")
ABBREVIATION = re.compile(r"\b(e\.g|i\.e|al|vs|cf|[A-Z])\.|\.\.\.|\([^ )]*\.\)")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_sentence_begins_a_line(page):
    text = COMMENT.sub("", BLOCK.sub("", (ROOT / page).read_text()))
    for line in text.splitlines():
        prose = ABBREVIATION.sub("x", LEADING_WORDS.sub("", QUOTED.sub("x", line)))
        is_table = line.lstrip().startswith(("|", "<!--")) or line.startswith("    ")
        assert is_table or not re.search(r"[.?!]\)? +[A-Za-z`*\[]", prose), f"{page}: {line}"


def test_the_version_is_the_same_everywhere():
    project = re.search(r"project\(opweave VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
    assert cited == project


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_line_of_prose_is_long(page):
    text = COMMENT.sub("", BLOCK.sub("", (ROOT / page).read_text()))
    prose = [
        line
        for line in text.splitlines()
        if not line.lstrip().startswith(("|", "<!--")) and not line.startswith("    ")
    ]
    assert not [line for line in prose if len(line) > 120 and " " in line[:120]], page
