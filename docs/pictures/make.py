"""Draws the pictures of the documents: python3 docs/pictures/make.py [FOLDER], with opweave on the PATH or in OPWEAVE_BIN.

They are drawn from plans that opweave makes on the spot, so they show what it does; only the standard library is used.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

COLOURS = {"F": "#5b93f5", "I": "#2cb8ac", "W": "#8cc152", "B": "#f5a04a", "O": "#a987ee", "": "#a3adbb"}
INK, MUTED, TRACK = "#1a212b", "#5d6877", "#eef1f5"
OPWEAVE = os.environ.get("OPWEAVE_BIN") or shutil.which("opweave") or "build/default/opweave"
OPWEAVE = str(pathlib.Path(OPWEAVE).resolve())

LAYERS = {
    "format": "opweave.pipeline", "version": 1, "name": "four stages", "training": {"microbatches": 6},
    "layers": [{"name": "stage", "repeat": 4, "weights_bytes": 1000, "activation_bytes": 100, "operators": [
        {"name": "op", "forward_ns": 1000000, "input_gradient_ns": 1200000, "weight_gradient_ns": 800000}]}],
}


class Picture:
    def __init__(self, width, height):
        self.size = (width, height)
        self.parts = [f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>']

    def box(self, x, y, width, height, fill, label="", radius=2):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0, width - 1):.1f}" height="{height}" rx="{radius}" fill="{fill}"/>')
        if label:
            self.text(x + width / 2, y + height / 2, label, anchor="middle", fill="#10151c")

    def text(self, x, y, text, size=11, anchor="start", fill=INK, weight=400):
        text = text.replace("&", "&amp;").replace("<", "&lt;")
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-family="system-ui, sans-serif" font-size="{size}" font-weight="{weight}" '
                          f'text-anchor="{anchor}" dominant-baseline="central" fill="{fill}">{text}</text>')

    def arrow(self, x0, y0, x1, y1, colour=MUTED):
        self.parts.append(f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="{colour}" stroke-width="1.3" marker-end="url(#head)"/>')

    def save(self, path):
        width, height = self.size
        head = ('<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
                f'<path d="M0,0L8,4L0,8z" fill="{MUTED}"/></marker></defs>')
        path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">\n'
                        + "\n".join([head, *self.parts]) + "\n</svg>\n")


def opweave(*arguments):
    done = subprocess.run([OPWEAVE, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"opweave {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def phase(operator):
    """The pipelines made by convert end the names of their operators in the phase."""
    return operator.rsplit(".", 1)[-1]


def gantt(picture, plan, x, y, width, until, row=20):
    devices = [entry["device"] for entry in plan["statistics"]["devices"]]
    for index, device in enumerate(devices):
        top = y + index * (row + 4)
        picture.text(x - 8, top + row / 2, device, anchor="end", fill=MUTED)
        picture.box(x, top, width + 1, row, TRACK)
    for task in plan["tasks"]:
        for device in task["devices"]:
            left = x + task["start_ns"] / until * width
            span = (task["end_ns"] - task["start_ns"]) / until * width
            label = str(task.get("microbatch", "")) if span > 9 else ""
            picture.box(left, y + devices.index(device) * (row + 4), span, row, COLOURS[phase(task["operator"])], label)
    return y + len(devices) * (row + 4)


def legend(picture, x, y, letters="FIW"):
    names = {"F": "forward", "I": "gradient of inputs", "W": "gradient of weights"}
    for letter in letters:
        picture.box(x, y, 13, 12, COLOURS[letter])
        picture.text(x + 18, y + 6, f"{letter} {names[letter]}", fill=MUTED)
        x += 34 + 6.4 * len(names[letter])


def make_plans(folder):
    (folder / "layers.json").write_text(json.dumps(LAYERS))
    files = (folder / "graph.json", folder / "cluster.json")
    opweave("convert", "pipeline", folder / "layers.json", "--shape", "linear", "--devices", 4, "--activations", 4,
            "-o", files[0], "--cluster", files[1])
    plans = {}
    for name in ("GPipe", "1F1B", "ZB1P"):
        opweave("convert", "expert", name, "--devices", 4, "--microbatches", 6, "-o", folder / "order.csv")
        opweave("convert", "csv", folder / "order.csv", *files, "-o", folder / "plan.json")
        plans[name] = json.loads((folder / "plan.json").read_text())
    opweave("plan", *files, "--work-limit", 300, "--threads", 1, "-o", folder / "plan.json")
    plans["opweave"] = json.loads((folder / "plan.json").read_text())
    plans["explained"] = json.loads(opweave("explain", *files, folder / "plan.json", "--json"))
    return plans


def from_graph_to_plan(plans, path):
    picture = Picture(860, 250)
    for x, title in ((20, "graph of one microbatch"), (250, "repeated over microbatches"), (490, "plan: where and when")):
        picture.text(x, 20, title, size=13, weight=600)
    for index in range(4):
        y = 48 + index * 44
        for x, letter in ((30, "F"), (92, "I"), (154, "W")):
            picture.box(x, y, 44, 24, COLOURS[letter], f"{letter}{index}", radius=5)
        picture.arrow(136, y + 12, 152, y + 12)
        if index < 3:
            picture.arrow(52, y + 25, 52, y + 42)
            picture.arrow(114, y + 44, 114, y + 27)
    picture.arrow(74, 192, 90, 192)
    for copy in range(5, -1, -1):
        picture.box(256 + 13 * copy, 62 + 13 * copy, 78, 78, ["#dbe6fb", "#eaf1fd"][copy % 2], radius=6)
        picture.text(262 + 13 * copy, 70 + 13 * copy, str(copy), size=9, fill=MUTED)
    picture.arrow(206, 125, 246, 125)
    picture.arrow(410, 125, 436, 125)
    plan = plans["opweave"]
    end = gantt(picture, plan, 490, 70, 350, plan["makespan_ns"])
    picture.text(490, end + 12, "0", size=10, fill=MUTED)
    picture.text(840, end + 12, f"{plan['makespan_ns'] / 1e6:.1f} ms", size=10, anchor="end", fill=MUTED)
    legend(picture, 440, 225)
    picture.save(path)


def side_by_side(plans, path):
    names = ("GPipe", "1F1B", "ZB1P", "opweave")
    until = max(plans[name]["makespan_ns"] for name in names)
    picture = Picture(860, 4 * 122 + 40)
    y = 20
    for name in names:
        plan = plans[name]
        picture.text(16, y, name, size=13, weight=600)
        picture.text(840, y, f"{plan['makespan_ns'] / 1e6:.1f} ms, bubble {100 * plan['statistics']['bubble_ratio']:.0f} %", anchor="end")
        y = gantt(picture, plan, 66, y + 12, 774, until) + 14
    legend(picture, 66, y)
    picture.save(path)


def idle_causes(path):
    picture = Picture(860, 210)
    picture.text(16, 20, "One gap of a compute stream, cut where one condition after the other is met", size=13, weight=600)
    lanes = (("other device", 48), ("link", 80), ("comm", 112), ("compute", 152))
    for name, y in lanes:
        picture.text(90, y + 10, name, anchor="end", fill=MUTED)
        picture.box(100, y, 741, 20, TRACK)
    picture.box(160, 48, 170, 20, COLOURS["F"], "makes the input")
    picture.box(330, 80, 80, 20, "#ff77b0", "transfer")
    picture.box(300, 112, 190, 20, COLOURS["I"], "holds a stream it needs")
    picture.box(100, 152, 110, 20, COLOURS["W"], "before")
    for x, until, cause, colour in ((210, 330, "input", "#e3b505"), (330, 410, "transfer", "#ff77b0"), (410, 490, "stream", "#e06c66"),
                                    (490, 570, "memory", "#b08d80"), (570, 620, "held", "#b0bec5")):
        picture.box(x, 152, until - x, 20, colour, cause)
        picture.parts.append(f'<line x1="{until - .5}" y1="40" x2="{until - .5}" y2="180" stroke="{MUTED}" stroke-dasharray="3 3"/>')
    picture.box(620, 152, 150, 20, COLOURS["F"], "the next operator")
    for x, name in ((210, "a"), (330, "I"), (410, "T"), (490, "S"), (570, "M"), (620, "b")):
        picture.text(x, 192, name, anchor="middle", fill=MUTED)
    picture.save(path)


def main():
    target = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    with tempfile.TemporaryDirectory() as folder:
        plans = make_plans(pathlib.Path(folder))
    from_graph_to_plan(plans, target / "from-graph-to-plan.svg")
    side_by_side(plans, target / "side-by-side.svg")
    idle_causes(target / "idle-causes.svg")


if __name__ == "__main__":
    main()
