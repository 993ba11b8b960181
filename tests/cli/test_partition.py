"""`opweave partition` as its users see it."""

import json

import pytest
from conftest import fails, opweave, succeeds

# A chain of four nodes of 1 ms and 2 bytes with outputs of 0.5 ms, on accelerators of 4 bytes: two pieces of
# two nodes, each 2 ms and one cut of 0.5 ms. On the CPU a node takes 30 ms.
CHAIN = {
    "maxSizePerFPGA": 4,
    "maxFPGAs": 2,
    "maxCPUs": 1,
    "nodes": [
        {"id": 10 + i, "supportedOnFpga": 1, "fpgaLatency": 1, "cpuLatency": 30, "size": 2, "isBackwardNode": 0}
        for i in range(4)
    ],
    "edges": [{"sourceId": 10 + i, "destId": 11 + i, "cost": 0.5} for i in range(3)],
}


@pytest.fixture
def chain(tmp_path):
    path = tmp_path / "chain.json"
    path.write_text(json.dumps(CHAIN))
    return path


@pytest.mark.parametrize("contiguity", ["ordered", "convex", "none"])
def test_placement_has_value_bound_and_a_device_for_every_node(chain, contiguity):
    text = succeeds("partition", chain, "--contiguity", contiguity, "--time-limit", 2)
    placement = json.loads(text)
    assert placement["format"] == "opweave.partition"
    assert placement["contiguity"] == contiguity
    assert placement["value_ms"] == 2.5
    assert placement["bound_ms"] <= 2.5
    assert placement["proven"] == (placement["bound_ms"] == 2.5)
    device = {entry["node"]: entry["device"] for entry in placement["placement"]}
    assert sorted(device) == [10, 11, 12, 13]
    assert device[10] == device[11] != device[12] == device[13]


def test_latency_adds_the_pieces_up(chain, tmp_path):
    output = tmp_path / "placement.json"
    printed = succeeds("partition", chain, "--objective", "latency", "-o", output)
    assert printed.startswith("optimal: 5 ms, lower bound 5 ms (path), gap")
    assert json.loads(output.read_text())["value_ms"] == 5


def test_same_work_limit_gives_the_same_bytes(chain):
    runs = [succeeds("partition", chain, "--work-limit", 2000, "--seed", 3) for _ in range(2)]
    assert runs[0] == runs[1]


def test_impossible_instance_is_exit_code_3(chain):
    instance = json.loads(chain.read_text())
    instance["maxCPUs"] = 0
    instance["maxFPGAs"] = 1
    chain.write_text(json.dumps(instance))
    assert fails(3, "partition", chain, "--contiguity", "ordered") == "error: no placement exists"


def test_wrong_words_and_files_are_exit_code_2(chain, tmp_path):
    assert "--contiguity" in fails(2, "partition", chain, "--contiguity", "tidy")
    assert "--objective" in fails(2, "partition", chain, "--objective", "joy")
    assert "nowhere.json" in fails(2, "partition", tmp_path / "nowhere.json")
    assert opweave("partition").returncode == 2
