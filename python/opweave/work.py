"""Calls of the core that take a while: they see signals, and Ctrl-C ends them with what is known so far."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from opweave import _core
from opweave.progress import ProgressBar

Result = TypeVar("Result")


class Stoppable(Protocol):
    """What runs in one thread while another may end it."""

    def stop(self) -> None:
        """End as soon as possible with what is known so far."""


def run(call: Callable[[], Result], what: Stoppable, look: Callable[[], None] | None = None) -> tuple[Result, bool]:
    """Run *call* in a thread of its own, so that this one sees signals. Returns its result and whether Ctrl-C ended it.

    *look* is called a few times a second. What it raises ends the work and is raised; so is a second Ctrl-C.
    """
    results: list[Result] = []
    errors: list[BaseException] = []
    done = threading.Event()  # Thread.join believes that the thread has ended when a signal interrupts it

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:  # raised again by the caller's thread
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name="opweave", daemon=True).start()
    interrupted = False
    try:
        while not done.wait(0.05):
            if look is not None:
                look()
    except KeyboardInterrupt:
        interrupted = True
        what.stop()
        done.wait()  # a second Ctrl-C is raised from here
    except BaseException:
        what.stop()
        done.wait()
        raise
    if errors:
        raise errors[0]
    return results[0], interrupted


def answer(work: _core.Work, time_limit: float | None = None, progress: bool | None = False) -> Any:
    """The answer of the core, read; a line on standard error where Ctrl-C made it shorter."""
    with ProgressBar(progress, time_limit) as bar:
        text, interrupted = run(work.run, work, lambda: bar.show(work.progress()))
    if interrupted:
        print("opweave: interrupted: what is known so far", file=sys.stderr)
    return json.loads(text)
