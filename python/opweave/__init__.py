"""opweave plans how the operators of a neural network are placed and ordered on the devices of a cluster.

>>> import opweave
>>> graph = opweave.Graph.from_file("graph.json")
>>> cluster = opweave.Cluster.from_file("cluster.json")
>>> plan = opweave.plan(graph, cluster, time_limit=10)
>>> plan.show()
>>> plan.report("report.html")

Times are integer nanoseconds and memory is integer bytes; the unit is in the name (``makespan_ns``).
The words are those of docs/concepts.md, the dictionaries those of docs/formats.md.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from opweave._core import __version__
except ModuleNotFoundError as error:
    built = ", ".join(sorted(file.name for file in Path(__file__).parent.glob("_core.*.so")))
    message = f"this Python cannot load the extension module of opweave ({built or 'there is none'}); "
    raise ImportError(message + "build it with this one: make python, or pip install") from error

from opweave import capture, costs
from opweave.bound import Bound
from opweave.capture import capture_onnx
from opweave.cluster import Cluster
from opweave.comparison import Comparison, compare
from opweave.errors import CaptureError, InputError, InternalError, NoPlanError
from opweave.graph import Graph
from opweave.insight import (
    ParetoCurve,
    PlanChanges,
    PlanDiff,
    PlanExplanation,
    StrategyChanges,
    StrategyDiff,
    StrategyExplanation,
    Sweep,
    diff,
    explain,
    merge_sweeps,
    pareto,
    sweep,
    what_if,
)
from opweave.models import Model
from opweave.pipeline import Pipeline
from opweave.planner import check, lower_bounds, plan
from opweave.plans import Plan, Violation
from opweave.simulation import Simulation, simulate
from opweave.strategies import Calibration, RankedStrategy, Strategies, calibrate, parallelize

if TYPE_CHECKING:
    from opweave import export, run
    from opweave.capture import capture as capture  # type: ignore[no-redef]


def __getattr__(name: str) -> Any:
    """What is imported on first use: `opweave.run`, `opweave.export`."""
    if name in ("run", "export"):
        return import_module(f"opweave.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Bound",
    "Calibration",
    "CaptureError",
    "Cluster",
    "Comparison",
    "Graph",
    "InputError",
    "InternalError",
    "Model",
    "NoPlanError",
    "ParetoCurve",
    "Pipeline",
    "Plan",
    "PlanChanges",
    "PlanDiff",
    "PlanExplanation",
    "RankedStrategy",
    "Simulation",
    "Strategies",
    "StrategyChanges",
    "StrategyDiff",
    "StrategyExplanation",
    "Sweep",
    "Violation",
    "__version__",
    "calibrate",
    "capture",
    "capture_onnx",
    "check",
    "compare",
    "costs",
    "diff",
    "explain",
    "export",
    "lower_bounds",
    "merge_sweeps",
    "parallelize",
    "pareto",
    "plan",
    "run",
    "simulate",
    "sweep",
    "what_if",
]
