"""explain, show, diff, what-if: what they print follows from the plan and is stated exactly."""

import itertools
import json
import os
import shutil
import subprocess

import pytest
from conftest import OPWEAVE, fails, succeeds


def figures(plan):
    return json.loads(plan.read_text())


def test_explained_path_fills_the_makespan_and_idle_causes_fill_the_bubble(planned):
    explained = json.loads(succeeds("explain", *planned.inputs, planned.plan, "--json"))
    plan = figures(planned.plan)
    path = explained["critical_path"]
    assert path[0]["from_ns"] == 0 and path[-1]["until_ns"] == plan["makespan_ns"]
    assert all(a["until_ns"] == b["from_ns"] for a, b in itertools.pairwise(path))
    for device, stated in zip(explained["devices"], plan["statistics"]["devices"], strict=False):
        assert sum(device["idle"].values()) == device["bubble_ns"] == stated["bubble_ns"]
    assert len(explained["tasks"]) == len(plan["tasks"])
    assert min(task["slack_ns"] for task in explained["tasks"]) == 0


def test_explain_prints_path_and_causes(planned):
    text = succeeds("explain", *planned.inputs, planned.plan)
    assert "Critical path:" in text and "ramp-down" in text and "makespan " in text


def test_explain_device_and_operator(planned):
    assert "ramp-down" in succeeds("explain", *planned.inputs, planned.plan, "--device", "gpu1")
    text = succeeds("explain", *planned.inputs, planned.plan, "--operator", "block.0.mix.F")
    assert "block.0.mix.F#0" in text and "slack" in text
    # The pipeline pins its operators.
    assert "not allowed there" in text


def test_explain_names_what_it_does_not_find(planned):
    assert "gpu9" in fails(2, "explain", *planned.inputs, planned.plan, "--device", "gpu9")
    assert "nowhere" in fails(2, "explain", *planned.inputs, planned.plan, "--operator", "nowhere")
    fails(2, "explain", *planned.inputs, planned.plan, "--operator", "x", "--device", "y")


def lines_of_gantt(text):
    return [line for line in text.splitlines() if "|" in line]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_show_is_as_wide_as_columns_says(planned, columns):
    environment = {**os.environ, "COLUMNS": str(columns), "LC_ALL": "C"}
    for files in [(planned.plan,), (*planned.inputs, planned.plan)]:
        text = succeeds("show", *files, env=environment)
        assert {len(line) for line in lines_of_gantt(text)} == {columns}
        assert "\x1b" not in text


def test_show_draws_phases_and_memory_with_the_graph_and_microbatches_without(planned):
    environment = {**os.environ, "LC_ALL": "C"}
    both = succeeds("show", *planned.inputs, planned.plan, env=environment)
    assert " memory|" in both and "F" in lines_of_gantt(both)[0]
    alone = succeeds("show", planned.plan, env=environment)
    assert " memory|" not in alone and "7" in "".join(lines_of_gantt(alone))


def test_show_colours_where_asked(planned):
    assert "\x1b[48;5;" in succeeds("show", planned.plan, "--color", "always")
    assert "\x1b" not in succeeds("show", planned.plan, "--color", "never")
    assert "--color" in fails(2, "show", planned.plan, "--color", "blue")


def in_terminal(arguments, environment):
    """What a command writes to a terminal of 90 columns."""
    import fcntl
    import pty
    import struct
    import termios

    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    process = subprocess.Popen([OPWEAVE, *map(str, arguments)], stdout=other, env=environment)
    os.close(other)
    text = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:
            break
        if not part:
            break
        text += part
    process.wait()
    os.close(main)
    return text.decode()


def test_show_in_a_terminal_uses_its_width_and_colours_unless_no_color_is_set(planned):
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
    environment.update(TERM="xterm-256color", LC_ALL="C")
    assert "\x1b[48;5;" in in_terminal(("show", planned.plan), environment)
    plain = in_terminal(("show", planned.plan), {**environment, "NO_COLOR": "1"})
    assert "\x1b" not in plain
    assert {len(line) for line in lines_of_gantt(plain.replace("\r", ""))} == {90}


def test_diff_of_a_plan_with_itself_finds_nothing(planned):
    text = succeeds("diff", planned.plan, planned.plan)
    assert "nothing moved to another device" in text and "shifted most" not in text


def test_diff_says_what_moved(planned, tmp_path):
    other = json.loads(planned.plan.read_text())
    first = other["tasks"][0]
    assert first["devices"] == ["gpu0"]
    first["devices"] = ["gpu1"]
    (tmp_path / "other.json").write_text(json.dumps(other))
    text = succeeds("diff", planned.plan, tmp_path / "other.json")
    assert [line.split() for line in text.splitlines() if line.startswith("gpu0  gpu1")] == [
        ["gpu0", "gpu1", "1", first["operator"]]
    ]


def test_diff_with_the_graph_splits_the_change_into_places_and_order(planned, tmp_path):
    slower = tmp_path / "slower.json"
    succeeds("plan", *planned.inputs, "--work-limit", 1, "-o", slower)
    text = succeeds("diff", *planned.inputs, planned.plan, slower)
    assert "idle because of" in text and "and its order: second plan" in text


def test_diff_of_different_settings_needs_the_plans_alone(planned, tmp_path):
    other = tmp_path / "other.json"
    succeeds("plan", *planned.inputs, "--work-limit", 1, "--microbatches", 4, "-o", other)
    assert "only in the first" in succeeds("diff", planned.plan, other)
    assert "settings" in fails(2, "diff", *planned.inputs, planned.plan, other)


def test_what_if_answers_are_simulations_above_their_bounds(planned):
    result = json.loads(succeeds("what-if", *planned.inputs, planned.plan, "--json", "--samples", 10))
    assert len(result["changes"]) >= 5
    for change in result["changes"]:
        if change["same_order_ns"] is not None:
            assert change["lower_bound_ns"] <= change["same_order_ns"]
    spreads = [r["spread"] for r in result["robustness"]]
    assert spreads == [0.01, 0.02, 0.05, 0.1, 0.2]
    assert all(r["median_ns"] <= r["percentile95_ns"] <= r["worst_ns"] for r in result["robustness"])


def test_what_if_replans_with_more_memory_and_other_microbatches(planned):
    arguments = ["--memory", "2", "--microbatches", "4", "--replan", "--work-limit", "50", "--samples", "0", "--json"]
    result = json.loads(succeeds("what-if", *planned.inputs, planned.plan, *arguments))
    memory, microbatches = result["changes"]
    assert memory["lower_bound_ns"] <= memory["replanned_ns"]
    assert microbatches["same_order_ns"] is None and microbatches["replanned_ns"] < figures(planned.plan)["makespan_ns"]
    assert result["robustness"] == []
    # The same work and seed give the same answer.
    assert json.loads(succeeds("what-if", *planned.inputs, planned.plan, *arguments)) == result


def test_what_if_says_that_less_memory_is_too_little(planned):
    text = succeeds("what-if", *planned.inputs, planned.plan, "--memory", "0.9", "--samples", 0)
    assert "exceeds memory" in text or "no plan exists" in text


def test_what_if_names_what_it_does_not_find(planned):
    assert "nothing" in fails(2, "what-if", *planned.inputs, planned.plan, "--faster", "nothing")


def complete_in_bash(script, *words):
    """What bash offers for the last of some words."""
    code = f"source {script}\nCOMP_WORDS=(opweave {' '.join(words)} '')\n"
    if words and words[-1].startswith("-"):
        code = f"source {script}\nCOMP_WORDS=(opweave {' '.join(words)})\n"
    code += "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_opweave\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n"
    return subprocess.run(["bash", "-c", code], text=True, capture_output=True, check=True).stdout.split()


def test_completion_of_bash_offers_commands_kinds_and_options(tmp_path):
    script = tmp_path / "opweave.bash"
    script.write_text(succeeds("completion", "bash"))
    assert {"plan", "explain", "what-if", "convert"} <= set(complete_in_bash(script))
    assert {"pipeline", "csv"} <= set(complete_in_bash(script, "convert"))
    assert "--time-limit" in complete_in_bash(script, "plan", "graph.json", "--")
    assert "--device" in complete_in_bash(script, "explain", "graph.json", "--")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_its_shell_and_knows_every_command(shell, tmp_path):
    script = succeeds("completion", shell)
    for command in ["plan", "check", "simulate", "bounds", "compare", "convert", "report", "explain", "show", "diff"]:
        assert command in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)


def test_completion_for_other_shells_is_refused():
    assert "SHELL" in fails(2, "completion", "csh")


def test_manual_describes_every_command_without_a_warning_of_the_formatter():
    page = succeeds("manual")
    assert page.startswith(".TH OPWEAVE 1")
    for command in ["plan", "explain", "what\\-if", "convert pipeline"]:
        assert f'.SS "opweave {command}"' in page
    if shutil.which("groff"):
        done = subprocess.run(
            ["groff", "-man", "-Tascii", "-ww"], input=page, text=True, capture_output=True, check=True
        )
        assert "time-limit" in done.stdout
