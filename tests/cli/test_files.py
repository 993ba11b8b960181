"""Which files a command reads and writes: none of them twice, links are seen through, names are taken as they are."""

import json
import os
import shutil
import subprocess

import pytest
from conftest import JOB_SHOP, LAYERS, OPWEAVE, fails, succeeds

WORK = ("--work-limit", 20)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def aliases(path, folder):
    """Other names of a file: from elsewhere, through a link to it or to its folder, as a hard link."""
    link, hard, door = folder / "link.json", folder / "hard.json", folder / "door"
    link.symlink_to(path)
    os.link(path, hard)
    door.symlink_to(path.parent)
    return [path, path.parent / ".." / path.parent.name / path.name, link, hard, door / path.name]


def test_an_output_that_is_an_input_is_refused_and_left_as_it_is(planned, tmp_path):
    folder = tmp_path / "aliases"
    folder.mkdir()
    graph, cluster = planned.inputs
    for alias in aliases(graph, folder):
        before = contents(tmp_path)
        for command in [
            ("plan", graph, cluster, *WORK),
            ("report", graph, cluster, planned.plan),
            ("bounds", graph, cluster),
            ("explain", graph, cluster, planned.plan),
            ("simulate", graph, cluster, planned.plan),
            ("compare", graph, cluster),
            ("what-if", graph, cluster, planned.plan, "--samples", 0),
        ]:
            error = fails(2, *command, "-o", alias)
            assert error == f'error: --output: file is "{alias}", the same as GRAPH, expected a file of its own'
        assert contents(tmp_path) == before


@pytest.mark.parametrize("option", ["--report", "--trace"])
def test_every_pair_of_files_of_plan_is_looked_at(planned, option):
    graph, cluster = planned.inputs
    fails(2, "plan", graph, cluster, *WORK, option, cluster)
    fails(2, "plan", graph, cluster, *WORK, "--warm-start", planned.plan, "-o", planned.plan)
    fails(2, "plan", graph, cluster, *WORK, "-o", "new.json", option, "./new.json", cwd=graph.parent)
    fails(2, "report", graph, cluster, planned.plan, "-o", "new.html", "--trace", "new.html", cwd=graph.parent)
    fails(2, "pareto", graph, cluster, "--csv", "new", "--json", "new", "--time-limit", 0, cwd=graph.parent)
    assert not (graph.parent / "new.json").exists()


def test_converters_do_not_write_over_what_they_read_or_wrote(tmp_path):
    spec, shop, csv = tmp_path / "spec.json", tmp_path / "shop.txt", tmp_path / "schedule.csv"
    spec.write_text(json.dumps(LAYERS))
    shop.write_text(JOB_SHOP)
    before = contents(tmp_path)
    for kind in [("pipeline", spec, "--devices", 2), ("fjs", shop)]:
        fails(2, "convert", *kind, "-o", kind[1], "--cluster", tmp_path / "c.json")
        fails(2, "convert", *kind, "-o", tmp_path / "g.json", "--cluster", kind[1])
        error = fails(2, "convert", *kind, "-o", "both.json", "--cluster", tmp_path / "both.json", cwd=tmp_path)
        assert error.startswith("error: --cluster: file is ") and "the same as --output" in error
    assert contents(tmp_path) == before
    succeeds("convert", "expert", "1F1B", "--devices", 2, "--microbatches", 2, "-o", csv)
    succeeds("convert", "pipeline", spec, "--devices", 2, "-o", tmp_path / "g.json", "--cluster", tmp_path / "c.json")
    fails(2, "convert", "csv", csv, tmp_path / "g.json", tmp_path / "c.json", "-o", csv)
    fails(2, "convert", "topology", shop, "-o", shop)


def test_what_is_printed_does_not_go_into_a_file_that_is_read(planned):
    before = planned.plan.read_bytes()
    for command in [
        ("show", planned.plan),
        ("check", *planned.inputs, planned.plan),
        ("diff", planned.plan, planned.plan),
    ]:
        with planned.plan.open("ab") as end:
            done = subprocess.run([OPWEAVE, *map(str, command)], stdout=end, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 2 and "error: standard output: file is" in done.stderr
    assert planned.plan.read_bytes() == before


def test_pipes_and_dev_null_may_be_named_more_than_once(small):
    succeeds("plan", *small.inputs, *WORK, "-o", "/dev/null", "--report", "/dev/null", "--trace", "/dev/null")


def test_a_link_to_a_file_that_is_not_there_yet_creates_it(small, tmp_path):
    (tmp_path / "results").mkdir()
    link = tmp_path / "latest.json"
    link.symlink_to("second.json")
    (tmp_path / "second.json").symlink_to(tmp_path / "results" / "plan.json")
    succeeds("plan", *small.inputs, *WORK, "-o", link)
    assert link.is_symlink() and json.loads((tmp_path / "results" / "plan.json").read_text())["makespan_ns"] > 0
    # Two names for a file to be created are one.
    os.remove(tmp_path / "results" / "plan.json")
    error = fails(2, "plan", *small.inputs, *WORK, "-o", link, "--report", tmp_path / "results" / "plan.json")
    assert "the same as --output" in error
    # Written again, the link stays a link.
    succeeds("plan", *small.inputs, *WORK, "-o", link)
    succeeds("plan", *small.inputs, *WORK, "-o", link)
    assert link.is_symlink() and sorted(os.listdir(tmp_path / "results")) == ["plan.json"]


def test_links_that_lead_nowhere_are_told(small, tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "cannot be written" in fails(2, "plan", *small.inputs, *WORK, "-o", tmp_path / "a")
    (tmp_path / "c").symlink_to("missing/plan.json")
    assert "cannot be written" in fails(2, "plan", *small.inputs, *WORK, "-o", tmp_path / "c")


@pytest.mark.parametrize("option", ["-o", "--report", "--trace", "--warm-start", "--read-solution", "--write-model"])
def test_an_empty_name_of_a_file_is_an_error(small, option):
    error = fails(2, "plan", *small.inputs, *WORK, option, "")
    assert error.endswith('value is "", expected the name of a file')


def test_empty_arguments_are_errors_too(planned):
    graph, cluster = planned.inputs
    for arguments in [
        ("plan", "", cluster),
        ("check", graph, cluster, ""),
        ("show", ""),
        ("diff", "", planned.plan),
        ("compare", graph, ""),
        ("convert", "fjs", "", "-o", "a", "--cluster", "b"),
        ("convert", "fjs", graph, "-o", "a", "--cluster", ""),
        ("bounds", graph, cluster, "-o", ""),
    ]:
        assert fails(2, *arguments).endswith('value is "", expected the name of a file')


def test_the_command_in_a_plan_can_be_run_again_whatever_the_files_are_called(small, tmp_path):
    folder = tmp_path / "names"
    folder.mkdir()
    graph, cluster = small.inputs
    for graph_name, cluster_name in [
        ("-g.json", "--cluster.json"),
        ("-", "-o"),
        ("plan", "check"),
        ("a b", "#c"),
        ("~", "$HOME"),
        ("line\nbreak", "'quoted'"),
        ("--", "="),
    ]:
        shutil.copy(graph, folder / graph_name)
        shutil.copy(cluster, folder / cluster_name)
        succeeds("plan", *WORK, "-o", "../made.json", "--", graph_name, cluster_name, cwd=folder)
        made = (tmp_path / "made.json").read_text()
        command = json.loads(made)["provenance"]["command"]
        again = subprocess.run(
            ["bash", "-c", f'opweave() {{ "{OPWEAVE}" "$@"; }}; {command}'],
            cwd=folder,
            text=True,
            capture_output=True,
            timeout=60,
        )
        assert again.stdout == made, (command, again.stderr)


def test_a_warm_start_whose_name_begins_with_a_dash_is_named_so_that_it_is_found(planned):
    folder = planned.plan.parent
    shutil.copy(planned.plan, folder / "-w.json")
    made = succeeds("plan", *planned.inputs, *WORK, "--warm-start=-w.json", cwd=folder)
    command = json.loads(made)["provenance"]["command"]
    assert command.endswith("--warm-start ./-w.json")
    again = subprocess.run(
        ["bash", "-c", f'opweave() {{ "{OPWEAVE}" "$@"; }}; {command}'],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert again.stdout == made
