"""What people see of work that takes a while, in terminals and notebooks."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any

from opweave import _core


def somebody_watches() -> bool:
    """Standard error is a terminal, or this is a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class ProgressBar:
    """Elapsed seconds of the limit, with the best plan so far."""

    def __init__(self, wanted: bool | None, time_limit: float | None) -> None:
        """None for *wanted* shows a bar where somebody watches."""
        self._wanted = somebody_watches() if wanted is None else wanted
        self._limit = time_limit
        self._bar: Any = None

    def __enter__(self) -> ProgressBar:
        if self._wanted:
            from tqdm.auto import tqdm

            form = "{desc} {bar} {n:.0f}/{total:.0f} s{postfix}" if self._limit else "{desc} {n:.0f} s{postfix}"
            self._bar = tqdm(total=self._limit or None, desc="plan", bar_format=form, leave=False)
        return self

    def show(self, state: _core.Progress) -> None:
        """Draw the state; cheap when nothing changed."""
        if self._bar is None:
            return
        elapsed = self._bar.format_dict["elapsed"]
        self._bar.n = min(elapsed, self._limit) if self._limit else elapsed
        if state.makespan_ns:
            gap = 100 * (state.makespan_ns - state.lower_bound_ns) / state.makespan_ns
            text = f"{_core.human_time(state.makespan_ns)}, gap {gap:.1f}% ({state.method})"
            self._bar.set_postfix_str(text, refresh=False)
        self._bar.refresh()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


class Steps:
    """What is being done and for how long, drawn twice a second by a thread of its own, since the work never asks."""

    def __init__(self, title: str, wanted: bool | None) -> None:
        """None for *wanted* shows a line where somebody watches."""
        self._title = title
        self._wanted = somebody_watches() if wanted is None else wanted
        self._bar: Any = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Steps:
        if self._wanted:
            from tqdm.auto import tqdm

            self._bar = tqdm(desc=self._title, bar_format="{desc} ({elapsed})", leave=False)
            self._thread = threading.Thread(target=self._draw, name=f"opweave-{self._title}", daemon=True)
            self._thread.start()
        return self

    def begin(self, step: str) -> None:
        """The next thing to be done."""
        if self._bar is not None:
            self._bar.set_description_str(f"{self._title}: {step}")

    def _draw(self) -> None:
        while not self._done.wait(0.5):
            self._bar.refresh()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._done.set()
            self._thread.join()
            self._bar.close()
