"""Times of transfers and collectives: latency + bytes / (bandwidth x efficiency at that size)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from opweave.errors import InputError
from opweave.hardware.curves import Curve


@dataclass(frozen=True)
class LinkModel:
    """What joins the ranks of a collective, or the two ends of a transfer."""

    latency_ns: int
    bandwidth_bytes_per_s: float
    """Peak, one way, per device."""
    efficiency: Curve
    """By bytes of the message."""

    def effective_bandwidth(self, size: int) -> int:
        """Bytes per second that messages of this size reach."""
        return max(1, int(self.bandwidth_bytes_per_s * self.efficiency.at(max(size, 1))))

    def transfer_ns(self, size: int) -> int:
        """Time for one message, rounded up."""
        return self.latency_ns + math.ceil(size / self.effective_bandwidth(size) * 1e9)


# Rounds of the algorithm, and bytes that each rank sends per byte of the message, among n ranks.
_ALGORITHMS: dict[str, tuple[Callable[[int], int], Callable[[int], float]]] = {
    "all_reduce": (lambda n: 2 * (n - 1), lambda n: 2 * (n - 1) / n),
    "all_gather": (lambda n: n - 1, lambda n: (n - 1) / n),
    "reduce_scatter": (lambda n: n - 1, lambda n: (n - 1) / n),
    "all_to_all": (lambda n: n - 1, lambda n: (n - 1) / n),
    "broadcast": (lambda n: math.ceil(math.log2(n)), lambda n: 1.0),
}


def collective_ns(kind: str, size: int, ranks: int, link: LinkModel) -> int:
    """Time of a collective in which every rank has *size* bytes at the end of its larger side.

    Ring algorithms for all_reduce, all_gather and reduce_scatter, pairwise exchange for all_to_all, a pipelined tree
    for broadcast: rounds of the latency, and the share of the bytes that each rank sends over its link (Thakur,
    Rabenseifner, Gropp 2005). *size* is that of the whole array: gathered, reduced, or exchanged by one rank.

    Raises InputError for another kind, fewer than one rank or a negative size.
    """
    if kind not in _ALGORITHMS:
        raise InputError(f'collective: value is "{kind}", expected one of {", ".join(_ALGORITHMS)}')
    if ranks < 1 or size < 0:
        raise InputError(f"collective: {size} bytes among {ranks} ranks, expected bytes from 0 and ranks from 1")
    if ranks == 1:
        return 0
    rounds, share = _ALGORITHMS[kind]
    moved = size * share(ranks)
    return rounds(ranks) * link.latency_ns + math.ceil(moved / link.effective_bandwidth(size) * 1e9)
