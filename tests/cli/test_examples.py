"""The branched examples: their files are what their scripts write, and they can be planned at once."""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, succeeds

EXAMPLES = {"vision-language": "76GiB", "omni": "76GiB", "two-tower": "36GiB"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_pipeline_file_is_what_the_formulas_give(name, tmp_path):
    (tmp_path / name).mkdir()
    shutil.copy(ROOT / "examples/transformer_costs.py", tmp_path)
    shutil.copy(ROOT / "examples" / name / "make_pipeline.py", tmp_path / name)
    subprocess.run([sys.executable, tmp_path / name / "make_pipeline.py"], check=True, timeout=60)
    assert (tmp_path / name / "pipeline.json").read_text() == (ROOT / "examples" / name / "pipeline.json").read_text()


@pytest.mark.parametrize("name, memory", EXAMPLES.items())
def test_branched_example_is_planned_within_seconds_below_every_published_schedule_that_fits(name, memory, tmp_path):
    graph, cluster, plan = tmp_path / "graph.json", tmp_path / "cluster.json", tmp_path / "plan.json"
    succeeds(
        "convert",
        "pipeline",
        ROOT / "examples" / name / "pipeline.json",
        "--shape",
        "free",
        "--devices",
        8,
        "--memory",
        memory,
        "-o",
        graph,
        "--cluster",
        cluster,
    )
    succeeds("plan", graph, cluster, "--time-limit", 3, "-o", plan)  # a quiet processor needs one
    succeeds("check", graph, cluster, plan)
    rows = json.loads(succeeds("compare", graph, cluster, plan, "--json"))["comparisons"][0]["schedules"]
    ours = next(row for row in rows if row["name"] == "opweave")
    fitting = [row for row in rows if row["name"] != "opweave" and row["fits_memory"]]
    assert ours["fits_memory"]
    assert fitting
    assert all(ours["makespan_ns"] <= row["makespan_ns"] for row in fitting)


def test_branches_appear_in_the_graph_as_layers_of_their_component(tmp_path):
    graph = tmp_path / "graph.json"
    succeeds(
        "convert",
        "pipeline",
        ROOT / "tests/golden/formats/two_encoders.pipeline.json",
        "--shape",
        "free",
        "--devices",
        2,
        "-o",
        graph,
        "--cluster",
        tmp_path / "cluster.json",
    )
    operators = {op["name"]: op for op in json.loads(graph.read_text())["operators"]}
    assert operators["language.block.mlp.F"]["devices"] == ["gpu1"]
    assert operators["vision.block.1.mlp.I"]["layer"] == "vision.block.1"
    assert "devices" not in operators["text.embedding.look-up.W"]


def test_compare_experts_lists_every_published_schedule_whatever_the_placement(tmp_path):
    """A V pipeline by itself is compared with the V schedules; with --experts also with linear, loop and two-way ones."""
    graph, cluster = tmp_path / "graph.json", tmp_path / "cluster.json"
    succeeds(
        "convert",
        "pipeline",
        ROOT / "examples/deepseek-v3/pipeline.json",
        "--shape",
        "V",
        "--devices",
        8,
        "--activations",
        8.5,
        "-o",
        graph,
        "--cluster",
        cluster,
    )

    def names(*options):
        table = json.loads(succeeds("compare", graph, cluster, "--json", *options))["comparisons"]
        return [{row["name"]: row for row in one["schedules"]} for one in table]

    assert [set(rows) for rows in names()] == [{"ZB-V", "V-Half", "V-Min", "DualPipeV", "DualPipeV (split)"}]
    own, others = names("--experts")
    # Where more chunks are better there are two rows of a schedule on loops.
    assert {name.split(" (4")[0] for name in others} == {
        "GPipe",
        "1F1B",
        "Interleaved-1F1B",
        "Interleaved-ZB",
        "Looped-BFS",
        "ZB1P",
        "ZB-2P",
        "DualPipe",
        "DualPipe (split)",
    }
    # The published figures of README's table: the same as in the pipelines of these shapes.
    assert others["1F1B"]["makespan_ns"] == 5364360000
    assert others["DualPipe"]["makespan_ns"] == 3551760000
    assert others["DualPipe"]["parameter_copies"] == 2
    assert not others["DualPipe"]["fits_memory"]
    assert own["DualPipeV"]["makespan_ns"] == 3621820000


def test_objectives_example_answers_each_question_within_its_limits(tmp_path):
    graph, cluster, plan = tmp_path / "graph.json", tmp_path / "cluster.json", tmp_path / "plan.json"
    succeeds(
        "convert",
        "pipeline",
        ROOT / "examples/objectives/pipeline.json",
        "--shape",
        "free",
        "--devices",
        4,
        "--latency-ns",
        10000,
        "--bandwidth-bytes-per-s",
        100000000000,
        "-o",
        graph,
        "--cluster",
        cluster,
    )

    def rows(*options):
        succeeds("plan", graph, cluster, *options, "--time-limit", 2, "-o", plan)
        succeeds("check", graph, cluster, plan)
        table = json.loads(succeeds("compare", graph, cluster, plan, "--json"))["comparisons"][0]
        ours = next(row for row in table["schedules"] if row["name"] == "opweave")
        return ours, [row for row in table["schedules"] if row["name"] != "opweave"]

    ours, published = rows("--objective", "peak-memory,makespan", "--deadline", "100ms")
    assert ours["makespan_ns"] <= 100_000_000
    in_time = [row["peak_memory_bytes"] for row in published if row["makespan_ns"] <= 100_000_000]
    assert ours["peak_memory_bytes"] < min(in_time)
    ours, published = rows("--memory-limit", "800MiB")
    assert ours["peak_memory_bytes"] <= 800 << 20
    small = [row["makespan_ns"] for row in published if row["peak_memory_bytes"] <= 800 << 20]
    assert ours["makespan_ns"] < min(small)
    ours, published = rows("--objective", "utilisation")
    assert ours["bubble_ratio"] < min(row["bubble_ratio"] for row in published)
