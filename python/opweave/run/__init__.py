"""Running plans on processes with torch.distributed. See docs/running.md."""

from opweave.run.compile_plan import compile_plan
from opweave.run.errors import LaunchError, PeerError, ProgramError
from opweave.run.executor import ActionTiming, Executor, StepResult, execute, gather_timings
from opweave.run.launch import launch
from opweave.run.program import Action, Message, Program, Segment

__all__ = [
    "Action",
    "ActionTiming",
    "Executor",
    "LaunchError",
    "Message",
    "PeerError",
    "Program",
    "ProgramError",
    "Segment",
    "StepResult",
    "compile_plan",
    "execute",
    "gather_timings",
    "launch",
]
