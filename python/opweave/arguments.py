"""Arguments of the wrong kind, said in one line before anything is done with them."""

from __future__ import annotations

from typing import Any

from opweave._core import InputError


def expect(value: Any, kinds: type | tuple[type, ...], name: str, expected: str) -> None:
    """Raises InputError unless *value* is of one of *kinds*; *expected* says what they are, in words."""
    # True is an int to Python and none to people.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in _as_tuple(kinds)):
        raise InputError(f"{name}: value is {_text(value)}, expected {expected}")


def expect_count(value: Any, name: str, least: int = 1) -> None:
    """Raises InputError unless *value* is an integer from *least*."""
    expected = f"an integer from {least}"
    expect(value, int, name, expected)
    if value < least:
        raise InputError(f"{name}: value is {value}, expected {expected}")


def expect_one_of(value: Any, known: tuple[Any, ...], name: str) -> None:
    """Raises InputError unless *value* is one of *known*."""
    if not any(value is one or (isinstance(value, str) and value == one) for one in known):
        *first, last = (str(one) for one in known)
        raise InputError(f"{name}: value is {_text(value)}, expected {', '.join(first)} or {last}")


def _as_tuple(kinds: type | tuple[type, ...]) -> tuple[type, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)


def _text(value: Any) -> str:
    """Short values as they are, with texts in quotes; others by their class."""
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return f"of class {type(value).__name__}"
