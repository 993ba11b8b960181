"""The errors that opweave raises."""

from __future__ import annotations

from typing import Any

from opweave._core import InputError, InternalError
from opweave.bound import Bound

__all__ = ["CaptureError", "InputError", "InternalError", "NoPlanError"]


class CaptureError(InputError):
    """A model cannot be captured. The message names the module and the reason."""


class NoPlanError(RuntimeError):
    """There is no plan: none exists, or none was found within the limits.

    Attributes:
        infeasible: True if it is proven that no valid plan exists.
        detail: Why, in one line; may be empty.
        limit: The limit that ended the search ("time 60 s", "work 1000", "interrupt"), or empty.
        bounds: Lower bounds on the makespan, known even without a plan.
    """

    def __init__(self, *, infeasible: bool, detail: str, limit: str, bounds: tuple[Bound, ...]) -> None:
        message = "no plan exists" if infeasible else "no plan found"
        if limit:
            message += f" ({limit})"
        if detail:
            message += f": {detail}"
        super().__init__(message)
        self.infeasible = infeasible
        self.detail = detail
        self.limit = limit
        self.bounds = bounds

    def __reduce__(self) -> tuple[Any, ...]:  # as it is made, so that it comes through a pool of processes
        return _no_plan, (self.infeasible, self.detail, self.limit, self.bounds)


def _no_plan(infeasible: bool, detail: str, limit: str, bounds: tuple[Bound, ...]) -> NoPlanError:
    return NoPlanError(infeasible=infeasible, detail=detail, limit=limit, bounds=bounds)
