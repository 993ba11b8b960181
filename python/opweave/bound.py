"""Lower bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """A value that no valid plan can go below."""

    name: str
    """The argument that proves it, as in docs/bounds.md."""
    value_ns: int
    detail: str
    """Where it binds; may be empty."""
