"""From a plan to the program of every rank."""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any

from opweave.run.checker import check_program
from opweave.run.errors import ProgramError
from opweave.run.movements import movements_of
from opweave.run.pairs import unwoven
from opweave.run.pieces import place_of_piece
from opweave.run.plan_files import device_names, document, training
from opweave.run.program import Action, Message, Phase, Program, Segment, Step
from opweave.run.segments import SegmentRule, Wiring, phase_of, positions, segments_of, wire

Key = tuple[str, str, int]  # phase, segment, microbatch


def compile_plan(plan: Any, graph: Any = None, segments: SegmentRule = "operator", *, pairs: bool = False) -> Program:
    """The program that runs *plan*: an `opweave.Plan`, or its file as dictionary, JSON or path, then with its *graph*.

    `segments` says which operators one module computes (`segment_of`). Operators of one segment, phase and
    microbatch become one action, so they must follow each other on their device. Streams of a device are merged by
    start time. With `pairs`, a forward and one backward whose operators the plan weaves, each on streams that the other
    leaves free, are two actions one after the other, which `pytorch_csv` writes as OVERLAP_F_B. Every tensor is sent by
    the rank that made it. O((tasks + messages) x ranks).

    Raises ProgramError where the plan cannot be run: an operator on a gang of devices, a backward away from its
    forward, operators of a segment torn apart, ranks that wait for each other.
    """
    graph = getattr(plan, "graph", None) if graph is None else graph
    graph, plan = document(graph, "graph"), document(plan, "plan")
    devices = device_names(plan)
    microbatches, _ = training(graph, plan)
    wiring = wire(graph, segments)
    orders = _orders(graph, plan, segments, devices, pairs)
    made = {name: _segment(name, wiring[name], orders, microbatches) for name in wiring}
    _require_gradients(made)
    if any(len(set(segment.homes)) > 1 for segment in made.values()):
        # Gradients are summed between homes after the last backward, so the optimizer waits for the end.
        orders = [sorted(order, key=lambda action: action.phase == "O") for order in orders]
    program = _Linker(plan.get("graph", ""), devices, microbatches, made, orders).link()
    check_program(program)
    return replace(program, movements=movements_of(plan, graph, segments, orders))


def _orders(
    graph: dict[str, Any], plan: dict[str, Any], rule: SegmentRule, devices: list[str], pairs: bool
) -> list[list[Action]]:
    """Actions of every rank in planned order."""
    operators = {op["name"]: op for op in graph["operators"]}
    rank_of = {name: rank for rank, name in enumerate(devices)}
    position = positions(graph)
    segments = segments_of(graph, rule)
    tasks: list[list[dict[str, Any]]] = [[] for _ in devices]
    seen: set[tuple[str, int]] = set()
    for task in plan["tasks"]:
        name, copy = task["operator"], _copy(task)
        if name not in operators:
            raise ProgramError(f'plan runs operator "{name}", which the graph does not have')
        if len(task["devices"]) != 1:
            raise ProgramError(f'operator "{name}" runs on {len(task["devices"])} devices, expected 1')
        if task["devices"][0] not in rank_of:
            raise ProgramError(f'operator "{name}" runs on unknown device "{task["devices"][0]}"')
        if (name, copy) in seen:
            raise ProgramError(f'operator "{name}" runs twice for microbatch {copy}')
        seen.add((name, copy))
        tasks[rank_of[task["devices"][0]]].append(task)
    microbatches, _ = training(graph, plan)
    for name, op in operators.items():
        for microbatch in range(microbatches if phase_of(op) != "O" else 0):
            if (name, microbatch) not in seen:
                raise ProgramError(f'operator "{name}" does not run for microbatch {microbatch}')
    # Ties between tasks of zero duration are broken along the graph; those within a piece stay with it.
    piece = place_of_piece(graph, plan)
    for on_device in tasks:
        on_device.sort(key=lambda t: (piece(t), t["start_ns"], t["end_ns"], position[t["operator"]], _copy(t)))
    if pairs:
        tasks = [unwoven(on_device, operators, segments) for on_device in tasks]
    orders = [_actions(on_device, operators, segments) for on_device in tasks]
    _require_whole(orders, devices, rule)
    _require_phase_order(orders, devices, rule)
    return orders


_RUNNABLE = "plan runnable_graph(graph), which demands it"


def _advice(rule: SegmentRule, otherwise: str) -> str:
    """Where plans can be made that have the segments as blocks, the flag that does it."""
    if rule in ("stage", "layer"):
        return f'plan with --blocks {rule} (in Python: opweave.plan(..., blocks="{rule}"))'
    return otherwise


def _copy(task: dict[str, Any]) -> int:
    return int(task["microbatch"] if "microbatch" in task else task["replica"])


def _actions(
    tasks: list[dict[str, Any]], operators: dict[str, dict[str, Any]], segments: dict[str, str | None]
) -> list[Action]:
    """Consecutive tasks of one segment and microbatch, joined. What belongs to no segment is left to the caller."""

    def block(task: dict[str, Any]) -> tuple[str, int, str]:
        phase = phase_of(operators[task["operator"]])
        return (str(segments[task["operator"]]), _copy(task), "backward" if phase in "IWB" else phase)

    result = []
    of_segments = [task for task in tasks if segments[task["operator"]] is not None]
    for (segment, microbatch, _), run in groupby(of_segments, block):
        members = list(run)
        phases = [phase_of(operators[task["operator"]]) for task in members]
        # Weight gradients that come after all input gradients are an action of their own; a mixture is one backward.
        parts: list[tuple[Phase, list[dict[str, Any]]]]
        if phases == sorted(phases) and "B" not in phases:
            parts = [(p, list(g)) for p, g in groupby(members, lambda t: phase_of(operators[t["operator"]]))]  # type: ignore[misc]
        else:
            parts = [("B", members)]
        for phase, part in parts:
            result.append(
                Action(
                    phase,
                    segment,
                    microbatch,
                    tuple(task["operator"] for task in part),
                    tuple(task["end_ns"] - task["start_ns"] for task in part),
                    part[0]["start_ns"],
                    max(task["end_ns"] for task in part),
                )
            )
    return result


def _require_whole(orders: list[list[Action]], devices: list[str], rule: SegmentRule) -> None:
    """Every phase of a segment happens once per microbatch, and its backward where its forward happened."""
    place: dict[Key, int] = {}
    for rank, order in enumerate(orders):
        for action in order:
            rivals = {"B": "BIW", "I": "BI", "W": "BW"}.get(action.phase, action.phase)
            for phase in rivals:
                other = place.get((phase, action.segment, action.microbatch))
                if other is None:
                    continue
                where = (
                    f"on device {devices[rank]}" if other == rank else f"on devices {devices[other]}, {devices[rank]}"
                )
                raise ProgramError(
                    f'operators of segment "{action.segment}" for microbatch {action.microbatch} do not follow each '
                    f"other {where}, expected one block per phase\nhint: "
                    f"{_advice(rule, 'make its operators segments of their own')}"
                )
            place[action.key] = rank
    for (phase, segment, microbatch), rank in place.items():
        if phase in "FO":
            continue
        forward = place.get(("F", segment, microbatch))
        if forward is None:
            raise ProgramError(f'segment "{segment}" has a backward but no forward operator')
        if forward != rank:
            raise ProgramError(
                f'segment "{segment}", microbatch {microbatch}: F runs on {devices[forward]}, {phase} on '
                f"{devices[rank]}, expected the same device\nhint: {_advice(rule, _RUNNABLE)}"
            )


def _require_phase_order(orders: list[list[Action]], devices: list[str], rule: SegmentRule) -> None:
    """On a device, a segment's backward comes after its forward, and W after I."""
    for order, device in zip(orders, devices, strict=True):
        place = {action.key: i for i, action in enumerate(order)}
        for phase, segment, microbatch in place:
            for later in {"F": "IBW", "I": "W"}.get(phase, ""):
                if place.get((later, segment, microbatch), len(order)) < place[phase, segment, microbatch]:
                    raise ProgramError(
                        f'segment "{segment}", microbatch {microbatch}: {later} comes before {phase} on {device}, '
                        f"expected after it\nhint: {_advice(rule, _RUNNABLE)}"
                    )


def _segment(name: str, wiring: Wiring, orders: list[list[Action]], microbatches: int) -> Segment:
    homes: dict[int, int] = {}
    phases = set()
    for rank, order in enumerate(orders):
        for action in order:
            if action.segment != name:
                continue
            phases.add(action.phase)
            if action.phase == "F":
                homes[action.microbatch] = rank
    if len(homes) != microbatches:
        raise ProgramError(f'segment "{name}" has no forward operator')
    has_backward = bool(phases & {"I", "W", "B"})
    at = tuple(homes[b] for b in range(microbatches))
    return Segment(name, wiring.inputs, wiring.outputs, at, has_backward, wiring.operators)


def _require_gradients(segments: dict[str, Segment]) -> None:
    for segment in segments.values():
        for entry in segment.inputs:
            if entry.producer and segments[entry.producer].has_backward and not segment.has_backward:
                raise ProgramError(
                    f'segment "{segment.name}" has no backward operator, but "{entry.producer}" before it has one'
                )


class _Linker:
    """Adds messages to the orders of the ranks.

    All actions get a place in one global order that respects every rank's own order and every tensor, and otherwise
    follows the planned ends. A receive is posted before the first action of its rank that comes after the producer in
    the global order: that is the action during which the plan lets the transfer run. So every rank posts its sends and
    receives in the order of their producers, the same at both ends of every pair. That alone excludes a deadlock:
    of the messages that are not yet through, the one with the first producer is posted at both ends without waiting
    for another. It also is what NCCL needs, which matches by order and knows no tags.
    """

    def __init__(
        self,
        name: str,
        devices: list[str],
        microbatches: int,
        segments: dict[str, Segment],
        orders: list[list[Action]],
    ) -> None:
        self.name = name
        self.devices = devices
        self.microbatches = microbatches
        self.segments = segments
        self.orders = orders
        self.place = {action.key: (rank, i) for rank, order in enumerate(orders) for i, action in enumerate(order)}
        self.consumers: dict[str, list[str]] = defaultdict(list)  # of tensors
        for segment in segments.values():
            for entry in segment.inputs:
                self.consumers[entry.tensor].append(segment.name)

    def link(self) -> Program:
        messages = self._messages()
        index = self._global_order()
        ranks = [[Step(action) for action in order] for order in self.orders]
        for message, producer, consumer in messages:
            source, position = self.place[producer]
            ranks[source][position].send.append(message)
            order = self.orders[message.destination]
            needed = self.place[consumer][1]
            post = needed
            while post > 0 and index[order[post - 1].key] > index[producer]:
                post -= 1
            ranks[message.destination][post].post.append(message)
            ranks[message.destination][needed].receive.append(message)
        made_by = {message: index[producer] for message, producer, _ in messages}
        for steps in ranks:
            for step in steps:
                step.send.sort(key=lambda message: message.tag)
                step.post.sort(key=lambda message: (made_by[message], message.tag))
        self._release(ranks, index, {m: self.place[c][1] for m, _, c in messages}, {m: p for m, p, _ in messages})
        return Program(
            self.name, tuple(self.devices), self.microbatches, self.segments, tuple(tuple(steps) for steps in ranks)
        )

    def _gradient(self, segment: str, microbatch: int) -> Key | None:
        """The action that takes the gradients of a segment's outputs and makes those of its inputs."""
        for phase in ("I", "B", "W"):
            if (phase, segment, microbatch) in self.place:
                return (phase, segment, microbatch)
        return None

    def _edges(self) -> list[tuple[str, int, str | None, Key, Key]]:
        """Tensor, microbatch, consumer for gradients, producing action, consuming action."""
        result: list[tuple[str, int, str | None, Key, Key]] = []
        for segment in self.segments.values():
            for tensor in segment.outputs:
                for b in range(self.microbatches):
                    gradient = self._gradient(segment.name, b)
                    for consumer in self.consumers[tensor]:
                        result.append((tensor, b, None, ("F", segment.name, b), ("F", consumer, b)))
                        back = self._gradient(consumer, b)
                        if gradient and back:
                            result.append((tensor, b, consumer, back, gradient))
        return result

    def _messages(self) -> list[tuple[Message, Key, Key]]:
        """With the actions that make and that first need them."""
        first: dict[tuple[str, int, str | None, int, int], tuple[Key, Key]] = {}
        for tensor, b, consumer, made, needed in self._edges():
            source, destination = self.place[made][0], self.place[needed][0]
            if source == destination:
                continue
            entry = (tensor, b, consumer, source, destination)
            if entry not in first or self.place[needed][1] < self.place[first[entry][1]][1]:
                first[entry] = (made, needed)
        return [
            (Message(tag, tensor, b, source, destination, consumer), made, needed)
            for tag, ((tensor, b, consumer, source, destination), (made, needed)) in enumerate(first.items())
        ]

    def _global_order(self) -> dict[Key, int]:
        waits: dict[Key, int] = defaultdict(int)
        followers: dict[Key, list[Key]] = defaultdict(list)

        def add(before: Key, after: Key) -> None:
            followers[before].append(after)
            waits[after] += 1

        actions = {action.key: action for order in self.orders for action in order}
        for order in self.orders:
            for before, after in pairwise(order):
                add(before.key, after.key)
        for _, _, _, made, needed in self._edges():
            add(made, needed)
        for (phase, segment, b), action in actions.items():
            if phase in ("I", "W", "B"):
                add(("F", segment, b), action.key)
            if phase == "W" and ("I", segment, b) in actions:
                add(("I", segment, b), action.key)

        def rank_key(key: Key) -> tuple[int, int, tuple[int, int], Key]:
            return (actions[key].end_ns, actions[key].start_ns, self.place[key], key)

        heap = [rank_key(key) for key in actions if waits[key] == 0]
        heapq.heapify(heap)
        index: dict[Key, int] = {}
        while heap:
            key = heapq.heappop(heap)[-1]
            index[key] = len(index)
            for follower in followers[key]:
                waits[follower] -= 1
                if waits[follower] == 0:
                    heapq.heappush(heap, rank_key(follower))
        if len(index) < len(actions):
            stuck = [next((str(a) for a in order if a.key not in index), None) for order in self.orders]
            text = ", ".join(
                f"{device} at {action}" for device, action in zip(self.devices, stuck, strict=True) if action
            )
            raise ProgramError(f"the order cannot run, devices wait for each other: {text}")
        return index

    def _release(
        self,
        ranks: list[list[Step]],
        index: dict[Key, int],
        needed: dict[Message, int],
        producer: dict[Message, Key],
    ) -> None:
        """Marks where a send is known to have arrived because what followed from it has come back (vector clocks)."""
        clocks: dict[Key, list[int]] = {}  # steps of every rank known to be done, after each action
        current = [[0] * len(ranks) for _ in ranks]
        open_sends: list[list[Message]] = [[] for _ in ranks]
        for key in sorted(index, key=index.__getitem__):
            rank, position = self.place[key]
            step = ranks[rank][position]
            clock = current[rank]
            for message in step.receive:
                clock = [max(a, b) for a, b in zip(clock, clocks[producer[message]], strict=True)]
            clock = clock[:]
            clock[rank] = position + 1
            current[rank] = clocks[key] = clock
            arrived = [m for m in open_sends[rank] if clock[m.destination] > needed[m]]
            if arrived:
                step.release.extend(arrived)
                open_sends[rank] = [m for m in open_sends[rank] if clock[m.destination] <= needed[m]]
            open_sends[rank].extend(step.send)
