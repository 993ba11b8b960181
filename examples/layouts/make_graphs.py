"""Writes the graphs and the cluster of this example: make_graphs.py [FOLDER]

sequence.json: transformer layers that run on one device, or on a gang of four with columns and rows of their matrices
split, with or without the sequence split between them. experts.json: layers of experts that lie on the devices of the
attention, or on a gang of their own.
"""

import json
import pathlib
import sys

MICROBATCHES = 2
DIVISOR = 4  # devices of a gang


def option(name, mesh, duration, layouts=None, parameters=None):
    """One way to run an operator."""
    result = {"name": name, "mesh": mesh, "duration_ns": duration}
    if layouts:
        result["layouts"] = layouts
    if parameters:
        result["parameters"] = parameters
    return result


class Layers:
    """Operators, tensors and parameters of a chain of layers, there and back."""

    def __init__(self):
        self.tensors, self.operators, self.parameters = [], [], []

    def tensor(self, name, size):
        """A tensor of so many bytes; its name."""
        self.tensors.append({"name": name, "bytes": size})
        return name

    def operator(self, name, phase, inputs, outputs, options, choice, parameters=()):
        """An operator with its options."""
        self.operators.append(
            {
                "name": name,
                "phase": phase,
                "inputs": inputs,
                "outputs": outputs,
                "parameters": list(parameters),
                "layer": choice,
                "choice": choice,
                "options": options,
            }
        )

    def write(self, path, name):
        """The graph as a file."""
        text = {
            "format": "opweave.graph",
            "version": 2,
            "name": name,
            "training": {
                "microbatches": MICROBATCHES,
                "gradient_bytes_per_weight_byte": 1,
                "optimizer_bytes_per_weight_byte": 6,
            },
            "parameters": self.parameters,
            "tensors": self.tensors,
            "operators": self.operators,
        }
        path.write_text(json.dumps(text, indent=1) + "\n")


def ways(duration, layouts_split, layouts_sequence, parameter=None, is_norm=False):
    """The ways to run an operator of a layer: alone, or on the gang with its matrices split."""
    parts = {parameter: {"split": DIVISOR}} if parameter else None
    quarter = duration // DIVISOR
    return [
        option("one", "first", duration),
        option("split", "gang", duration if is_norm else quarter, layouts_split, parts),
        option("sequence", "gang", quarter, layouts_sequence, parts),
    ]


def sequence(path, layers=2):
    """Layers of a norm, a matrix whose columns are split and one whose rows are."""
    graph = Layers()
    size, weights, matrix, norm = 4_000_000, 16_000_000, 400_000, 60_000
    x = graph.tensor("x0", size)
    kept = []
    for i in range(layers):
        layer = f"layer{i}"
        a, b = graph.tensor(f"{layer}.a", size), graph.tensor(f"{layer}.b", 4 * size)
        y = graph.tensor(f"x{i + 1}", size)
        for part in ("up", "down"):
            graph.parameters.append({"name": f"{layer}.{part}.w", "bytes": weights})
        up, down = f"{layer}.up.w", f"{layer}.down.w"
        graph.operator(f"{layer}.norm.F", "F", [x], [a], ways(norm, {}, {x: "S(0)", a: "S(0)"}, is_norm=True), layer)
        both = {a: "R", b: "S(1)"}
        graph.operator(f"{layer}.up.F", "F", [a], [b], ways(matrix, both, both, up), layer, [up])
        both = {b: "S(1)", y: "P"}
        graph.operator(f"{layer}.down.F", "F", [b], [y], ways(matrix, both, both, down), layer, [down])
        kept.append((layer, x, a, b, up, down))
        x = y
    gradient = graph.tensor("loss", size)
    graph.operator(
        "loss.B",
        "B",
        [x],
        [gradient],
        [
            option("one", "first", norm),
            option("split", "gang", norm),
            option("sequence", "gang", norm // DIVISOR, {x: "S(0)", gradient: "S(0)"}),
        ],
        f"layer{layers - 1}",
    )
    for layer, x, a, b, up, down in reversed(kept):
        db, da, dx = (graph.tensor(f"{layer}.d{n}", s) for n, s in (("b", 4 * size), ("a", size), ("x", size)))
        both = {gradient: "R", b: "S(1)", db: "S(1)"}
        graph.operator(f"{layer}.down.B", "B", [gradient, b], [db], ways(2 * matrix, both, both, down), layer, [down])
        both = {db: "S(1)", a: "R", da: "P"}
        graph.operator(f"{layer}.up.B", "B", [db, a], [da], ways(2 * matrix, both, both, up), layer, [up])
        graph.operator(
            f"{layer}.norm.B",
            "B",
            [da, x],
            [dx],
            ways(norm, {}, {da: "S(0)", x: "S(0)", dx: "S(0)"}, is_norm=True),
            layer,
        )
        for part, parameter in (("down", down), ("up", up)):
            graph.operator(f"{layer}.{part}.O", "O", [], [], ways(100_000, {}, {}, parameter), layer, [parameter])
        gradient = dx
    graph.write(path, "sequence")


def experts(path, layers=2):
    """Layers of attention, with the batch split over a gang, and of experts."""
    graph = Layers()
    size, attention, expert = 8_000_000, 300_000, 900_000
    x = graph.tensor("tokens0", size)
    kept = []
    for i in range(layers):
        h, y = graph.tensor(f"h{i}", size), graph.tensor(f"tokens{i + 1}", size)
        layer = f"layer{i}"
        w, e = f"{layer}.attention.w", f"{layer}.experts.w"
        graph.parameters += [{"name": w, "bytes": 40_000_000}, {"name": e, "bytes": 400_000_000}]
        zero = {w: {"gradients": DIVISOR}}
        data = [
            option("data", "gang", attention, {x: "S(0)", h: "S(0)"}),
            option("zero2", "gang", attention, {x: "S(0)", h: "S(0)"}, zero),
        ]
        graph.operator(f"{layer}.attention.F", "F", [x], [h], data, f"{layer}.attention", [w])
        own = {h: "S(1)", y: "S(1)"}  # by expert
        spread = [
            option("here", "gang", expert, own, {e: {"split": DIVISOR}}),
            option("apart", "others", expert, own, {e: {"split": DIVISOR}}),
        ]
        graph.operator(f"{layer}.experts.F", "F", [h], [y], spread, f"{layer}.experts", [e])
        kept.append((layer, x, h, w, e))
        x = y
    gradient = graph.tensor("loss", size)
    graph.operator(
        "loss.B", "B", [x], [gradient], [option("data", "gang", 20_000, {x: "S(0)", gradient: "S(0)"})], "loss"
    )
    for layer, x, h, w, e in reversed(kept):
        dh, dx = graph.tensor(f"{layer}.dh", size), graph.tensor(f"{layer}.dx", size)
        own = {gradient: "S(1)", h: "S(1)", dh: "S(1)"}
        graph.operator(
            f"{layer}.experts.B",
            "B",
            [gradient, h],
            [dh],
            [option("here", "gang", 2 * expert, own), option("apart", "others", 2 * expert, own)],
            f"{layer}.experts",
            [e],
        )
        rows = {dh: "S(0)", x: "S(0)", dx: "S(0)"}
        graph.operator(
            f"{layer}.attention.B",
            "B",
            [dh, x],
            [dx],
            [option(name, "gang", 2 * attention, rows) for name in ("data", "zero2")],
            f"{layer}.attention",
            [w],
        )
        for part, parameter, names in (
            ("experts", e, (("here", "gang"), ("apart", "others"))),
            ("attention", w, (("data", "gang"), ("zero2", "gang"))),
        ):
            graph.operator(
                f"{layer}.{part}.O",
                "O",
                [],
                [],
                [option(name, mesh, 50_000) for name, mesh in names],
                f"{layer}.{part}",
                [parameter],
            )
        gradient = dx
    graph.write(path, "experts")


def cluster(path):
    """Two nodes of four devices each, joined by a switch."""
    devices = [{"name": f"gpu{i}", "memory_bytes": 8_000_000_000, "streams": ["compute", "comm"]} for i in range(8)]
    links = [
        {
            "name": f"gpu{i}-node{i // 4}",
            "a": f"gpu{i}",
            "b": f"node{i // 4}",
            "latency_ns": 2_000,
            "bandwidth_bytes_per_s": 200_000_000_000,
        }
        for i in range(8)
    ]
    links += [
        {
            "name": f"node{i}-fabric",
            "a": f"node{i}",
            "b": "fabric",
            "latency_ns": 3_000,
            "bandwidth_bytes_per_s": 100_000_000_000,
        }
        for i in range(2)
    ]
    meshes = [
        {"name": "gang", "devices": [f"gpu{i}" for i in range(4)]},
        {"name": "others", "devices": [f"gpu{i}" for i in range(4, 8)]},
        {"name": "first", "any": 1, "of": "gang"},
    ]
    text = {
        "format": "opweave.cluster",
        "version": 1,
        "name": "two_nodes",
        "devices": devices,
        "switches": ["node0", "node1", "fabric"],
        "links": links,
        "meshes": meshes,
    }
    path.write_text(json.dumps(text, indent=1) + "\n")


def main():
    """Writes all three."""
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    folder.mkdir(parents=True, exist_ok=True)
    sequence(folder / "sequence.json")
    experts(folder / "experts.json")
    cluster(folder / "cluster.json")


if __name__ == "__main__":
    main()
