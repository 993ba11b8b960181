"""What graphs, clusters and plans have in common: they are values that are written as JSON (docs/formats.md)."""

from __future__ import annotations

import functools
import json
import os
from typing import Any

from opweave import _core


def read_text(path: str | os.PathLike[str]) -> str:
    """Whole content of a file; InputError naming the file and the reason."""
    return _core.read_file(os.fspath(path))


class Document:
    """An immutable value with a canonical JSON text: equal content, equal text."""

    def to_json(self) -> str:
        """The file of this value, in the canonical form of docs/formats.md."""
        raise NotImplementedError

    @functools.cached_property
    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.to_json())
        return content

    def to_dict(self) -> dict[str, Any]:
        """The content of the file as a new dictionary, keys as in docs/formats.md."""
        content: dict[str, Any] = json.loads(self.to_json())
        return content

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file; a reader sees the old or the new content, never a part."""
        _core.write_file(os.fspath(path), self.to_json())

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or not isinstance(other, Document):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())
