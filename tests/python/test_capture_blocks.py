"""Segments of captured graphs: repeated blocks, and stages made of them."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")

import opweave  # noqa: E402
from capture_support import by_phase, captured  # noqa: E402
from opweave.capture.segments import block_names  # noqa: E402
from torch import nn  # noqa: E402


def test_coarser_graphs_have_the_same_work_and_fewer_operators():
    fine, middle, coarse = (captured("language", granularity) for granularity in ("operator", "module", "block"))
    assert len(fine.operators) > len(middle.operators) > len(coarse.operators)
    for phase in "FW":
        assert by_phase(fine)[phase] == by_phase(middle)[phase] == by_phase(coarse)[phase]
    assert by_phase(fine, "bytes_accessed")["F"] == by_phase(coarse, "bytes_accessed")["F"]


def test_repeated_blocks_are_recognised():
    assert captured("language").blocks == [["blocks.0", "blocks.1"]]
    assert captured("vision and language").blocks == [
        ["vision.0", "vision.1"],
        ["language.blocks.0", "language.blocks.1"],
    ]
    stages = {op["layer"]: op["stage"] for op in captured("language", "block").operators if "layer" in op}
    assert stages["blocks.1"] == stages["blocks.0"] + 1


class Holding(nn.Module):
    """A module with lists by name, and a parameter of its own."""

    def __init__(self, **lists):
        super().__init__()
        self.own = nn.Parameter(torch.zeros(len(lists)))
        for name, modules in lists.items():
            setattr(self, name, nn.ModuleList(modules))


def linears(*widths):
    return [nn.Linear(width, width) for width in widths]


@pytest.mark.parametrize(
    ("model", "blocks"),
    [
        # Stages of different width, as in Swin and ConvNeXt: their blocks are repeated, they are not.
        (
            Holding(stages=[Holding(blocks=linears(4, 4)), Holding(blocks=linears(8, 8, 8))]),
            [f"stages.0.blocks.{i}" for i in range(2)] + [f"stages.1.blocks.{i}" for i in range(3)],
        ),
        # Lists of lists, as in Segformer.
        (
            nn.ModuleList([nn.ModuleList(linears(4, 4)), nn.ModuleList(linears(8, 8))]),
            ["0.0", "0.1", "1.0", "1.1"],
        ),
        # The first layer is dense, the second a mixture of experts, as in DeepSeek: layers all the same.
        (Holding(layers=[Holding(), Holding(experts=linears(4, 4))]), ["layers.0", "layers.1"]),
        # One layer has a parameter more, and all have parts of different classes, as in T5.
        (
            Holding(
                layers=[
                    Holding(parts=[nn.Linear(4, 4), nn.LayerNorm(4)]),
                    Holding(parts=[nn.Linear(4, 4), nn.LayerNorm(8)]),
                ]
            ),
            ["layers.0", "layers.1"],
        ),
        # Equal layers with equal experts.
        (Holding(layers=[Holding(experts=linears(4, 4)), Holding(experts=linears(4, 4))]), ["layers.0", "layers.1"]),
    ],
    ids=["stages", "lists", "dense and experts", "parts", "experts"],
)
def test_blocks_are_what_is_repeated(model, blocks):
    assert block_names(model) == blocks


# Width 8, 2 x 3 tokens: a layer multiplies by 4 x 8 rows of 8 for the inputs and as many for the state.
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_recurrent_layers_are_segments(kind, gates):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent = kind(8, 8, num_layers=2, batch_first=True)

        def forward(self, x):
            return self.recurrent(x)[0]

    graph = opweave.capture(Recurrent(), (torch.zeros(2, 3, 8),), loss=torch.sum, granularity="block")
    flops = {op["name"]: op.get("flops", 0) for op in graph.operators if op["phase"] == "F"}
    layer = 2 * (2 * 3) * 8 * 8 * gates * 2
    assert flops == {"recurrent.l0.F": layer, "recurrent.l1.F": layer, "loss.F": 0}
    parameters = next(op["parameters"] for op in graph.operators if op["name"] == "recurrent.l1.O")
    assert sorted(parameters) == [f"recurrent.{name}_l1" for name in ("bias_hh", "bias_ih", "weight_hh", "weight_ih")]


def test_two_towers_do_not_wait_for_each_other():
    graph = captured("two towers", "block")
    makers = {tensor: op["name"] for op in graph.operators for tensor in op.get("outputs", ())}
    for op in graph.operators:
        sources = {makers[tensor] for tensor in op.get("inputs", ()) if tensor in makers}
        if op["name"].startswith("text.") and op["phase"] == "F":
            assert not any(source.startswith(("vision", "patches")) for source in sources), op["name"]


# Blocks of 1, 2, 3, 4 and 6 units in 3 stages: 1 + 2 + 3, 4, 6, for any other cut makes a stage of more than 6.
def test_stages_are_whole_blocks_of_balanced_work():
    content = {
        "operators": [
            {"name": f"b{i}.F", "phase": "F", "flops": work, "stage": i, "parameters": [f"w{i}"]}
            for i, work in enumerate((1, 2, 3, 4, 6))
        ],
        "parameters": [{"name": f"w{i}", "bytes": 1} for i in range(5)],
        "captured": {
            "calls": [],
            "operators": {},
            "blocks": [],
            "uncounted": {},
            "unread_parameters": [],
            "parameters_without_gradient": [],
        },
    }
    graph = opweave.Graph.from_dict(content)
    staged = graph.staged(3, devices=["a", "b", "c"])
    assert [(op["stage"], op["devices"]) for op in staged.operators] == [(0, ["a"])] * 3 + [(1, ["b"]), (2, ["c"])]
    timed = graph.with_durations({f"b{i}.F": time for i, time in enumerate((9, 1, 1, 1, 1))})
    assert [op["stage"] for op in timed.staged(2, devices=["a", "b"]).operators] == [0, 1, 1, 1, 1]
    assert [op["devices"] for op in graph.staged(4, "loop", devices=["a", "b"]).operators] == [[d] for d in "aabab"]
    assert [op["devices"] for op in graph.staged(4, "V", devices=["a", "b"]).operators] == [[d] for d in "aabba"]
    for arguments, message in (
        ((6, "linear"), "stages: value is 6 for 2 devices, expected as many as devices"),
        ((3, "loop"), "stages: value is 3 for 2 devices, expected a multiple of the devices"),
        ((6, "loop"), "stages: value is 6, expected 1 to 5, the number of blocks"),
        ((4, "W"), 'shape: value is "W", expected linear, loop or V'),
    ):
        with pytest.raises(opweave.InputError, match=message):
            graph.staged(*arguments, devices=["a", "b"])


def test_a_tied_parameter_keeps_its_stages_on_one_device():
    graph = captured("tied", "block")
    with pytest.raises(
        opweave.InputError, match=r'parameter "tokens\.weight" is read in stages 0 and 1, which lie on a and b'
    ):
        graph.staged(2, devices=["a", "b"])
    assert {op["stage"] for op in graph.staged(4, "V", devices=["a", "b"]).operators} == {0, 1, 2, 3}


def test_a_module_is_exported_as_a_pipeline_of_stages(tmp_path):
    from opweave.export import layers_by_stage, pytorch_csv, torchtitan_settings
    from opweave.run import compile_plan

    cluster = opweave.Cluster.preset("h100", devices_per_node=2)
    graph = captured("language", "block").with_training(microbatches=4).staged(4, "V", devices=cluster)
    plan = opweave.plan(graph, cluster, work_limit=20, threads=1, blocks="stage")
    program = compile_plan(plan, segments="stage")
    layers = layers_by_stage(program, graph)
    assert [layer for stage in layers for layer in stage] == [
        *("tokens", "positions", "blocks.0", "blocks.1", "norm", "head", "loss")
    ]
    rows = pytorch_csv(program).strip().splitlines()
    assert len(rows) == 2
    assert sum(row.count("F") for row in rows) == 4 * 4
    settings = torchtitan_settings(program, layers)
    assert settings.parallelism["pipeline_parallel_schedule"] == "ZBVZeroBubble"
