"""How long operators, transfers and collectives take.

Durations of operators: analytic for devices that are not at hand, measured on this machine, profiled from a trace.
Transfers and collectives: LinkModel and collective_ns. Named devices with the source of every number: NODES.
"""

from opweave.costs.analytic import analytic
from opweave.costs.measured import measured
from opweave.costs.profiled import profiled
from opweave.hardware.curves import Curve, constant
from opweave.hardware.devices import NODES, NodeModel
from opweave.hardware.efficiencies import ALONE, Efficiencies
from opweave.hardware.links import LinkModel, collective_ns

__all__ = [
    "ALONE",
    "NODES",
    "Curve",
    "Efficiencies",
    "LinkModel",
    "NodeModel",
    "analytic",
    "collective_ns",
    "constant",
    "measured",
    "profiled",
]
