"""Plans on groups of ranks: tensor, data, expert, context and pipeline parallelism at once. See
docs/running-strategies.md. What needs torch is imported on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opweave.run.parallel.chain import Chain, chain_of
    from opweave.run.parallel.check import check_parallel
    from opweave.run.parallel.executor import ParallelExecutor
    from opweave.run.parallel.experts import MixtureOfExperts
    from opweave.run.parallel.feedback import feed_back
    from opweave.run.parallel.memory import planned_bytes
    from opweave.run.parallel.mesh import Mesh
    from opweave.run.parallel.parts import step_parts
    from opweave.run.parallel.prediction import predict, step_ns
    from opweave.run.parallel.program import ParallelProgram
    from opweave.run.parallel.spreading import spread
    from opweave.run.parallel.step import ParallelResult, Timing
    from opweave.run.parallel.strategy import strategy_program
    from opweave.run.parallel.tensor_words import parallelize_plan, styles, tensor_plan
    from opweave.run.parallel.timings import (
        Costs,
        device_timings,
        drift,
        gather_results,
        measured_costs,
        measured_step,
    )
    from opweave.run.parallel.trace import parallel_trace
    from opweave.run.parallel.verification import ParallelVerification, verify_strategy

_MODULES = {
    "Chain": "chain",
    "Costs": "timings",
    "Mesh": "mesh",
    "MixtureOfExperts": "experts",
    "ParallelExecutor": "executor",
    "ParallelProgram": "program",
    "ParallelResult": "step",
    "ParallelVerification": "verification",
    "Timing": "step",
    "chain_of": "chain",
    "check_parallel": "check",
    "device_timings": "timings",
    "drift": "timings",
    "feed_back": "feedback",
    "gather_results": "timings",
    "measured_costs": "timings",
    "measured_step": "timings",
    "parallel_trace": "trace",
    "parallelize_plan": "tensor_words",
    "planned_bytes": "memory",
    "predict": "prediction",
    "spread": "spreading",
    "step_ns": "prediction",
    "step_parts": "parts",
    "strategy_program": "strategy",
    "styles": "tensor_words",
    "tensor_plan": "tensor_words",
    "verify_strategy": "verification",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = getattr(import_module(f"opweave.run.parallel.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Chain",
    "Costs",
    "Mesh",
    "MixtureOfExperts",
    "ParallelExecutor",
    "ParallelProgram",
    "ParallelResult",
    "ParallelVerification",
    "Timing",
    "chain_of",
    "check_parallel",
    "device_timings",
    "drift",
    "feed_back",
    "gather_results",
    "measured_costs",
    "measured_step",
    "parallel_trace",
    "parallelize_plan",
    "planned_bytes",
    "predict",
    "spread",
    "step_ns",
    "step_parts",
    "strategy_program",
    "styles",
    "tensor_plan",
    "verify_strategy",
]
