"""What graphs, clusters and plans have in common: they are values that are written as JSON (docs/formats.md)."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from opweave import _core
from opweave.arguments import expect

if TYPE_CHECKING:
    from typing_extensions import Self

Core = TypeVar("Core", _core.Graph, _core.Cluster, _core.Model)


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


class Input(Document, Generic[Core]):
    """A document that stands for itself: it is read without others (a plan needs its graph and cluster)."""

    _kind: ClassVar[str]  # "graph": what errors call a text without a name, and the end of the file's "format"
    _core: Core

    def __init__(self, core: Core) -> None:
        """Users call from_json, from_file, from_dict or what the class has beside them."""
        self._core = core

    @staticmethod
    def _parse(text: str, source: str) -> Any:
        """The value of the core; *source* names the text in errors."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, text: str, source: str | None = None) -> Self:
        """Read a text; *source* names it in errors. Raises InputError."""
        expect(text, str, cls._kind, "a text in JSON")
        return cls(cls._parse(text, source or cls._kind))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file. Raises InputError naming file, place and value."""
        expect(path, (str, os.PathLike), cls._kind, "the path of a file")
        return cls.from_json(read_text(path), os.fspath(path))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: str | None = None) -> Self:
        """Read a dictionary with the keys of the file; "format" and "version" may be left out. Raises InputError."""
        expect(content, Mapping, cls._kind, "a dictionary with the keys of the file")
        return cls.from_json(json.dumps({"format": f"opweave.{cls._kind}", "version": 1, **content}), source)

    def to_json(self) -> str:
        """The file of this value, in canonical form."""
        return self._core.to_json()

    def __reduce__(self) -> tuple[Any, ...]:  # pickle and copy know nothing of the core
        return type(self).from_json, (self.to_json(),)

    @property
    def name(self) -> str:
        """Name of the value, as in its file."""
        return self._core.name

    @property
    def content_hash(self) -> str:
        """16 hexadecimal digits: equal content, equal hash."""
        return self._core.content_hash()
