"""Moments of a step."""

from __future__ import annotations

import socket
import time
from typing import Any

import torch


class Clock:
    """Moments of a step: host time, or on a GPU the time on its current stream."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        if self.on_gpu:
            torch.cuda.synchronize(device)
        self.origin = (socket.gethostname(), time.monotonic_ns())
        self.first = self.mark()

    def mark(self) -> Any:
        """A moment, to be asked for with ns() after finish()."""
        if not self.on_gpu:
            return time.monotonic_ns()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def finish(self) -> None:
        """Waits for what the device still does."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def ns(self, mark: Any) -> int:
        """Nanoseconds from the start of the step."""
        if self.on_gpu:
            return int(1e6 * self.first.elapsed_time(mark))
        return int(mark) - self.origin[1]
