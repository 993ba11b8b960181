"""Files that people have: schedules as they are, topologies of machines, and files that belong elsewhere."""

import json

from conftest import fails, opweave, succeeds

# 1F1B on two ranks with sends after their producers and receives before their consumers.
ENDS_APART = (
    "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1,0REDUCE_GRAD\n"
    "1RECV_F0,1F0,1B0,1SEND_B0,1RECV_F1,1F1,1B1,1SEND_B1,1REDUCE_GRAD\n"
)
MATRIX = "\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \tNV2\t0-7\nGPU1\tNV2\t X \t0-7\n"


def line_of_two(folder, **phases):
    """A chain of two stages on two devices, two microbatches."""
    operator = phases or {"forward_ns": 1000, "input_gradient_ns": 1000, "weight_gradient_ns": 1000}
    layer = {"name": "layer", "repeat": 2, "operators": [{"name": "block", **operator}]}
    spec = {"format": "opweave.pipeline", "version": 1, "training": {"microbatches": 2}, "layers": [layer]}
    (folder / "spec.json").write_text(json.dumps(spec))
    files = (folder / "graph.json", folder / "cluster.json")
    succeeds(
        "convert",
        "pipeline",
        folder / "spec.json",
        "--shape",
        "linear",
        "--devices",
        2,
        "-o",
        files[0],
        "--cluster",
        files[1],
    )
    return files


def test_messages_that_wait_in_a_circle_are_refused_unless_the_transport_lets_them_overtake(tmp_path):
    files = line_of_two(tmp_path)
    schedule = tmp_path / "theirs.csv"
    schedule.write_text(ENDS_APART)
    line = fails(2, "convert", "csv", schedule, *files)
    assert '"0SEND_F1": messages wait in a circle with rendezvous-rank channels: "0SEND_F1" of row 0 ends with' in line
    assert "rendezvous-pair" in fails(2, "convert", "csv", schedule, *files, "--channels", "rendezvous-pair")
    for channels in ("free", "buffered-rank", "rendezvous-direction"):
        plan = json.loads(succeeds("convert", "csv", schedule, *files, "--channels", channels))
        # 2 microbatches x 3 us on each device, and one forward and one backward of the other stage before and after.
        assert plan["makespan_ns"] == 2 * 3000 + 1000 + 2000
    line = fails(2, "convert", "csv", schedule, *files, "--channels", "fast")
    assert '--channels: value is "fast", expected free' in line


def test_exported_schedules_are_read_back_whatever_the_transport(tmp_path):
    files = line_of_two(tmp_path)
    schedule = tmp_path / "ours.csv"
    size = ("--devices", 2, "--microbatches", 2)
    succeeds("convert", "expert", "1F1B", *size, "--dialect", "compute_comms", "-o", schedule)
    assert "1F0,1RECV_F1,1B0,1SEND_B0,1F1" in schedule.read_text()
    succeeds("convert", "csv", schedule, *files, "--channels", "in-order")


def test_older_letters_are_read_with_a_hint(tmp_path):
    files = line_of_two(tmp_path)
    schedule = tmp_path / "old.csv"
    schedule.write_text('\ufeff"0F0","0F1","0BW0","0BW1"\n1F0,1B0,1W0,1F1,1B1,1W1,,\n\n')
    done = opweave("convert", "csv", schedule, *files)
    assert done.returncode == 0
    assert done.stderr == f"hint: {schedule}: older letters of PyTorch: B is read as I, BW as B\n"


def test_schedule_of_forwards_alone_is_planned_for_inference(tmp_path):
    files = line_of_two(tmp_path, forward_ns=1000)
    schedule = tmp_path / "inference.csv"
    schedule.write_text("0F0,0F1\n,1F0,1F1\n")
    assert json.loads(succeeds("convert", "csv", schedule, *files))["makespan_ns"] == 3000


def test_topology_of_a_machine_becomes_a_cluster(tmp_path):
    (tmp_path / "machine.txt").write_text(MATRIX)
    options = ("--memory", "1KiB", "--nvlink-bandwidth", "25GB")
    cluster = json.loads(succeeds("convert", "topology", tmp_path / "machine.txt", *options))
    assert [device["memory_bytes"] for device in cluster["devices"]] == [1024, 1024]
    assert [link["bandwidth_bytes_per_s"] for link in cluster["links"]] == [50_000_000_000]
    assert "--nvlink-bandwidth" in fails(2, "convert", "topology", tmp_path / "machine.txt", "--nvlink-bandwidth", "0")


def test_files_of_others_are_named_with_what_reads_them(tmp_path):
    files = line_of_two(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    done = opweave("plan", tmp_path / "config.json", files[1])
    assert done.returncode == 2
    assert "config.json: is a model configuration of Hugging Face" in done.stderr.splitlines()[0]
    assert done.stderr.splitlines()[1].startswith("hint: opweave.capture(model")
    (tmp_path / "machine.txt").write_text(MATRIX)
    done = opweave("bounds", files[0], tmp_path / "machine.txt")
    assert "opweave convert topology" in done.stderr and done.returncode == 2


def test_link_without_latency_beside_links_with_one_is_a_warning(tmp_path):
    graph, cluster = line_of_two(tmp_path)
    content = json.loads(cluster.read_text())
    assert opweave("bounds", graph, cluster).stderr == ""
    content["default_link"] = {"latency_ns": 500}
    content["links"] = [{"name": "fast", "a": "gpu0", "b": "gpu1"}]
    cluster.write_text(json.dumps(content))
    expected = f'warning: {cluster}: link "fast" has no latency, but other links have one: routes prefer it\n'
    assert opweave("bounds", graph, cluster).stderr == expected
    content["links"][0]["latency_ns"] = 300
    cluster.write_text(json.dumps(content))
    assert opweave("bounds", graph, cluster).stderr == ""
