"""Running plans on processes with torch.distributed. See docs/running.md.

Compiling a plan, durations and traces need no torch; what runs is imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from opweave.run.compiler import compile_plan
from opweave.run.durations import measured_durations, with_durations
from opweave.run.errors import LaunchError, PeerError, ProgramError, VerificationError
from opweave.run.feedback import feed_back
from opweave.run.perfetto import trace
from opweave.run.placement import compile_placement
from opweave.run.program import Action, ActionTiming, Message, Placement, Program, Segment
from opweave.run.runnable import runnable_graph

if TYPE_CHECKING:
    from opweave.run.executor import Executor, execute, gather_timings
    from opweave.run.launcher import launch
    from opweave.run.measure import measured_graph
    from opweave.run.pipelining import PipeliningRunner
    from opweave.run.step import StepResult
    from opweave.run.traced import TracedModel
    from opweave.run.verification import Verification, verify

_NEEDS_TORCH = {
    "Executor": "executor",
    "PipeliningRunner": "pipelining",
    "StepResult": "step",
    "TracedModel": "traced",
    "Verification": "verification",
    "execute": "executor",
    "gather_timings": "executor",
    "launch": "launcher",
    "measured_graph": "measure",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        module = import_module(f"opweave.run.{_NEEDS_TORCH[name]}")
        value = getattr(module, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Action",
    "ActionTiming",
    "Executor",
    "LaunchError",
    "Message",
    "PeerError",
    "PipeliningRunner",
    "Placement",
    "Program",
    "ProgramError",
    "Segment",
    "StepResult",
    "TracedModel",
    "Verification",
    "VerificationError",
    "compile_placement",
    "compile_plan",
    "execute",
    "feed_back",
    "gather_timings",
    "launch",
    "measured_durations",
    "measured_graph",
    "runnable_graph",
    "trace",
    "verify",
    "with_durations",
]
