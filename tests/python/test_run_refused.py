"""What cannot run yet is refused by name, before any process is started."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import models  # noqa: E402
import opweave  # noqa: E402
from opweave.run import ProgramError, TracedModel  # noqa: E402
from test_run_verify import Chain, Tied, rows, uneven  # noqa: E402
from torch import nn  # noqa: E402
from verify_support import spread  # noqa: E402


class ChangingInput(Chain):
    def forward(self, x):
        return super().forward(x.add_(1))


class Assigning(Chain):
    """A running mean that is another tensor after every call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        y = super().forward(x + self.mean)
        self.mean = 0.9 * self.mean + 0.1 * y.detach().mean(0)
        return y


class ReadingAhead(Assigning):
    """A running mean that changes in the first block and is read in the last, as it was before."""

    def forward(self, x):
        before = self.mean * 1
        for number, block in enumerate(self.blocks):
            x = torch.tanh(block(x))
            if number == 0:
                self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return x + before


class Selecting(nn.Module):
    """Works on the rows that a mask selects: how many depends on data."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x, mask):
        x = x[mask.nonzero().squeeze(1)]
        for block in self.blocks:
            x = torch.tanh(block(x))
        return x


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.LSTM(8, 8, num_layers=2, batch_first=True, dropout=0.1)

    def forward(self, x):
        return self.layers(x)[0]


def hooked():
    model = Chain()
    model.blocks[1].weight.register_hook(lambda gradient: 2 * gradient)
    return model


def refusal(model, inputs, batch, loss=uneven, runs=None, **options):
    graph = opweave.capture(model, inputs, loss=loss, granularity="block", microbatches=2, **options)
    with pytest.raises(ProgramError) as error:
        TracedModel(model if runs is None else runs, spread(graph, 2), batch)
    return str(error.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ChangingInput, 'the model changes its input "x" in place'),
        (Assigning, '"mean" is assigned anew in the forward pass, which tracing does not see'),
        (hooked, 'parameter "blocks.1.weight" has a hook on its gradient, which is no part of the traced step'),
    ],
)
def test_models_that_are_refused(model, message):
    assert message in refusal(model(), (rows(4),), (rows(8),))


def test_dropout_of_recurrent_layers_is_refused():
    message = refusal(Recurrent(), (torch.zeros(2, 3, 8),), (torch.zeros(4, 3, 8),))
    assert 'module "layers" has dropout between its recurrent layers, which PyTorch leaves out' in message


def test_sizes_that_depend_on_data_stay_on_a_device():
    mask = torch.tensor([True, False, True, True] * 2)
    message = refusal(Selecting(), (rows(4), mask[:4]), (rows(8), mask), loss=torch.sum, assumed_size=3)
    assert "goes from gpu0 to gpu1; its size depends on data, so that nobody knows how much will arrive" in message


def test_microbatches_have_one_set_of_integers_where_control_flow_depends_on_them():
    counts = torch.tensor([3, 5, 4, 4])
    message = refusal(models.Patches(), (rows(8), counts[:2]), (rows(16), counts))
    assert 'input "counts" differs between microbatches 0 and 1; the control flow of this model depends on' in message


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        # 4 x 8 numbers of 4 bytes are captured.
        ((rows(9),), 'input "x" is torch.float32 of (9, 8), 288 bytes; expected 2 x 128 bytes for 2 microbatches'),
        ((rows(12),), 'input "x" is torch.float32 of (12, 8), 384 bytes; expected 2 x 128 bytes for 2 microbatches'),
    ],
)
def test_batches_of_another_size_are_refused(batch, message):
    assert message in refusal(Chain(), (rows(4),), batch)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (lambda: Chain(5), 'the graph has no operator "blocks.4.F" of the model'),
        (lambda: Chain(3), 'the model has no operator "blocks.3.F" of the graph'),
        (Tied, 'operator "blocks.3.F" has other parameters in the model than in the graph'),
        (lambda: Chain().to("meta"), '"blocks.0.weight" is on meta, expected on the processor'),
        (lambda: Chain, "model: value is a type, expected a torch.nn.Module with its weights"),
    ],
)
def test_another_model_than_the_captured_one_is_refused(runs, message):
    assert message in refusal(Chain(), (rows(4),), (rows(8),), runs=runs())


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (None, {}, "no loss: the graph was captured without one or read from a file\nhint: give loss="),
        (lambda y: (y.sum(), y.mean()), {}, "the loss has the shapes (), (), expected one number"),
        (uneven, {"training": False}, "graph: it has no backward pass, expected one captured with training=True"),
    ],
)
def test_a_step_needs_one_loss(loss, options, message):
    assert message in refusal(Chain(), (rows(4),), (rows(8),), loss=loss, **options)


def test_graphs_that_were_not_captured_are_refused():
    graph = opweave.Graph.from_dict({"operators": [{"name": "a.F", "phase": "F", "duration_ns": 1}]})
    plan = opweave.plan(graph, opweave.Cluster.uniform(1), work_limit=1, progress=False)
    with pytest.raises(ProgramError, match=r"graph: expected one that opweave\.capture made"):
        TracedModel(Chain(), plan, (rows(4),))


# The plan runs the normalisation for the second microbatch first, so that its running mean would be another one.
def test_buffers_change_in_the_order_of_the_microbatches():
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
    graph = opweave.capture(model, (rows(4),), loss=uneven, granularity="block", microbatches=2)
    plan = spread(graph, 1)
    content = plan.to_dict()
    for task in content["tasks"]:
        if "microbatch" in task:
            task["microbatch"] = 1 - task["microbatch"]
    with pytest.raises(ProgramError, match=r'buffer "1\.\w+" changes in "1\.F", which runs for microbatches \[1, 0\]'):
        TracedModel(model, content, (rows(8),), graph=plan.graph)


def test_a_buffer_is_read_where_it_changes():
    model = ReadingAhead()
    graph = opweave.capture(model, (rows(4),), loss=uneven, granularity="operator", microbatches=2)
    plan = spread(graph, 2, seed=1)
    with pytest.raises(ProgramError, match=r'buffer "mean" changes in "add\.F" and is read in "mul\.F", too'):
        TracedModel(model, plan, (rows(8),))
