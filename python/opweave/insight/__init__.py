"""Answers about plans and strategies: why so long, what differs, what would help, what memory and machines buy."""

from opweave.insight.changes import PlanChange, PlanChanges, Robustness, StrategyChange, StrategyChanges, what_if
from opweave.insight.curves import ParetoCurve, ParetoPoint, pareto
from opweave.insight.differences import PlanDiff, StrategyDiff, diff
from opweave.insight.explanations import (
    DeviceIdle,
    IdleSpan,
    OtherDevice,
    PathStep,
    PlanExplanation,
    StrategyExplanation,
    TaskStart,
    explain,
)
from opweave.insight.sweeps import Sweep, SweepPoint, merge_sweeps, sweep

__all__ = [
    "DeviceIdle",
    "IdleSpan",
    "OtherDevice",
    "ParetoCurve",
    "ParetoPoint",
    "PathStep",
    "PlanChange",
    "PlanChanges",
    "PlanDiff",
    "PlanExplanation",
    "Robustness",
    "StrategyChange",
    "StrategyChanges",
    "StrategyDiff",
    "StrategyExplanation",
    "Sweep",
    "SweepPoint",
    "TaskStart",
    "diff",
    "explain",
    "merge_sweeps",
    "pareto",
    "sweep",
    "what_if",
]
