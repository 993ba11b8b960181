"""`convert pipeline`: where the stages end; `convert expert`: sizes and names."""

import json

from conftest import fails, opweave, succeeds


def write_spec(folder, layers, microbatches):
    """A specification whose layers take each of these many microseconds for F, for I and for W."""
    spec = folder / "spec.json"
    document = {
        "format": "opweave.pipeline",
        "version": 1,
        "name": "row",
        "training": {"microbatches": microbatches},
        "layers": [
            {
                "name": f"layer{i}",
                "operators": [
                    {
                        "name": "block",
                        "forward_ns": 1000 * us,
                        "input_gradient_ns": 1000 * us,
                        "weight_gradient_ns": 1000 * us,
                    }
                ],
            }
            for i, us in enumerate(layers)
        ],
    }
    spec.write_text(json.dumps(document))
    return spec


def convert(folder, spec, *options):
    done = opweave("convert", "pipeline", spec, *options, "-o", folder / "g.json", "--cluster", folder / "c.json")
    assert done.returncode == 0, done.stderr
    return done.stderr


def layers_of_stage(folder, stages):
    counts = [0] * stages
    for operator in json.loads((folder / "g.json").read_text())["operators"]:
        counts[operator["stage"]] += operator["phase"] == "F"
    return counts


def planned(folder, seconds=5):
    succeeds("plan", folder / "g.json", folder / "c.json", "--time-limit", seconds, "-o", folder / "p.json")
    return json.loads((folder / "p.json").read_text())["makespan_ns"]


def test_loop_is_cut_by_the_sums_of_its_devices(tmp_path):
    # 12 layers on 4 devices: 3 layers of 3 us each; 8 x 9 us and the ramps. 78 us are possible with 2,2,2,2,1,1,1,1.
    told = convert(tmp_path, write_spec(tmp_path, [1] * 12, 8), "--shape", "loop", "--devices", 4)
    assert "busiest device 9.00 us per microbatch, longest stage 6.00 us (proven least)" in told
    assert planned(tmp_path) <= 78_000
    # 20 layers in 16 stages on 4 devices: 5 layers of 3 us, 8 x 15 us and at least the forwards of the stages before.
    told = convert(tmp_path, write_spec(tmp_path, [1] * 20, 8), "--shape", "loop", "--devices", 4, "--stages", 16)
    assert "busiest device 15.00 us per microbatch, longest stage 6.00 us (proven least)" in told
    assert planned(tmp_path) <= 193_000 - 60_000


def test_v_leaves_room_for_a_heavy_head(tmp_path):
    # 16 layers of 3 us and a head of 12 us: 60 us on 4 devices, 16 x 15 = 240 us of work each. 247 us are possible.
    told = convert(tmp_path, write_spec(tmp_path, [1] * 16 + [4], 16), "--shape", "V", "--devices", 4)
    assert "busiest device 15.00 us per microbatch, longest stage 12.00 us (proven least)" in told
    assert planned(tmp_path) <= 247_000


def test_cut_for_a_schedule_is_the_best_of_all(tmp_path):
    # By enumeration of all 330 cuts: 87 us; 2,2,2,2,1,1,1,1 gives 92 us, stages that are as even as possible 105 us.
    spec = write_spec(tmp_path, [1] * 12, 8)
    told = convert(tmp_path, spec, "--for", "interleaved1f1b", "--devices", 4)
    assert "87.00 us under Interleaved-1F1B (no cut is shorter)" in told
    assert layers_of_stage(tmp_path, 8) == [1, 1, 2, 2, 2, 2, 1, 1]
    rows = json.loads(succeeds("compare", tmp_path / "g.json", tmp_path / "c.json", "--json"))
    times = {row["name"]: row["makespan_ns"] for row in rows["comparisons"][0]["schedules"]}
    assert times["Interleaved-1F1B"] == 87_000
    assert "shape V" in fails(
        2,
        "convert",
        "pipeline",
        spec,
        "--for",
        "ZB-V",
        "--shape",
        "loop",
        "--devices",
        4,
        "-o",
        tmp_path / "g.json",
        "--cluster",
        tmp_path / "c.json",
    )
    assert "needs at least 2 microbatches per device" in fails(
        2,
        "convert",
        "pipeline",
        spec,
        "--for",
        "DualPipe",
        "--devices",
        6,
        "-o",
        tmp_path / "g.json",
        "--cluster",
        tmp_path / "c.json",
    )


def test_published_schedules_join_layers_at_their_best(tmp_path):
    # The layers of the test above one by one: the baseline must not be worse than with 2,2,2,2,1,1,1,1 (92 us).
    convert(tmp_path, write_spec(tmp_path, [1] * 12, 8), "--shape", "free", "--devices", 4)
    rows = json.loads(succeeds("compare", tmp_path / "g.json", tmp_path / "c.json", "--json"))
    times = {row["name"]: row["makespan_ns"] for row in rows["comparisons"][0]["schedules"]}
    assert times["Interleaved-1F1B"] == 87_000
    # Three chunks of one layer each: 72 us and a third of the ramp of 3 stages of 9 us.
    assert times["Interleaved-1F1B (3 chunks)"] == 81_000
    # Split backwards: 9 us for each of 8 microbatches, and the ramp of 3 stages (F + I - W = 1 us per layer).
    assert times["ZB1P"] == 72_000 + 9_000


def test_layers_are_cut_by_the_speed_of_the_devices_that_get_them(tmp_path):
    # Devices that take twice as long get half as many layers: 2, 4, 2, 4 of 12.
    convert(tmp_path, write_spec(tmp_path, [1] * 12, 8), "--shape", "free", "--devices", 4)
    graph = json.loads((tmp_path / "g.json").read_text())
    cluster = json.loads((tmp_path / "c.json").read_text())
    cluster["device_types"] = [{"name": "slow"}, {"name": "fast"}]
    for i, device in enumerate(cluster["devices"]):
        device["type"] = ["slow", "fast"][i % 2]
    for operator in graph["operators"]:
        fast = operator["duration_ns"]
        operator["duration_ns"] = {"slow": 2 * fast, "fast": fast}
    (tmp_path / "g.json").write_text(json.dumps(graph))
    (tmp_path / "c.json").write_text(json.dumps(cluster))
    rows = json.loads(succeeds("compare", tmp_path / "g.json", tmp_path / "c.json", "--json"))
    times = {row["name"]: row["makespan_ns"] for row in rows["comparisons"][0]["schedules"]}
    # A stage takes 12 us everywhere: (8 + 3) x 12 us; with 3 layers each it would be 18 us on the slow devices.
    assert times["1F1B"] == 11 * 12_000


def test_own_cuts_and_layouts_are_taken(tmp_path):
    spec = write_spec(tmp_path, [1] * 12, 8)
    assert convert(tmp_path, spec, "--shape", "loop", "--devices", 4, "--cut", "2,2,2,2,1,1,1,1") == ""
    assert layers_of_stage(tmp_path, 8) == [2, 2, 2, 2, 1, 1, 1, 1]
    convert(tmp_path, spec, "--shape", "loop", "--devices", 4, "--cut", "Et|(tt|)*3,t|t|t|L")
    assert layers_of_stage(tmp_path, 8) == [2, 2, 2, 2, 1, 1, 1, 1]
    convert(tmp_path, spec, "--shape", "loop", "--devices", 4, "--cut", "Ett||(tt|)*2,t|t|t|tL")
    assert layers_of_stage(tmp_path, 8) == [3, 0, 2, 2, 1, 1, 1, 2]
    assert planned(tmp_path, 1) > 0

    def wrong(*options):
        return fails(
            2,
            "convert",
            "pipeline",
            spec,
            "--shape",
            "loop",
            "--devices",
            4,
            *options,
            "-o",
            tmp_path / "g.json",
            "--cluster",
            tmp_path / "c.json",
        )

    assert wrong("--cut", "4,4,3,2").endswith('--cut: cut "4,4,3,2" has 13 layers, the pipeline has 12')
    assert "needs a multiple of 4 stages for 4 devices, got 3" in wrong("--cut", "4,4,4")
    assert "--stages excludes --cut" in wrong("--cut", "3,3,3,3", "--stages", 4)


def test_experts_say_why_they_are_not_defined_and_what_was_meant(tmp_path):
    line = fails(2, "convert", "expert", "DualPipe", "--devices", 4, "--microbatches", 6)
    assert line.endswith("DualPipe needs at least 2 microbatches per device, 8 for 4 devices, got 6")
    assert "only for schedules on loops" in fails(
        2, "convert", "expert", "ZB1P", "--devices", 4, "--microbatches", 8, "--chunks", 3
    )
    done = opweave("convert", "expert", "zbb-v", "--devices", 4, "--microbatches", 8)
    assert done.returncode == 2
    assert 'hint: did you mean "ZB-V"?' in done.stderr
    assert succeeds("convert", "expert", "zbv", "--devices", 4, "--microbatches", 8) == succeeds(
        "convert", "expert", "ZB-V", "--devices", 4, "--microbatches", 8
    )


def test_compare_says_which_schedules_of_the_placement_are_not_defined(tmp_path):
    convert(tmp_path, write_spec(tmp_path, [1] * 8, 6), "--shape", "V", "--devices", 4)
    reason = "DualPipeV needs at least 2 microbatches per device, 8 for 4 devices, got 6"
    assert succeeds("compare", tmp_path / "g.json", tmp_path / "c.json").endswith(f"row V: left out: {reason}\n")
    table = json.loads(succeeds("compare", "--json", tmp_path / "g.json", tmp_path / "c.json"))["comparisons"][0]
    assert table["left_out"] == [reason]
    # The only schedule for two copies: nothing is listed, and the reason is told.
    convert(tmp_path, write_spec(tmp_path, [1] * 8, 6), "--shape", "two-way", "--devices", 4)
    table = json.loads(succeeds("compare", "--json", tmp_path / "g.json", tmp_path / "c.json"))["comparisons"][0]
    assert table["schedules"] == []
    assert table["left_out"] == ["DualPipe needs at least 2 microbatches per device, 8 for 4 devices, got 6"]
    convert(tmp_path, write_spec(tmp_path, [1] * 8, 8), "--shape", "V", "--devices", 4)
    table = json.loads(succeeds("compare", "--json", tmp_path / "g.json", tmp_path / "c.json"))["comparisons"][0]
    assert table["left_out"] == []


def test_cut_for_interleaving_beats_the_even_one_by_what_is_known_to_be_possible(tmp_path):
    # 80 equal layers and a head of 5/3 on 8 devices with 5 chunks, as of a model of 70 billion parameters. The best cut
    # known for such a row takes 1074.6 of the even one's 1163.6.
    spec = tmp_path / "spec.json"
    document = json.loads(write_spec(tmp_path, [1] * 81, 32).read_text())
    head = document["layers"][-1]["operators"][0]
    head.update({key: 1667 for key in head if key.endswith("_ns")})
    spec.write_text(json.dumps(document))

    def interleaved(*options):
        convert(tmp_path, spec, "--shape", "loop", "--devices", 8, *options)
        compared = json.loads(succeeds("compare", tmp_path / "g.json", tmp_path / "c.json", "--json"))["comparisons"][0]
        times = {row["name"]: row["makespan_ns"] for row in compared["schedules"]}
        return times["Interleaved-1F1B (5 chunks)"]

    even = interleaved("--cut", ",".join(["2"] * 39 + ["3"]))
    assert interleaved("--stages", 40, "--for", "Interleaved-1F1B") <= even * 1074.6 / 1163.6
