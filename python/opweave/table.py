"""Tables as people see them: text in terminals, HTML in notebooks, frames of pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from opweave import _core

if TYPE_CHECKING:
    import pandas

Tables = list[tuple[Sequence[str], Sequence[Sequence[str]]]]
"""Headings and rows of each."""

_MOST_ROWS = 40
"""Of a table in a notebook."""


def as_text(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their cells; numbers to the right."""
    table = [tuple(_core.readable(cell) for cell in row) for row in (headings, *rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(headings))]
    right = [len(table) > 1 and all(row[i][:1] in "0123456789-+" for row in table[1:]) for i in range(len(headings))]
    lines = (
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in table
    )
    return "\n".join(lines)


def as_html(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; of long ones the first rows, and how many there are more."""
    body = list(rows)
    left = len(body) - _MOST_ROWS

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(_core.readable(cell))}</{tag}>" for cell in cells) + "</tr>"

    more = f"<p>and {left} more</p>" if left > 0 else ""
    return "<table>" + line(headings, "th") + "".join(line(row, "td") for row in body[:_MOST_ROWS]) + "</table>" + more


def titled(name: str, text: str) -> str:
    """A line of HTML that begins with a name in bold."""
    return f"<p><b>{escape(_core.readable(name))}</b>: {escape(text)}</p>"


def as_frame(records: Sequence[Mapping[str, Any]]) -> pandas.DataFrame:
    """Records as a table of pandas, which must be installed."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas() needs pandas: pip install pandas") from error
    return pandas.DataFrame([dict(record) for record in records])
