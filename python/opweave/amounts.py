"""Amounts as people write them. Files carry exact integers instead."""

from __future__ import annotations

from opweave import _core
from opweave.arguments import expect

Amount = int | str
"""Bytes: an integer, or a text such as "80GiB" or "1.5 GB"."""


def to_bytes(amount: Amount, what: str) -> int:
    """Integer bytes; *what* names the argument in errors."""
    if isinstance(amount, str):
        try:
            return _core.parse_bytes(amount)
        except _core.InputError as error:
            raise _core.InputError(f"{what}: {error}") from None
    expect(amount, int, what, 'bytes as an integer, or a text such as "80GiB"')
    return amount


_LEAST_MEMORY = 1_000_000
"""Of a device that exists."""


def to_memory(amount: Amount, what: str, whole: int) -> int:
    """Bytes of a device that has *whole*. A number without a unit that somebody meant in GB is an error."""
    size = to_bytes(amount, what)
    if 0 < size < _LEAST_MEMORY <= whole:
        bare = str(amount).strip()
        hint = f'\nhint: {what}="{bare}GB"' if bare.isdigit() else ""
        raise _core.InputError(f"{what}: value is {_core.human_bytes(size)} of {_core.human_bytes(whole)}{hint}")
    return size
