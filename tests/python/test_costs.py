"""Times of operators, transfers and collectives."""

import gzip
import json

import opweave
import pytest
from opweave.costs import NODES, Curve, LinkModel, analytic, collective_ns, constant, measured, profiled


# Between 1e6 (0.2) and 1e8 (0.8) half of the logarithm is at 1e7: 0.5. Outside, the ends go on.
def test_curves_are_linear_in_the_logarithm_of_the_size():
    curve = Curve(((1e6, 0.2), (1e8, 0.8)), "invented")
    assert [curve.at(size) for size in (1, 1e6, 1e7, 1e8, 1e12)] == pytest.approx([0.2, 0.2, 0.5, 0.8, 0.8])
    with pytest.raises(ValueError, match="ascending"):
        Curve(((2.0, 0.5), (1.0, 0.6)), "invented")


def test_larger_work_never_takes_less_time():
    cluster = opweave.Cluster.preset("h100", devices_per_node=1)
    sizes = [10.0**exponent for exponent in range(4, 15)]
    for key in ("flops", "bytes_accessed"):
        operators = [{"name": str(size), "flops": 0, "bytes_accessed": 0, key: size} for size in sizes]
        graph = analytic(opweave.Graph.from_dict({"operators": operators}), cluster)
        times = [op["duration_ns"]["h100"] for op in graph.operators]
        assert times == sorted(times) and times[0] < times[-1]


# 1e12 operations at half of 100 Tflop/s: 20 ms. 1e9 bytes at half of 1 TB/s: 2 ms. 1 us overhead.
def test_analytic_times_are_a_roofline_with_efficiencies():
    rates = {"name": "t", "peak_flops_per_s": {"bf16": 1e14}, "memory_bandwidth_bytes_per_s": 1e12}
    cluster = opweave.Cluster.from_dict({"device_types": [rates], "devices": [{"name": "d", "type": "t"}]})
    operators = [
        {"name": "product", "flops": 1e12, "bytes_accessed": 1e9},
        {"name": "copy", "bytes_accessed": 1e9},
        {"name": "known", "duration_ns": 7},
    ]
    half = constant(0.5, "invented")
    graph = opweave.Graph.from_dict({"operators": operators})
    costed = analytic(graph, cluster, matrix_efficiency=half, memory_efficiency=half, overhead_ns=1000)
    durations = {op["name"]: op["duration_ns"] for op in costed.operators}
    assert durations == {"product": {"t": 20_001_000}, "copy": {"t": 2_001_000}, "known": 7}


def test_what_cannot_be_timed_is_named():
    cluster = opweave.Cluster.preset("a100")
    with pytest.raises(opweave.InputError, match='operator "a" has neither flops nor bytes_accessed'):
        analytic(opweave.Graph.from_dict({"operators": [{"name": "a"}]}), cluster)
    with pytest.raises(opweave.InputError, match='"a100": no peak rate of dtype "fp4"'):
        analytic(opweave.Graph.from_dict({"operators": [{"name": "a", "flops": 1, "dtype": "fp4"}]}), cluster)
    with pytest.raises(opweave.InputError, match="no device types"):
        analytic(opweave.Graph.from_dict({"operators": [{"name": "a", "flops": 1}]}), opweave.Cluster.uniform(2))


# 8e6 bytes at half of 1e9 bytes/s: 16 ms, and 5 us. All-reduce of 4 ranks: 6 rounds, 1.5 times the bytes.
def test_transfers_and_collectives_are_latency_and_bytes():
    link = LinkModel(5_000, 1e9, constant(0.5, "invented"))
    assert link.transfer_ns(8_000_000) == 16_005_000
    assert collective_ns("all_reduce", 8_000_000, 4, link) == 6 * 5_000 + 24_000_000
    assert collective_ns("all_gather", 8_000_000, 4, link) == 3 * 5_000 + 12_000_000
    assert collective_ns("all_to_all", 8_000_000, 1, link) == 0
    with pytest.raises(opweave.InputError, match="gossip"):
        collective_ns("gossip", 1, 2, link)


def test_small_messages_use_links_worse():
    link = NODES["h100"].intra_link()
    bandwidths = [size / link.transfer_ns(size) for size in (10**5, 10**7, 10**8, 10**9)]
    assert bandwidths == sorted(bandwidths) and bandwidths[-1] > 2 * bandwidths[0]
    assert 16e6 / NODES["h100"].adapter_link(16).transfer_ns(16_000_000) < 16e6 / NODES[
        "h100"
    ].adapter_link().transfer_ns(16_000_000)


@pytest.mark.parametrize("name", NODES)
def test_presets_are_clusters_with_sources(name):
    cluster = opweave.Cluster.preset(name, nodes=2, devices_per_node=4)
    assert len(cluster.devices) == 8
    near = cluster.transfer_time_ns("64MB", "node0.gpu0", "node0.gpu3")
    far = cluster.transfer_time_ns("64MB", "node0.gpu0", "node1.gpu0")
    assert 0 < near < far
    assert all(NODES[name].sources().values())


# NVLink: 450 GB/s x 0.65 for 64 MB, over two hops of 500 ns. 64e6 / 292.5e9 = 218.803 us.
def test_links_of_presets_have_the_bandwidth_of_the_message():
    cluster = opweave.Cluster.preset("h100")
    assert cluster.transfer_time_ns(64_000_000, "node0.gpu0", "node0.gpu1") == 1000 + 218_804
    slower = opweave.Cluster.preset("h100", message="1MB")
    assert slower.transfer_time_ns(64_000_000, "node0.gpu0", "node0.gpu1") > 1000 + 218_804


def test_unknown_presets_and_sizes_are_named():
    with pytest.raises(opweave.InputError, match='value is "h1", expected one of a100, h100'):
        opweave.Cluster.preset("h1")
    with pytest.raises(opweave.InputError, match="9 devices"):
        opweave.Cluster.preset("h100", devices_per_node=9)


@pytest.fixture(scope="module")
def step():
    torch = pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")
    import models

    model, inputs = models.Mlp(64), (torch.randn(32, 64),)
    return model, inputs, opweave.capture(model, inputs, loss=lambda output: output.sum(), granularity="module")


def test_calls_are_measured_once_and_remembered(step, tmp_path):
    _, _, graph = step
    cache = tmp_path / "times.json"
    timed = measured(graph, device="cpu", seconds_per_call=0.002, cache=cache)
    assert all(op["duration_ns"] > 0 for op in timed.operators)
    (times,) = json.loads(cache.read_text()).values()
    assert {call.signature for calls in graph.calls.values() for call in calls} < set(times)
    # A remembered time is used as it is.
    signature = graph.calls["down.F"][0].signature
    content = {device: {**known, signature: 12_345_678.0} for device, known in json.loads(cache.read_text()).items()}
    cache.write_text(json.dumps(content))
    again = {op["name"]: op["duration_ns"] for op in measured(graph, device="cpu", cache=cache).operators}
    assert len(graph.calls["down.F"]) == 1 and again["down.F"] == 12_345_678


def test_every_call_of_a_transformer_can_be_repeated():
    pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")
    import models

    cases = (
        (lambda: models.Gpt(experts=4), (models.ids(),), models.next_token_loss),
        (models.TwoTower, (models.pictures(), models.ids()), None),
        (models.Convolutions, (models.pictures(),), None),
    )
    for build, inputs, loss in cases:
        graph = opweave.capture(build, inputs, loss=loss)
        timed = measured(graph, device="cpu", seconds_per_call=0)
        assert all(op["duration_ns"] > 0 for op in timed.operators)


def test_times_are_read_from_a_profile(step, tmp_path):
    import torch

    model, inputs, graph = step
    with torch.profiler.profile(record_shapes=True) as profile:
        for _ in range(3):
            model(*inputs).sum().backward()
    profile.export_chrome_trace(str(tmp_path / "trace.json"))
    fallback = measured(graph, device="cpu", seconds_per_call=0)
    with pytest.warns(UserWarning, match=r"\d+ of \d+ operators, .* of the time, are not in the trace"):
        timed = profiled(graph, tmp_path / "trace.json", fallback=fallback, most_fallback=1)
    durations = {op["name"]: op["duration_ns"] for op in timed.operators}
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    products = sorted(
        event["dur"]
        for event in events
        if event.get("name") == "aten::addmm" and event["args"]["Input Dims"][1] == [32, 256]
    )
    assert len(products) == 3
    assert durations["down.F"] == pytest.approx(1000 * products[1], abs=1)
    with pytest.raises(opweave.InputError, match="hint: give fallback"):
        profiled(graph, tmp_path / "trace.json")


# Issue 12, point 8: with the default optimizer of capture a trace of whole steps is enough.
def test_a_packed_profile_of_whole_steps_needs_no_fallback(step, tmp_path):
    import torch

    model, inputs, graph = step
    optimizer = torch.optim.Adam(model.parameters())
    with torch.profiler.profile(record_shapes=True) as profile:
        for _ in range(3):
            optimizer.zero_grad()
            model(*inputs).sum().backward()
            optimizer.step()
    profile.export_chrome_trace(str(tmp_path / "trace.json"))
    (tmp_path / "trace.json.gz").write_bytes(gzip.compress((tmp_path / "trace.json").read_bytes()))
    timed = profiled(graph, tmp_path / "trace.json.gz")
    assert timed == profiled(graph, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    whole = sorted(event["dur"] for event in events if event.get("name") == "Optimizer.step#Adam.step")[1]
    parts = [op["duration_ns"] for op in timed.operators if op.get("phase") == "O"]
    assert sum(parts) == pytest.approx(1000 * whole, abs=len(parts))


def profile_of(graph, tmp_path, *more):
    """A trace in which every call takes 10 us, without those of operator "down.F"."""
    from opweave.costs.profiled import _key

    events = [{"ph": "M", "name": "process_name"}, *more]
    for operator, calls in graph.calls.items():
        for name, shapes in map(_key, calls) if operator != "down.F" else ():
            events.append({"cat": "cpu_op", "name": name, "dur": 10, "args": {"Input Dims": [list(s) for s in shapes]}})
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": events}))
    return path


def test_what_comes_from_the_fallback_is_said_and_limited(step, tmp_path):
    graph = step[2]
    marks = [
        {"cat": "user_annotation", "name": "Optimizer.step#Adam.step", "ts": 50 * i, "dur": 40, "tid": 1}
        for i in range(2)
    ]
    path = profile_of(graph, tmp_path, *marks)
    operators = {op["name"]: op for op in graph.operators}
    rest = 10_000 * sum(len(calls) for name, calls in graph.calls.items() if name != "down.F") + 40_000
    # A third of the whole is half of the rest.
    fallback = graph.with_durations({name: rest // 2 if name == "down.F" else 1 for name in operators})
    said = rf'1 of {len(operators)} operators, 33\.3% of the time, are not in the trace .* the first is "down\.F"'
    with pytest.warns(UserWarning, match=said):
        timed = profiled(graph, path, fallback=fallback)
    assert next(op for op in timed.operators if op["name"] == "down.F")["duration_ns"] == rest // 2
    with pytest.raises(opweave.InputError, match=said + r"; expected at most 30% of the time"):
        profiled(graph, path, fallback=fallback, most_fallback=0.3)
    with pytest.raises(opweave.InputError, match="no operator for"):
        profiled(graph, path)
    with pytest.raises(opweave.InputError, match="most_fallback: value is 2, expected 0 to 1"):
        profiled(graph, path, most_fallback=2)


def test_steps_of_the_optimizer_that_are_missing_are_named_and_kernels_count_where_they_are(step, tmp_path):
    graph = step[2]
    whole = graph.with_durations({op["name"]: 1 for op in graph.operators})
    with pytest.raises(opweave.InputError, match=r'no step of an optimizer for operator ".*O" \(adam\)'):
        profiled(graph.with_durations({}), profile_of(graph, tmp_path), fallback=without_optimizer(whole))
    # The kernels of the second operator lie outside of the step.
    events = [
        {"cat": "user_annotation", "name": "Optimizer.step#Adam.step", "ts": 100, "dur": 50, "tid": 1},
        {"cat": "cpu_op", "name": "aten::_fused_adam_", "ts": 120, "dur": 5, "tid": 1, "args": {"External id": 1}},
        {"cat": "cpu_op", "name": "aten::mul", "ts": 160, "dur": 5, "tid": 1, "args": {"External id": 2}},
        {"cat": "kernel", "name": "adam", "dur": 7, "args": {"External id": 1}},
        {"cat": "kernel", "name": "mul", "dur": 100, "args": {"External id": 2}},
    ]
    with pytest.warns(UserWarning):
        timed = profiled(graph, profile_of(graph, tmp_path, *events), fallback=whole)
    parts = [op["duration_ns"] for op in timed.operators if op.get("phase") == "O"]
    assert 7_000 <= sum(parts) <= 7_000 + len(parts)


def without_optimizer(graph):
    content = graph.to_dict()
    for op in content["operators"]:
        if op.get("phase") == "O":
            del op["duration_ns"]
    return opweave.Graph.from_dict(content)


def test_a_file_that_is_no_profile_is_refused(step, tmp_path):
    (tmp_path / "trace.json").write_text("[]")
    with pytest.raises(opweave.InputError, match='key "traceEvents" is missing'):
        profiled(step[2], tmp_path / "trace.json")
    (tmp_path / "trace.json.gz").write_bytes(gzip.compress(b"[]")[:-9])
    with pytest.raises(opweave.InputError, match=r"trace\.json\.gz: cannot be unpacked"):
        profiled(step[2], tmp_path / "trace.json.gz")
    with pytest.raises(opweave.InputError, match="no such file"):
        profiled(step[2], tmp_path / "none.json.gz")


def test_only_captured_graphs_are_measured():
    graph = opweave.Graph.from_dict({"operators": [{"name": "a", "duration_ns": 1}]})
    with pytest.raises(opweave.InputError, match=r"expected one from opweave\.capture"):
        measured(graph)


@pytest.fixture(scope="module")
def attention():
    """The attention of a small language model: forward and backward call."""
    pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")
    import models

    graph = opweave.capture(lambda: models.Gpt(layers=1), (models.ids(),), loss=models.next_token_loss)
    calls = [call for calls in graph.calls.values() for call in calls if "flash" in call.kind]
    assert len(calls) == 2
    return graph, calls


# On other devices attention has other names; what stands for it there computes the same on the processor.
def test_attention_has_a_portable_form_with_the_same_results(attention):
    import torch
    from opweave.costs.attention import portable
    from opweave.costs.call_records import TensorSpec

    forward, backward = attention[1]
    query, key, value = (torch.randn(spec.shape) for spec in forward.args if isinstance(spec, TensorSpec))
    expected, logsumexp = forward.target(query, key, value, *forward.args[3:], **forward.kwargs)
    made = portable(forward, (query, key, value, *forward.args[3:]), forward.kwargs)()
    torch.testing.assert_close(made, expected)
    gradient = torch.randn(expected.shape)
    arguments = (gradient, query, key, value, expected, logsumexp, *backward.args[6:])
    torch.testing.assert_close(
        portable(backward, arguments, backward.kwargs)(), backward.target(*arguments, **backward.kwargs)
    )


def test_profiles_of_gpus_give_the_times_of_kernels_and_other_names_of_attention(attention, tmp_path):
    graph, (forward, _) = attention
    shapes = [list(spec.shape) for spec in forward.args[:3]]
    name = "aten::_scaled_dot_product_flash_attention"
    events = [
        {"cat": "cpu_op", "name": name, "dur": 90, "args": {"External id": 7, "Input Dims": [*shapes, [], []]}},
        {"cat": "kernel", "name": "flash_fwd", "dur": 30, "args": {"External id": 7}},
        {"cat": "kernel", "name": "flash_fix", "dur": 5, "args": {"External id": 7}},
    ]
    (tmp_path / "trace.json").write_text(json.dumps({"traceEvents": events}))
    ones = graph.with_durations({op["name"]: 1 for op in graph.operators})
    with pytest.warns(UserWarning, match="are not in the trace"):
        timed = profiled(graph, tmp_path / "trace.json", fallback=ones)
    durations = {op["kind"]: op["duration_ns"] for op in timed.operators}
    assert durations[forward.kind] == 35_000
    assert sum(duration != 1 for duration in durations.values()) == 1
