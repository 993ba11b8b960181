"""Names reach the terminal whole, and none of their characters acts on it."""

import json
import subprocess

import pytest
from conftest import OPWEAVE, succeeds

# Colours, bells, line breaks, C1 controls, deletions, reordering of text: what a terminal would obey.
HOSTILE = "\x1b[31m\x07\n\r\t\x7f\x9b2J\u202e\u2028"


def disturbing(text):
    return sorted({c for c in text if c != "\n" and (ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u2028")})


def run(*command):
    """Exit code, and both outputs to the byte."""
    done = subprocess.run([OPWEAVE, *map(str, command)], capture_output=True, timeout=120)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def hostile(planned):
    """The example with such characters in every name: planned, and where names must be printed, with its own plan."""
    graph_path, cluster_path = planned.inputs
    graph, cluster = json.loads(graph_path.read_text()), json.loads(cluster_path.read_text())

    def spoil(value, key=""):
        if isinstance(value, dict):
            return {k: v if k in ("format", "phase", "contention", "dtype") else spoil(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [spoil(v, key) for v in value]
        return value if not isinstance(value, str) or value == "compute" else value + HOSTILE

    graph_path.write_text(json.dumps(spoil(graph)))
    cluster_path.write_text(json.dumps(spoil(cluster)))
    succeeds("plan", *planned.inputs, "--work-limit", 50, "-o", planned.plan)
    return planned


def test_no_command_lets_a_name_act_on_the_terminal(hostile):
    graph, cluster, plan = *hostile.inputs, hostile.plan
    op = json.loads(graph.read_text())["operators"][0]["name"]
    device = json.loads(cluster.read_text())["devices"][0]["name"]
    lines = {}
    for command in [
        ("plan", graph, cluster, "--work-limit", 50, "-o", plan),
        ("plan", graph, cluster, "--work-limit", 50, "-o", plan, "--objective", "peak-memory,devices"),
        ("plan", graph, cluster, "--memory-limit", "1"),
        ("check", graph, cluster, plan),
        ("simulate", graph, cluster, plan),
        ("bounds", graph, cluster),
        ("bounds", graph, cluster, "--memory-limit", "1"),
        ("pareto", graph, cluster, "--points", 2, "--time-limit", 0.1),
        ("compare", graph, cluster, plan),
        ("explain", graph, cluster, plan, "--all"),
        ("explain", graph, cluster, plan, "--operator", op),
        ("explain", graph, cluster, plan, "--operator", op + "x"),
        ("explain", graph, cluster, plan, "--device", device),
        ("explain", graph, cluster, plan, "--device", device + "x"),
        ("show", plan),
        ("show", graph, cluster, plan, "--color", "never"),
        ("diff", plan, plan),
        ("diff", graph, cluster, plan, plan),
        ("what-if", graph, cluster, plan, "--samples", 0),
        ("what-if", graph, cluster, plan, "--samples", 0, "--faster", op),
        ("what-if", graph, cluster, plan, "--samples", 0, "--faster", op + "x"),
    ]:
        code, printed, complained = run(*command)
        assert code in (0, 2, 3), complained
        assert disturbing(printed + complained) == [], command
        lines[command[0]] = printed
    # They are there, escaped: nothing is silently dropped.
    assert "\\u001b[31m\\u0007\\n\\u000d\\t\\u007f\\u009b2J\\u202e\\u2028" in lines["show"]
    # A violation names the task and the device.
    spoilt = json.loads(plan.read_text())
    spoilt["tasks"][0]["end_ns"] += 1
    plan.write_text(json.dumps(spoilt))
    for command in ["check", "explain", "simulate"]:
        _, printed, complained = run(command, graph, cluster, plan)
        assert disturbing(printed + complained) == [], command


def test_colours_of_show_are_its_own(hostile):
    text = succeeds("show", hostile.plan, "--color", "always")
    assert "\x1b[31m" not in text and "\x1b[4" in text


def chart(planned, rename, columns=60):
    """What show draws where the devices have other names."""
    text = planned.plan.read_text()
    plan = json.loads(text)
    names = [device["device"] for device in plan["statistics"]["devices"]]
    for number, name in enumerate(names):
        text = text.replace(f'"{name}"', json.dumps(rename(number)))
    planned.plan.write_text(text)
    shown = succeeds("show", planned.plan, env={"COLUMNS": str(columns), "LC_ALL": "C"})
    return shown.split("\n\ndevice ")[0].splitlines(), [rename(number) for number in range(len(names))]


def test_names_of_devices_are_whole_where_they_fit(planned):
    lines, names = chart(planned, lambda number: f"gpu-{number}")
    for name in names:
        assert any(line.startswith(f"{name} ") for line in lines)
    assert not any("in front" in line for line in lines)


def test_what_long_names_begin_with_is_said_once(planned):
    lines, names = chart(planned, lambda number: f"eu-west-1.rack-17.node-{number}.gpu")
    front = "eu-west-1.rack-17.node-"
    assert lines[-1] == f'names of devices without "{front}" in front'
    assert all(len(line) <= 60 for line in lines[2:-3])
    for number in range(len(names)):
        assert any(line.startswith(f"{number}.gpu ") for line in lines)


def test_names_without_a_common_beginning_widen_their_column(planned):
    lines, names = chart(
        planned, lambda number: f"{'abcdefgh'[number]}-very-long-name-of-a-device-without-anything-in-common"
    )
    bars = {line.index("|") for line in lines if "|" in line}
    assert len(bars) == 1
    for name in names:
        assert any(line.startswith(f"{name} ") for line in lines)


def test_a_prefix_is_cut_at_a_separator_and_leaves_something_of_each_name(planned):
    # All begin with "accelerator1", which ends with no separator; the separator before it is the last one that all have.
    lines, _ = chart(planned, lambda number: f"a-long-enough-beginning.accelerator1{number}")
    assert lines[-1] == 'names of devices without "a-long-enough-beginning." in front'
    assert any(line.startswith("accelerator10 ") for line in lines)


def test_tables_show_every_name_whole(planned):
    long = "x" * 300
    text = planned.inputs[0].read_text().replace('"block.0.mix.F"', f'"{long}.F"')
    planned.inputs[0].write_text(text)
    succeeds("plan", *planned.inputs, "--work-limit", 20, "-o", planned.plan)
    assert f"{long}.F#0" in succeeds("explain", *planned.inputs, planned.plan, "--operator", f"{long}.F")


def test_columns_of_tables_stand_below_each_other_whatever_the_script(planned):
    cluster = json.loads(planned.inputs[1].read_text())
    wide, accented = "设备甲", "été"
    names = [device["name"] for device in cluster["devices"]]
    for path in planned.inputs:
        text = path.read_text()
        for name, new in zip(names, (wide, accented), strict=False):
            text = text.replace(f'"{name}"', f'"{new}"')
        path.write_text(text)
    succeeds("plan", *planned.inputs, "--work-limit", 20, "-o", planned.plan)
    lines = succeeds("simulate", *planned.inputs, planned.plan).splitlines()
    rows = {line.split()[0]: line for line in lines[1:]}
    # Three characters of two columns each, three of one.
    assert len(rows[wide]) + 3 == len(rows[accented])
