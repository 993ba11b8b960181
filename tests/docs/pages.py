"""The pages of the documentation and their code blocks."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted(
    page.relative_to(ROOT)
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "examples/*/README.md")
    for page in ROOT.glob(pattern)
)
BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!-- (setup|needs|instead): (.*?) -->", re.DOTALL)


class Block:
    """A code block of a page with the comments directly before it."""

    def __init__(self, page, match, between):
        self.page = page
        self.language = match["language"].strip()
        self.text = re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        # Only comments directly before the block belong to it.
        self.comments = COMMENT.findall(between.rsplit("\n\n\n", 1)[-1])

    def all(self, kind):
        return [text for of, text in self.comments if of == kind]


def blocks(page):
    text = (ROOT / page).read_text()
    end = 0
    for match in BLOCK.finditer(text):
        yield Block(page, match, text[end : match.start()])
        end = match.end()
