"""Plans as charts of letters, for terminals and notebooks. Plan.report writes the complete picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from opweave import _core

if TYPE_CHECKING:
    from opweave.plans import Plan

# PyTorch draws its pipeline schedules in these colours.
_STYLES = {"F": "blue", "I": "cyan", "W": "green", "B": "yellow", "O": "magenta", "=": "white"}
_MEANINGS = {
    "F": "F forward",
    "I": "I gradient of inputs",
    "W": "W gradient of weights",
    "B": "B I and W",
    "O": "O optimizer",
    "=": "= no phase",
}


# Of a device that works, but rests for most of the time that a letter stands for.
_SPARSE = {letter: "-" if letter == "=" else letter.lower() for letter in _MEANINGS}
_FULL = {small: letter for letter, small in _SPARSE.items()}


def rows(plan: Plan, width: int) -> list[tuple[str, str, str]]:
    """(device, stream, *width* letters) for every stream of each device that runs something, in the cluster's order.

    A letter is the phase that fills most of its share of the makespan: a small one ("-" without a phase) where it is
    less than half busy, "." where nothing runs. O(tasks + width).
    """
    phases = {op["name"]: op.get("phase") or "=" for op in plan.graph.operators}
    makespan = max(plan.makespan_ns, 1)
    shares: dict[tuple[str, str], list[dict[str, float]]] = {}
    for task in plan.tasks:
        first, last = task["start_ns"] * width / makespan, task["end_ns"] * width / makespan
        for device in task["devices"]:
            for stream in task["streams"]:
                cells = shares.setdefault((device, stream), [{} for _ in range(width)])
                for index in range(int(first), min(int(last) + 1, width)):
                    filled = min(last, index + 1) - max(first, index)
                    letter = phases[task["operator"]]
                    if filled > 0:
                        cells[index][letter] = cells[index].get(letter, 0.0) + filled
    order = {device: index for index, device in enumerate(plan.cluster.devices)}
    labels = sorted(shares, key=lambda row: (order[row[0]], row[1] != "compute", row[1]))
    return [(device, stream, "".join(map(_letter, shares[device, stream]))) for device, stream in labels]


def _letter(cell: dict[str, float]) -> str:
    if not cell:
        return "."
    letter = max(cell, key=lambda phase: cell[phase])
    return letter if 2 * sum(cell.values()) >= 1 else _SPARSE[letter]


def show(plan: Plan, width: int | None) -> None:
    """Print the chart, coloured where the terminal has colours."""
    console = Console(width=width, highlight=False)
    devices = plan.cluster.to_dict()["devices"]
    # Names are never cut: where they take more than a third, what all begin with is left out and said once.
    left_out, short = _core.short_names([device["name"] for device in devices], console.width // 3)
    names = {device["name"]: name for device, name in zip(devices, short, strict=True)}
    labels = {
        (device["name"], stream): f"{names[device['name']]} {_core.readable(stream)}"
        for device in devices
        for stream in device.get("streams", ["compute"])
    }
    label_width = max(map(cell_len, labels.values())) + 1
    chart = rows(plan, max(console.width - label_width - 1, 10))
    console.print(plan.summary(), soft_wrap=True)
    for device, stream, letters in chart:
        label = labels[device, stream]
        line = Text(label + " " * (label_width - cell_len(label)))
        for letter in letters:
            line.append(letter, style=_STYLES.get(_FULL.get(letter, letter), "dim"))
        console.print(line, soft_wrap=True)
    used = {letter for _, _, letters in chart for letter in letters}
    meanings = [meaning for letter, meaning in _MEANINGS.items() if {letter, _SPARSE[letter]} & used]
    if used & set(_FULL):
        meanings.append("small: less than half of the time")
    legend = ", ".join(meanings)
    console.print(f"0 to {_core.human_time(plan.makespan_ns)}; {legend}", style="dim", soft_wrap=True)
    held = plan.layers
    order = list(dict.fromkeys(op["layer"] for op in plan.graph.operators if op.get("layer")))
    width_of_names = max(map(cell_len, names.values()))
    for device, layers in held.items():
        if layers:
            label = names[device] + " " * (width_of_names - cell_len(names[device]))
            console.print(Text(f"{label}  {_core.readable(runs(layers, order))}"), soft_wrap=True)
    if left_out:
        console.print(Text(f'names of devices without "{left_out}" in front', style="dim"), soft_wrap=True)


def runs(layers: Sequence[str], order: Sequence[str], most: int = 6) -> str:
    """ "blocks.0 to blocks.3, head": neighbours in *order* joined, at most so many runs."""
    place = {layer: index for index, layer in enumerate(order)}
    found: list[tuple[str, str]] = []
    for layer in layers:
        if found and place[found[-1][1]] == place[layer] - 1:
            found[-1] = found[-1][0], layer
        else:
            found.append((layer, layer))
    texts = [first if first == last else f"{first} to {last}" for first, last in found[:most]]
    return ", ".join(texts) + (f" and {len(found) - most} more" if len(found) > most else "")
