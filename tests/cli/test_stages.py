"""`opweave stages` as its users see it."""

import json

import pytest
from conftest import fails, succeeds


def node(number, incoming, outgoing):
    """2 s and 3 bytes per microbatch in flight kept, or 3 s and 1 byte with recomputation; 4 bytes of parameters."""
    common = {"parameterSize": 4, "memoryUsageB": 0, "syncTimeFw": incoming, "syncTimeBw": outgoing}
    kept = {"id": "kept", "timePerSample": 2, "memoryUsageA": 3, **common}
    again = {"id": "again", "timePerSample": 3, "memoryUsageA": 1, **common}
    return {"id": number, "TMPCs": {"1": [kept, again]}}


@pytest.fixture
def pair(tmp_path):
    """Two nodes with an edge of half a GiB between them."""
    path = tmp_path / "pair.json"
    edges = [{"sourceId": 0, "destId": 1, "communicationCost": 2**29}]
    path.write_text(json.dumps({"nodes": [node(0, {}, {"1": 0}), node(1, {"0": 0}, {})], "edges": edges}))
    return path


def stages(path, memory_bytes):
    options = ["--devices", 2, "--memory", memory_bytes / 2**30, "--bandwidth", 1, "--microbatches", 1]
    return "stages", path, *options


def test_two_stages_with_what_fits_on_each(pair):
    # Each stage pays the edge there and back: 2 x 0.5 GiB at 1 GiB/s. The first has two microbatches in flight, so
    # with 3 bytes it recomputes: 3 + 1 s. The second keeps its 3 bytes: 2 + 1 s.
    answer = json.loads(succeeds(*stages(pair, 3)))
    assert answer["value_s"] == pytest.approx(4)
    assert answer["proven"]
    assert [[n["alternative"] for n in stage["nodes"]] for stage in answer["stages"]] == [["again"], ["kept"]]
    # With 6 bytes both keep: 3 s. One stage would take 4 s.
    assert json.loads(succeeds(*stages(pair, 6)))["value_s"] == pytest.approx(3)


def test_no_memory_is_exit_code_3(pair):
    assert fails(3, *stages(pair, 1)) == "error: no stages fit in memory"


def test_wrong_files_and_numbers_are_exit_code_2(pair, tmp_path):
    assert "nowhere.json" in fails(2, *stages(tmp_path / "nowhere.json", 3))
    assert "--devices" in fails(2, "stages", pair, "--devices", 0, "--memory", 1, "--bandwidth", 1, "--microbatches", 1)
    pair.write_text(pair.read_text().replace("timePerSample", "time"))
    assert 'key "timePerSample" is missing' in fails(2, *stages(pair, 3))


def test_what_each_kind_of_input_needs_is_named(pair, tmp_path):
    assert fails(2, "stages", tmp_path, "--model", "gpt_1_3B", "--devices", 4).endswith(
        "has no table gpt_1_3B_mbs1_tp1_algo0.csv or the like"
    )
    assert fails(2, "stages", tmp_path, "--model", "mine", "--devices", 4) == "error: --layers is required for mine"
    assert fails(2, "stages", pair, "--devices", 4) == "error: --memory is required for a layer graph"


def test_profiles_are_cut_into_stages(tmp_path):
    # Embedding, 13 equal operators of a layer, and two at the end, of 1 ms forward and backward each, nothing to send.
    names = ["embedding", *[f"op{i}" for i in range(13)], "norm", "head"]
    lines = [f"{name},1000,1000,0,0,1,1,0,0" for name in names]
    heading = "op_name,forward-compute,backward-compute,input_size,output_size,weights,activations,fwd,bwd"
    (tmp_path / "tiny_mbs1_tp1_algo0.csv").write_text("\n".join([heading, *lines]))
    for name in ("p2p_intra_node.csv", "p2p_inter_node.csv"):
        (tmp_path / name).write_text("1,2\n10,10\n")
    answer = json.loads(succeeds("stages", tmp_path, "--model", "tiny", "--layers", 1, "--devices", 2, "--batch", 9))
    # 16 operators on two devices: 16 ms each, 9 microbatches: 16 x 8 + 32 ms.
    assert answer["value_s"] == pytest.approx(0.160)
    assert answer["bound_s"] == pytest.approx(0.160, rel=1e-4)
