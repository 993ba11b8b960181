import json

import pytest
from conftest import JOB_SHOP, LAYERS, fails, opweave, pipeline, succeeds


def test_check_accepts_what_plan_writes(planned):
    assert succeeds("check", *planned.inputs, planned.plan).startswith("valid: makespan ")


def test_plan_says_that_peak_rates_time_operators_without_a_duration(planned, tmp_path):
    assert "no duration" not in opweave("plan", *planned.inputs, "--work-limit", 1).stderr
    operator = {"name": "product", "flops": 10**12, "dtype": "bf16"}
    graph, cluster = tmp_path / "rates.json", tmp_path / "device.json"
    graph.write_text(json.dumps({"format": "opweave.graph", "version": 1, "tensors": [], "operators": [operator]}))
    device_type = {"name": "gpu", "peak_flops_per_s": {"bf16": 10**15}}
    devices = {"device_types": [device_type], "devices": [{"name": "d0", "type": "gpu"}]}
    cluster.write_text(json.dumps({"format": "opweave.cluster", "version": 1, **devices}))
    done = opweave("plan", graph, cluster, "--work-limit", 1)
    assert "note: 1 of 1 operators have no duration: the peak rates of devices time them" in done.stderr


def test_simulation_of_a_plan_as_planned_takes_no_longer_than_planned(planned):
    figures = json.loads(succeeds("simulate", *planned.inputs, planned.plan, "--json"))
    plan = json.loads(planned.plan.read_text())
    assert figures["makespan_ns"] <= plan["makespan_ns"]
    assert len(figures["devices"]) == 2


def test_simulation_with_every_operator_twice_as_long_takes_twice_the_time(planned):
    once = json.loads(succeeds("simulate", *planned.inputs, planned.plan, "--json"))
    graph = json.loads(planned.graph.read_text())
    durations = planned.folder / "durations.json"
    durations.write_text(json.dumps({op["name"]: 2 * op["duration_ns"] for op in graph["operators"]}))
    twice = json.loads(succeeds("simulate", *planned.inputs, planned.plan, "--json", "--durations", durations))
    # No transfer takes time here, so every moment of the schedule doubles.
    assert twice["makespan_ns"] == 2 * once["makespan_ns"]
    assert twice["bubble_ratio"] == pytest.approx(once["bubble_ratio"])
    for a, b in zip(once["devices"], twice["devices"], strict=False):
        assert b["compute_busy_ns"] == 2 * a["compute_busy_ns"]
        assert b["peak_memory_bytes"] == a["peak_memory_bytes"]


def test_duration_of_one_task_goes_before_that_of_its_operator(planned):
    durations = planned.folder / "durations.json"
    durations.write_text(json.dumps({"block.0.mix.F": 400, "block.0.mix.F#0": 1_000_000}))
    slow = json.loads(succeeds("simulate", *planned.inputs, planned.plan, "--json", "--durations", durations))
    assert slow["makespan_ns"] > 1_000_000


def test_durations_of_unknown_operators_are_refused(planned):
    durations = planned.folder / "durations.json"
    durations.write_text('{"block.99.mix.F": 1}')
    assert "block.99.mix.F" in fails(2, "simulate", *planned.inputs, planned.plan, "--durations", durations)


def test_slower_compute_beside_communication_lengthens_the_iteration(planned):
    free = json.loads(succeeds("simulate", *planned.inputs, planned.plan, "--json"))
    shared = json.loads(succeeds("simulate", *planned.inputs, planned.plan, "--json", "--compute-slowdown", 2))
    assert shared["makespan_ns"] > free["makespan_ns"]
    assert sum(d["compute_busy_ns"] for d in shared["devices"]) > sum(d["compute_busy_ns"] for d in free["devices"])


MODELS = [f"{send}-{queue}" for send in ("rendezvous", "buffered") for queue in ("rank", "pair", "direction")]


def makespan(case, *options):
    return json.loads(succeeds("simulate", *case.inputs, case.plan, "--json", *options))["makespan_ns"]


@pytest.mark.parametrize("channels", ["in-order", *MODELS])
def test_messages_that_take_no_time_cost_nothing_in_turns(planned, channels):
    assert makespan(planned, "--channels", channels) == makespan(planned)


def test_messages_in_turns_wait_for_each_other(planned):
    cluster = json.loads(planned.cluster.read_text())
    cluster["default_link"] = {"latency_ns": 700}
    planned.cluster.write_text(json.dumps(cluster))
    succeeds("plan", *planned.inputs, "--work-limit", 20, "-o", planned.plan)
    times = {channels: makespan(planned, "--channels", channels) for channels in ["free", "in-order", *MODELS]}
    assert times["in-order"] == times["rendezvous-rank"]
    # Every model of fewer demands is at least as fast.
    for send, queue in (model.split("-") for model in MODELS):
        assert times["free"] <= times[f"buffered-{queue}"] <= times[f"rendezvous-{queue}"]
        assert times[f"{send}-direction"] <= times[f"{send}-pair"] <= times[f"{send}-rank"]
    assert times["free"] < times["in-order"]
    assert '--channels: value is "slow"' in fails(2, "simulate", *planned.inputs, planned.plan, "--channels", "slow")


def test_bounds_are_sorted_and_below_the_plan(planned):
    bounds = [b["value_ns"] for b in json.loads(succeeds("bounds", *planned.inputs, "--json"))["bounds"]]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] <= json.loads(planned.plan.read_text())["makespan_ns"]
    # Each of the 2 devices computes half of 8 layers x 8 microbatches x (400 + 900 + 200) ns.
    assert bounds[0] >= 4 * 8 * 1500


def test_comparison_shows_the_schedules_of_the_shape_the_plan_and_the_bound(planned):
    text = succeeds("compare", *planned.inputs, planned.plan)
    for name in ["ZB-V", "DualPipeV", "opweave", "lower bound"]:
        assert name in text
    assert "1F1B" not in text  # a linear schedule


def test_comparison_over_several_problems_is_one_table(planned, tmp_path):
    folder = tmp_path / "linear"
    folder.mkdir()
    linear = pipeline(folder, LAYERS, "--shape", "linear", "--devices", 2)
    whole = json.loads(succeeds("compare", *planned.inputs, planned.plan, "--with", *linear.inputs, "--json"))
    first, second = whole["comparisons"]
    assert [s["name"] for s in first["schedules"]][-1] == "opweave"
    assert "1F1B" in [s["name"] for s in second["schedules"]]
    table = succeeds("compare", *planned.inputs, planned.plan, "--with", *linear.inputs)
    assert table.count("peak activations") == 1
    fails(2, "compare", *planned.inputs, planned.plan, "--with", linear.graph)


def test_comparison_counts_activations_and_copies(tmp_path):
    # 1F1B on 2 devices holds 2 activations on the first (Narayanan et al. 2021); there is one copy.
    linear = pipeline(tmp_path, LAYERS, "--shape", "linear", "--devices", 2, "--activations", 2)
    rows = json.loads(succeeds("compare", *linear.inputs, "--json"))["comparisons"][0]["schedules"]
    by_name = {row["name"]: row for row in rows}
    assert by_name["1F1B"]["peak_activations"] == 2
    assert by_name["1F1B"]["parameter_copies"] == 1
    assert by_name["1F1B"]["fits_memory"]
    # GPipe holds all 8 microbatches.
    assert by_name["GPipe"]["peak_activations"] == 8
    assert not by_name["GPipe"]["fits_memory"]


def test_report_and_trace_are_written(planned):
    page, trace = planned.folder / "report.html", planned.folder / "trace.json"
    succeeds("report", *planned.inputs, planned.plan, "-o", page, "--trace", trace)
    assert page.read_text().lstrip().lower().startswith("<!doctype html>")
    assert json.loads(trace.read_text())["traceEvents"]


def test_plan_writes_the_same_report_and_trace_as_report_does(small):
    pages = [small.folder / name for name in ("a.html", "a.json", "b.html", "b.json")]
    succeeds("plan", *small.inputs, "--work-limit", 50, "-o", small.plan, "--report", pages[0], "--trace", pages[1])
    succeeds("report", *small.inputs, small.plan, "-o", pages[2], "--trace", pages[3])
    assert pages[0].read_bytes() == pages[2].read_bytes()
    assert pages[1].read_bytes() == pages[3].read_bytes()


def test_settings_can_be_replaced(small):
    plan = json.loads(
        succeeds(
            "plan",
            *small.inputs,
            "--work-limit",
            50,
            "--microbatches",
            3,
            "--memory-limit",
            "1GiB",
            "--contention",
            "endpoint",
        )
    )
    assert plan["settings"]["training"]["microbatches"] == 3
    assert plan["settings"]["memory_limit_bytes"] == 2**30
    assert plan["settings"]["contention"] == "endpoint"
    # 8 layers x (3 F and I and W operators: mix F I W, send F I) x 3 microbatches
    assert len(plan["tasks"]) == 8 * 5 * 3


def test_blocks_run_in_pieces_and_the_plan_is_held_to_it(small):
    printed = succeeds("plan", *small.inputs, "--work-limit", 50, "--blocks", "stage", "-o", small.plan)
    assert " plan in pieces by stage: makespan " in printed
    succeeds("check", *small.inputs, small.plan)
    plan = json.loads(small.plan.read_text())
    assert plan["settings"]["blocks"] == "stage"
    assert "--blocks stage" in plan["provenance"]["command"]
    # What follows the order of the plan keeps the pieces; without contention nothing starts later than planned.
    simulated = succeeds("simulate", *small.inputs, small.plan, "--json")
    assert json.loads(simulated)["makespan_ns"] <= plan["makespan_ns"]
    # Published schedules run in pieces as well, and the search knows them.
    rows = json.loads(succeeds("compare", *small.inputs, small.plan, "--json"))["comparisons"][0]["schedules"]
    assert plan["makespan_ns"] <= min(row["makespan_ns"] for row in rows if row["fits_memory"])
    # A plan without blocks overlaps the communication of one microbatch with the computation of another.
    succeeds("plan", *small.inputs, "--work-limit", 50, "-o", small.folder / "woven.json")
    woven = json.loads((small.folder / "woven.json").read_text())
    woven["settings"]["blocks"] = "stage"
    small.plan.write_text(json.dumps(woven))
    assert "blocks: the piece of " in opweave("check", *small.inputs, small.plan).stderr


def test_blocks_that_are_none_are_refused_by_name(small):
    assert '--blocks: value is "module", expected stage or layer' in fails(
        2, "plan", *small.inputs, "--blocks", "module"
    )
    assert "--blocks: " in fails(2, "plan", *small.inputs, "--blocks", "stage", "--write-model", small.folder / "m.mps")
    graph = json.loads(small.graph.read_text())
    del graph["operators"][0]["stage"]
    small.graph.write_text(json.dumps(graph))
    refusal = fails(2, "plan", *small.inputs, "--blocks", "stage", "--time-limit", 1)
    assert refusal.endswith('operator "block.0.mix.F" has no stage, but blocks are made of the operators of one stage')


def test_job_shop_is_converted_and_planned(tmp_path):
    shop = tmp_path / "shop.fjs"
    shop.write_text(JOB_SHOP)
    graph, cluster = tmp_path / "graph.json", tmp_path / "cluster.json"
    succeeds("convert", "fjs", shop, "-o", graph, "--cluster", cluster)
    plan = json.loads(succeeds("plan", graph, cluster, "--time-limit", 5))
    # Job 1: 3 or 4, then 2 on machine 2. Job 2: 2 or 5, then 3 on machine 1. With job 1 on machine 2 it ends at
    # 4 + 2 = 6 and job 2 on machine 1 at 2 + 3 = 5; with job 1 on machine 1 all of 3 + 2 + 3 = 8 is there, or job 2
    # starts on machine 2 and ends at 5 + 3 = 8. So nothing is below 6 microseconds; one after the other takes 10.
    assert 6000 <= plan["makespan_ns"] <= 10000
    assert len(plan["tasks"]) == 4


def test_published_schedule_goes_to_csv_and_back_to_a_plan(tmp_path):
    case = pipeline(tmp_path, LAYERS, "--shape", "linear", "--devices", 4)
    csv = tmp_path / "schedule.csv"
    for dialect in ["compute_only", "compute_comms"]:
        succeeds("convert", "expert", "1F1B", "--devices", 4, "--microbatches", 8, "--dialect", dialect, "-o", csv)
        assert len(csv.read_text().splitlines()) == 4
        succeeds("convert", "csv", csv, *case.inputs, "-o", case.plan)
        succeeds("check", *case.inputs, case.plan)
        rows = json.loads(succeeds("compare", *case.inputs, "--json"))["comparisons"][0]["schedules"]
        expected = next(row["makespan_ns"] for row in rows if row["name"] == "1F1B")
        assert json.loads(case.plan.read_text())["makespan_ns"] == expected


def test_schedule_that_needs_more_memory_becomes_a_plan_with_a_warning(tmp_path):
    case = pipeline(tmp_path, LAYERS, "--shape", "linear", "--devices", 2, "--activations", 1)
    csv = tmp_path / "schedule.csv"
    succeeds("convert", "expert", "GPipe", "--devices", 2, "--microbatches", 8, "-o", csv)
    done = opweave("convert", "csv", csv, *case.inputs, "-o", case.plan)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: ") and ": memory: " in done.stderr
    assert opweave("check", *case.inputs, case.plan).returncode == 2


def test_schedule_that_is_not_defined_for_the_sizes_is_refused():
    assert "DualPipeV" in fails(2, "convert", "expert", "DualPipeV", "--devices", 4, "--microbatches", 2)
    assert "1F1B" in fails(2, "convert", "expert", "2F2B", "--devices", 4, "--microbatches", 8)


def write_tight(folder, operators, tensors, devices):
    """A graph and a cluster without links. Returns the arguments that name their files."""
    graph = {"format": "opweave.graph", "version": 1, "operators": operators, "tensors": tensors}
    cluster = {"format": "opweave.cluster", "version": 1, "devices": devices}
    (folder / "g.json").write_text(json.dumps(graph))
    (folder / "c.json").write_text(json.dumps(cluster))
    return [folder / "g.json", folder / "c.json"]


METHODS = ["auto", "heuristic", "cp", "mip", "mip-time-indexed"]


@pytest.mark.parametrize("method", METHODS)
def test_plan_uses_the_only_device_that_is_large_enough(tmp_path, method):
    files = write_tight(
        tmp_path,
        [{"name": "a", "duration_ns": 10, "outputs": ["t"]}],
        [{"name": "t", "bytes": 50}],
        [{"name": "d0", "memory_bytes": 10}, {"name": "d1", "memory_bytes": 100}],
    )
    plan = json.loads(succeeds("plan", *files, "--method", method, "--work-limit", 1))
    assert plan["tasks"][0]["devices"] == ["d1"] and plan["makespan_ns"] == 10


@pytest.mark.parametrize("method", METHODS)
def test_plan_follows_an_operator_that_is_bound_where_no_route_leads(tmp_path, method):
    operators = [
        {"name": "a", "duration_ns": 10, "outputs": ["t"]},
        {"name": "b", "duration_ns": 10, "inputs": ["t"], "devices": ["d1"]},
    ]
    files = write_tight(tmp_path, operators, [{"name": "t", "bytes": 50}], [{"name": "d0"}, {"name": "d1"}])
    plan = json.loads(succeeds("plan", *files, "--method", method, "--work-limit", 1))
    assert [task["devices"] for task in plan["tasks"]] == [["d1"], ["d1"]] and plan["makespan_ns"] == 20


def test_plan_that_cannot_exist_is_refused_with_its_cause(tmp_path):
    # The ends of the chain may not share a device, and no route leads from one device to the other.
    operators = [
        {"name": "a", "duration_ns": 10, "outputs": ["s"], "anti_colocation": ["apart"]},
        {"name": "b", "duration_ns": 10, "inputs": ["s"], "outputs": ["t"]},
        {"name": "c", "duration_ns": 10, "inputs": ["t"], "anti_colocation": ["apart"]},
    ]
    tensors = [{"name": "s", "bytes": 1}, {"name": "t", "bytes": 1}]
    files = write_tight(tmp_path, operators, tensors, [{"name": "d0", "memory_bytes": 100}, {"name": "d1"}])
    grounds = 'anti-colocation "apart" and the routes that there are'
    cause = f"no plan exists: the solver proves that no placement and order keeps to {grounds}"
    for method in ["auto", "cp", "mip"]:
        assert fails(3, "plan", *files, "--method", method, "--work-limit", 1) == f"error: {cause}"
    assert fails(3, "pareto", *files, "--time-limit", 20) == f"error: {cause}"
    # A search alone proves nothing, and does not claim to.
    line = fails(3, "plan", *files, "--method", "heuristic", "--work-limit", 1)
    assert line.startswith("error: no plan found (work limit 1 reached): none fits that was tried")


def test_one_device_more_is_never_no_plan(tmp_path):
    files = write_tight(
        tmp_path,
        [{"name": "a", "duration_ns": 10, "outputs": ["t"]}],
        [{"name": "t", "bytes": 50}],
        [{"name": "d1", "memory_bytes": 100}, {"name": "d0", "memory_bytes": 10}],
    )
    succeeds("plan", *files, "--work-limit", 1, "-o", tmp_path / "plan.json")
    options = ["--devices", 1, "--replan", "--work-limit", 1, "--samples", 0, "--json"]
    result = json.loads(succeeds("what-if", *files, tmp_path / "plan.json", *options))
    assert [change["replanned_ns"] for change in result["changes"]] == [10]


def layers_by_type():
    """8 layers that take twice as long on a device of type slow."""
    time = {"fast": 100, "slow": 200}
    operators = [{"name": "op", "forward_ns": time, "input_gradient_ns": time, "weight_gradient_ns": time}]
    return {
        "format": "opweave.pipeline",
        "version": 1,
        "name": "types",
        "training": {"microbatches": 4},
        "layers": [{"name": "layer", "repeat": 8, "operators": operators}],
    }


def write_typed_cluster(path, types):
    devices = [{"name": f"device{i}", "type": name} for i, name in enumerate(types)]
    path.write_text(
        json.dumps(
            {
                "format": "opweave.cluster",
                "version": 1,
                "devices": devices,
                "default_link": {},
                "device_types": [{"name": "fast"}, {"name": "slow"}],
            }
        )
    )


def test_pipeline_is_cut_for_the_devices_of_a_cluster_file(tmp_path):
    spec, cluster, graph = tmp_path / "spec.json", tmp_path / "mine.json", tmp_path / "graph.json"
    spec.write_text(json.dumps(layers_by_type()))
    write_typed_cluster(cluster, ["fast", "slow", "fast"])
    before = cluster.read_bytes()
    succeeds("convert", "pipeline", spec, "--on", cluster, "-o", graph)
    assert cluster.read_bytes() == before
    # 8 layers in 3 stages: (3, 2, 3) takes 900, 1200, 900 per microbatch; with (4, 1, 3) and (3, 1, 4) it is 1200 as
    # well, anything else is longer.
    forwards = [op for op in json.loads(graph.read_text())["operators"] if op["phase"] == "F"]
    sizes = [sum(op["stage"] == stage for op in forwards) for stage in range(3)]
    assert max(size * time for size, time in zip(sizes, [300, 600, 300], strict=False)) == 1200
    assert {op["devices"][0] for op in forwards if op["stage"] == 1} == {"device1"}
    assert json.loads(graph.read_text())["operators"][0]["duration_ns"] == {"fast": 100, "slow": 200}
    # Every option that says how the devices are is refused beside --on.
    for option in (
        ["--devices", 2],
        ["--memory", "1GiB"],
        ["--activations", 2],
        ["--latency-ns", 1],
        ["--bandwidth-bytes-per-s", 1],
        ["--cluster", tmp_path / "other.json"],
    ):
        assert option[0] in fails(2, "convert", "pipeline", spec, "--on", cluster, *option, "-o", graph)
    assert "has no time for devices without a type" in fails(
        2, "convert", "pipeline", spec, "--devices", 2, "--cluster", tmp_path / "c.json", "-o", graph
    )


def test_cluster_of_somebody_else_is_not_overwritten(tmp_path):
    spec, mine, graph = tmp_path / "spec.json", tmp_path / "mine.json", tmp_path / "graph.json"
    spec.write_text(json.dumps(LAYERS))
    write_typed_cluster(mine, ["fast", "slow"])
    before = mine.read_bytes()
    line = fails(2, "convert", "pipeline", spec, "--devices", 2, "-o", graph, "--cluster", mine)
    assert "mine.json has a cluster that this command did not write" in line
    assert mine.read_bytes() == before
    assert not graph.exists()
    # Its own files it replaces, as often as one likes.
    own = tmp_path / "own.json"
    for options in (["--devices", 2], ["--devices", 4, "--memory", "1GiB", "--latency-ns", 5], ["--devices", 2]):
        succeeds("convert", "pipeline", spec, *options, "-o", graph, "--cluster", own)
    assert len(json.loads(own.read_text())["devices"]) == 2


def test_microbatches_of_unequal_length_are_planned(tmp_path):
    layers = {
        "format": "opweave.pipeline",
        "version": 1,
        "training": {"microbatches": 2},
        "microbatch_scales": [{"duration": 3}, {}],
        "layers": [{"name": name, "operators": [{"name": "op", "forward_ns": 10}]} for name in "ab"],
    }
    case = pipeline(tmp_path, layers, "--shape", "linear", "--devices", 2)
    succeeds("plan", *case.inputs, "-o", case.plan)
    # Johnson's rule on two machines, jobs (30, 30) and (10, 10): the short one first, 10 + 30 + 30.
    plan = json.loads(case.plan.read_text())
    assert (plan["status"], plan["makespan_ns"]) == ("optimal", 70)
    assert {task["operator"] for task in plan["tasks"]} == {"a.op.F#0", "a.op.F#1", "b.op.F#0", "b.op.F#1"}
    succeeds("check", *case.inputs, case.plan)
