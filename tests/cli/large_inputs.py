"""Large graphs and clusters of the kinds that have once overrun a limit, for tests and for benchmarks/time_limits."""

import json
import pathlib
import random
import subprocess

LINK = {"latency_ns": 500, "bandwidth_bytes_per_s": 10**12}
PIPELINE = pathlib.Path(__file__).resolve().parents[2] / "examples/deepseek-v3/pipeline.json"
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/formats"


def write(path, kind, version=1, **content):
    path.write_text(json.dumps({"format": f"opweave.{kind}", "version": version, **content}))
    return path


def write_pair(folder, name, graph, cluster):
    return (
        write(folder / f"{name}.json", "graph", name=name, **graph),
        write(folder / f"{name}.cluster.json", "cluster", name=name, **cluster),
    )


def alike(count, memory=None):
    """Devices joined by the default link."""
    return {
        "devices": [{"name": f"d{d}", **({"memory_bytes": memory} if memory else {})} for d in range(count)],
        "default_link": LINK,
    }


def layered_graph(operators, duration=lambda ns: ns):
    """Each operator reads up to two of the 400 tensors before it."""
    dice = random.Random(1)
    graph = {"tensors": [], "operators": []}
    for i in range(operators):
        inputs = sorted({f"t{i - 1 - dice.randrange(min(i, 400))}" for _ in range(2)}) if i else []
        graph["operators"].append(
            {
                "name": f"op{i}",
                "duration_ns": duration(dice.randrange(1000, 10000)),
                "outputs": [f"t{i}"],
                **({"inputs": inputs} if inputs else {}),
            }
        )
        graph["tensors"].append({"name": f"t{i}", "bytes": dice.randrange(10**6, 2 * 10**6)})
    return graph


def layered(folder, operators, devices, memory=None):
    return write_pair(folder, f"layered{operators}", layered_graph(operators), alike(devices, memory))


def two_types(folder, operators):
    """Layers on 64 devices of two types: eight to a switch, and the switches on one more."""
    graph = layered_graph(operators, lambda ns: {"fast": ns, "slow": 2 * ns})
    cluster = {
        "device_types": [{"name": "fast"}, {"name": "slow"}],
        "devices": [{"name": f"d{d}", "type": ("fast", "slow")[d % 2]} for d in range(64)],
        "switches": [f"s{s}" for s in range(8)] + ["root"],
        "links": [
            {"name": f"l{d}", "a": f"d{d}", "b": f"s{d // 8}", "latency_ns": 500, "bandwidth_bytes_per_s": 10**11}
            for d in range(64)
        ]
        + [
            {"name": f"u{s}", "a": f"s{s}", "b": "root", "latency_ns": 2000, "bandwidth_bytes_per_s": 10**11}
            for s in range(8)
        ],
    }
    return write_pair(folder, "two-types", graph, cluster)


def one_group(folder, operators, devices):
    graph = {"operators": [{"name": f"op{i}", "duration_ns": 10, "colocation": "all"} for i in range(operators)]}
    return write_pair(folder, "one-group", graph, alike(devices))


def own_parameters(folder, operators, devices):
    graph = {
        "parameters": [{"name": f"p{i}", "bytes": 1000} for i in range(operators)],
        "operators": [{"name": f"op{i}", "duration_ns": 10, "parameters": [f"p{i}"]} for i in range(operators)],
    }
    return write_pair(folder, "own-parameters", graph, alike(devices))


def one_operator(folder, devices):
    return write_pair(folder, "one-operator", {"operators": [{"name": "x", "duration_ns": 10}]}, alike(devices))


def two_operators(folder, devices):
    """A chain of two: the tensor between them may take any route."""
    graph = {
        "tensors": [{"name": "t", "bytes": 1000}],
        "operators": [
            {"name": "a", "duration_ns": 10, "outputs": ["t"]},
            {"name": "b", "duration_ns": 10, "inputs": ["t"]},
        ],
    }
    return write_pair(folder, "two-operators", graph, alike(devices))


def ring(folder, devices):
    """One operator, and devices of which each is joined to the next."""
    cluster = {
        "devices": [{"name": f"d{d}"} for d in range(devices)],
        "links": [
            {
                "name": f"l{d}",
                "a": f"d{d}",
                "b": f"d{(d + 1) % devices}",
                "latency_ns": 500,
                "bandwidth_bytes_per_s": 10**11,
            }
            for d in range(devices)
        ],
    }
    return write_pair(folder, "ring", {"operators": [{"name": "x", "duration_ns": 10}]}, cluster)


def two_stages(folder, microbatches):
    """The example of docs/formats.md, repeated."""
    graph = json.loads((GOLDEN / "two_stage.graph.json").read_text())
    graph["training"]["microbatches"] = microbatches
    path = folder / f"two-stages-{microbatches}.json"
    path.write_text(json.dumps(graph))
    return path, GOLDEN / "two_gpus.cluster.json"


def pipeline(folder, microbatches, opweave):
    """A two-way pipeline of 320 tasks for each microbatch, short of memory."""
    paths = folder / f"pipeline{microbatches}.json", folder / f"pipeline{microbatches}.cluster.json"
    shape = ["--shape", "two-way", "--devices", "8", "--activations", "9", "--microbatches", str(microbatches)]
    command = [opweave, "convert", "pipeline", PIPELINE, *shape, "-o", paths[0], "--cluster", paths[1]]
    subprocess.run(command, check=True, capture_output=True)
    return paths


def layouts(folder, operators, devices):
    """Layers of which every operator has eight options: on its node of eight devices or on sets of them, with any
    layouts, so that nearly every tensor moves. Layers are dealt to the nodes in turn, 200 operators at a time."""
    dice = random.Random(1)
    graph = layered_graph(operators)
    for i, op in enumerate(graph["operators"]):
        node = i // 200 % (devices // 8)
        whole = op.pop("duration_ns")
        op["options"] = []
        for k in range(8):
            size = (8, 8, 8, 4, 4, 2, 2, 1)[k]
            mesh = f"node{node}" + (f".{size}.{dice.randrange(8 // size)}" if size < 8 else "")
            layout = {name: dice.choice(["R", "S(0)", "S(1)"]) for name in op.get("inputs", [])}
            layout |= {name: dice.choice(["R", "S(0)", "S(1)", "P"]) for name in op["outputs"]}
            option = {"name": f"way{k}", "mesh": mesh, "duration_ns": whole // size, "layouts": layout}
            op["options"].append(option)
    names = [f"d{d}" for d in range(devices)]
    cluster = alike(devices)
    for device in cluster["devices"]:
        device["streams"] = ["compute", "comm"]
    cluster["meshes"] = [{"name": f"node{n}", "devices": names[8 * n : 8 * n + 8]} for n in range(devices // 8)] + [
        {"name": f"node{n}.{size}.{s}", "devices": names[8 * n + s * size : 8 * n + (s + 1) * size]}
        for n in range(devices // 8)
        for size in (4, 2, 1)
        for s in range(8 // size)
    ]
    name = f"layouts-{operators}-{devices}"
    return (
        write(folder / f"{name}.json", "graph", 2, name=name, **graph),
        write(folder / f"{name}.cluster.json", "cluster", name=name, **cluster),
    )
