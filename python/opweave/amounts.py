"""Amounts as people write them. Files carry exact integers instead."""

from __future__ import annotations

from opweave import _core

Amount = int | str
"""Bytes: an integer, or a text such as "80GiB" or "1.5 GB"."""


def to_bytes(amount: Amount, what: str) -> int:
    """Integer bytes; *what* names the argument in errors."""
    if isinstance(amount, str):
        try:
            return _core.parse_bytes(amount)
        except _core.InputError as error:
            raise _core.InputError(f"{what}: {error}") from None
    return int(amount)
