"""Where workers run that share the work of a call (docs/distributed.md)."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from opweave import _core
from opweave.arguments import expect, expect_count

_MOST_WORKERS = 100_000


def to_place(on: str | None, workers: int | None) -> tuple[_core.Place | None, int]:
    """The place that *on* names, None without one, and the number of workers, 0 = as many as the place has cores."""
    expect(on, (str, type(None)), "on", "a text: processes, ray or ray://HOST:PORT")
    if workers is not None:
        expect_count(workers, "workers")
        if workers > _MOST_WORKERS:
            raise _core.InputError(f"workers: value is {workers}, expected an integer from 1 to {_MOST_WORKERS}")
    return None if on is None else _core.Place(on, _program(), sys.executable), workers or 0


def _program() -> str:
    """The program opweave that belongs to this package: of the build folder, beside this interpreter, of the path."""
    built = Path(_core.__file__).resolve().parents[2] / "opweave"
    installed = Path(sysconfig.get_path("scripts")) / "opweave"
    for program in (built, installed):
        if program.is_file() and os.access(program, os.X_OK):
            return str(program)
    return shutil.which("opweave") or "opweave"
