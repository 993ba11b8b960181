"""Draws the gallery: python3 docs/pictures/gallery.py [FOLDER [NAME...]], with opweave on the PATH or in OPWEAVE_BIN.

Plans every example, with few microbatches and a short search so that pictures and reports stay small; writes a
picture (NAME.svg) and the report (NAME.html) of each. Only the standard library is used.
"""

import json
import pathlib
import sys
import tempfile

from make import COLOURS, MUTED, TRACK, Picture, opweave

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
WIDTH = 860
TIMES = {"matrix": "#5b93f5", "attention": "#2cb8ac", "traffic": "#8cc152", "recompute": "#f5a04a", "offload": "#37474f",
         "tensor": "#e06c66", "expert": "#ff77b0", "data": "#a987ee", "hops": "#e3b505", "bubble": "#a3adbb", "optimizer": "#b08d80"}  # fmt: skip


def rectangles(boxes):
    """One path for all of them: a tenth of the bytes."""
    return "".join(f"M{x:.1f} {y:.0f}h{w:.1f}v{h:.0f}h-{w:.1f}z" for x, y, w, h in boxes)


AGAIN = "again"
"""In place of a phase: a movement that runs an operator again."""


def runs(plan):
    """All that runs on compute units: tasks, and operators that run again."""
    return plan["tasks"] + [one for one in plan.get("movements", []) if one["kind"] == "recompute"]


def gantt(picture, graph, plan, x, y, width, until, row=15):
    """A row for each stream of each device, coloured by phase; what runs again has a colour of its own."""
    phase = {op["name"]: op.get("phase", "") for op in graph["operators"]}
    rows = {}
    for task in runs(plan):
        for device in task["devices"]:
            for stream in task.get("streams", ["compute"]):
                rows.setdefault((device, stream), []).append(task)
    devices = [entry["device"] for entry in plan["statistics"]["devices"]]
    boxes = {}
    for device in devices:
        for stream in sorted(stream for of, stream in rows if of == device) or ["compute"]:
            picture.text(
                x - 8, y + row / 2, device if stream == "compute" else stream, size=10, anchor="end", fill=MUTED
            )
            picture.box(x, y, width + 1, row, TRACK, radius=0)
            for task in rows.get((device, stream), []):
                left, right = (x + task[key] / until * width for key in ("start_ns", "end_ns"))
                kind = AGAIN if "kind" in task else phase[task["operator"]]
                boxes.setdefault(kind, []).append((left, y, max(0.3, right - left - 0.4), row))
            y += row + 2
        y += 3
    for letter, of in sorted(boxes.items()):
        colour = TIMES["recompute"] if letter == AGAIN else COLOURS.get(letter, COLOURS[""])
        picture.parts.append(f'<path fill="{colour}" d="{rectangles(of)}"/>')
    return y


def legend(picture, x, y, entries):
    for name, colour in entries:
        picture.box(x, y, 13, 12, colour)
        picture.text(x + 18, y + 6, name, fill=MUTED)
        x += 40 + 6.4 * len(name)


PHASES = [("forward", COLOURS["F"]), ("gradient of inputs", COLOURS["I"]), ("gradient of weights", COLOURS["W"]),
          ("whole backward", COLOURS["B"]), ("optimizer", COLOURS["O"])]  # fmt: skip


def height_of(graph, plan, row=15):
    streams = {(d, s) for t in runs(plan) for d in t["devices"] for s in t.get("streams", ["compute"])}
    return len(streams) * (row + 2) + 3 * len(plan["statistics"]["devices"])


def figures(plan):
    return (f"{plan['makespan_ns'] / 1e6:.1f} ms, bubble {100 * plan['statistics']['bubble_ratio']:.1f} %, "
            f"at most {100 * plan['gap']:.1f} % from the best")  # fmt: skip


def draw_plans(graph, plans, path):
    """Plans one below the other, on one axis of time."""
    until = max(plan["makespan_ns"] for _, plan in plans)
    picture = Picture(WIDTH, 60 + sum(40 + height_of(graph, plan) for _, plan in plans))
    y = 20
    for title, plan in plans:
        picture.text(16, y, title, size=13, weight=600)
        picture.text(WIDTH - 20, y, figures(plan), anchor="end")
        y = gantt(picture, graph, plan, 76, y + 14, WIDTH - 96, until) + 22
    used = {op.get("phase", "") for op in graph["operators"]}
    letters = "FIWBO"
    entries = [entry for entry, letter in zip(PHASES, letters, strict=True) if letter in used]
    if any("kind" in one for _, plan in plans for one in runs(plan)):
        entries.append(("made again", TIMES["recompute"]))
    legend(picture, 76, y - 8, entries)
    picture.save(path)


def pipeline(name, folder, target, convert, plan, title):
    """An example that is a pipeline: converted, planned, drawn, reported."""
    files = (folder / f"{name}.graph.json", folder / f"{name}.cluster.json")
    opweave("convert", "pipeline", EXAMPLES / name / "pipeline.json", *convert, "-o", files[0], "--cluster", files[1])
    graph = json.loads(files[0].read_text())
    plans = []
    for words, options in zip(title, plan, strict=True):
        output = folder / "plan.json"
        opweave("plan", *files, *options, "--threads", 1, "-o", output, "--report", target / f"{name}.html")
        plans.append((words, json.loads(output.read_text())))
    draw_plans(graph, plans, target / f"{name}.svg")


def degrees(chosen):
    """Degrees above 1, chunks of a pipeline rank behind an x."""
    names = {"tensor": "tp", "context": "cp", "expert": "ep", "pipeline": "pp", "data": "dp", "micro_batch": "mbs"}
    for key, short in names.items():
        chunks = f"x{chosen['chunks']}" if key == "pipeline" and chosen.get("chunks", 1) > 1 else ""
        if chosen.get(key, 1) > 1:
            yield f"{short}{chosen[key]}{chunks}"


def strategies(target):
    """Where the step of the best strategies goes."""
    arguments = (EXAMPLES / "strategies/llama3-70b.json", "--cluster", "h100", "--nodes", 8, "--global-batch", 512,
                 "--sequence", 8192, "--top", 6, "--report", target / "strategies.html", "--json")  # fmt: skip
    found = json.loads(opweave("parallelize", *arguments))["strategies"]
    longest = max(one["step_ns"] for one in found)
    picture = Picture(WIDTH, 66 + 34 * len(found))
    picture.text(16, 20, "Llama 3 70B on 64 H100: where the step of the best strategies goes", size=13, weight=600)
    for index, one in enumerate(found):
        chosen, y = one["strategy"], 40 + 34 * index
        label = " ".join(degrees(chosen))
        picture.text(168, y + 11, label, anchor="end")
        x = 176.0
        for cause, ns in one["time_ns"].items():
            span = ns / longest * 560
            if span >= 0.5:
                picture.box(x, y, span, 22, TIMES[cause], radius=0)
            x += span
        picture.text(x + 8, y + 11, f"{one['step_ns'] / 1e9:.2f} s, MFU {100 * one['mfu']:.0f} %")
    there = [cause for cause in TIMES if any(one["time_ns"][cause] * 200 > one["step_ns"] for one in found)]
    legend(picture, 16, 46 + 34 * len(found), [(cause, TIMES[cause]) for cause in there])
    picture.save(target / "strategies.svg")


def sweep(folder, target):
    """Tokens per second and device over the number of nodes."""
    opweave("sweep", "run", EXAMPLES / "strategies/llama3-8b.json", "--cluster", "h100", "--nodes", "1,2,4,8,16",
            "--global-batch", 256, "--sequence", "4096,16384,65536", "--journal", folder / "sweep.jsonl",
            "--report", target / "sweep.html")  # fmt: skip
    _, *lines = (folder / "sweep.jsonl").read_text().splitlines()
    rows = sorted((json.loads(line) for line in lines), key=lambda row: row["point"])
    rows = [row for row in rows if "step_ns" in row]
    most = max(row["tokens_per_s"] / row["devices"] for row in rows)
    nodes = sorted({row["nodes"] for row in rows})
    picture = Picture(WIDTH, 300)
    picture.text(16, 20, "Llama 3 8B, batch 256: tokens per second and device", size=13, weight=600)
    step = next(size for size in (factor * 10**power for power in range(9) for factor in (1, 2, 5)) if most / size <= 5)
    for value in range(0, int(most) + 1, step):
        y = 250 - 200 * value / most
        picture.parts.append(f'<line x1="90" y1="{y:.1f}" x2="700" y2="{y:.1f}" stroke="{TRACK}" stroke-width="2"/>')
        picture.text(80, y, f"{value:,}", size=10, anchor="end", fill=MUTED)
    at = {count: 120 + index * 560 / max(1, len(nodes) - 1) for index, count in enumerate(nodes)}
    for count, x in at.items():
        picture.text(x, 266, f"{count} node{'s' * (count > 1)}", size=10, anchor="middle", fill=MUTED)
    for sequence, colour in zip(sorted({row["sequence"] for row in rows}), TIMES.values(), strict=False):
        line = [
            (at[r["nodes"]], 250 - 200 * r["tokens_per_s"] / r["devices"] / most)
            for r in rows
            if r["sequence"] == sequence
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        picture.parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        picture.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in line]
        picture.text(706, line[-1][1], f"{sequence:,} tokens", fill=MUTED)
    picture.save(target / "sweep.svg")


def drawings(folder, target):
    """What draws each picture, by its name."""
    free = ("--shape", "free", "--latency-ns", 10000)
    fast = (*free, "--devices", 8, "--bandwidth-bytes-per-s", 360 * 10**9, "--memory", "76GiB")
    slow = (*free, "--devices", 8, "--bandwidth-bytes-per-s", 240 * 10**9, "--memory", "36GiB")
    few = ("--microbatches", 4, "--work-limit", 1500)
    least = ("--objective", "peak-memory,makespan", "--deadline", "100ms", "--time-limit", 5)
    shortest = ("--memory-limit", "800MiB", "--time-limit", 5)
    return {
        "strategies": lambda: strategies(target),
        "sweep": lambda: sweep(folder, target),
        "deepseek-v3": lambda: pipeline(
            "deepseek-v3", folder, target, ("--shape", "V", "--devices", 8, "--activations", 8.5),
            [("--microbatches", 8, "--work-limit", 300)], ["V over 8 devices, 8 microbatches"],
        ),
        "memory-modes": lambda: pipeline(
            "memory-modes", folder, target, ("--shape", "V", "--devices", 4, "--activations", 1.5),
            [("--work-limit", 300), ("--work-limit", 300, "--memory-modes", "drop")],
            ["Every value stays", "Layers run again in the bubbles"],
        ),
        "vision-language": lambda: pipeline(
            "vision-language", folder, target, fast, [few], ["InternVL2-26B on 8 H100"]
        ),
        "omni": lambda: pipeline("omni", folder, target, fast, [few], ["Qwen2.5-Omni-7B on 8 H100"]),
        "two-tower": lambda: pipeline("two-tower", folder, target, slow, [few], ["CLIP ViT-L/14 on 8 A100"]),
        "objectives": lambda: pipeline(
            "objectives", folder, target, (*free, "--devices", 4, "--bandwidth-bytes-per-s", 10**11),
            [least, shortest], ["Least memory within 100 ms", "Shortest step in 800 MiB"],
        ),
    }  # fmt: skip


def main(target=ROOT / "docs/gallery", *names):
    with tempfile.TemporaryDirectory() as folder:
        known = drawings(pathlib.Path(folder), pathlib.Path(target).resolve())
        for name in names or known:
            known[name]()


if __name__ == "__main__":
    main(*sys.argv[1:])
