"""Captured models on processes: every loss and every gradient is that of the model itself."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import models  # noqa: E402
import opweave  # noqa: E402
from opweave.run import ProgramError, TracedModel, VerificationError, launch, verify  # noqa: E402
from torch import nn  # noqa: E402
from verify_support import spread, used_devices  # noqa: E402

WIDTH = 8


def rows(count, width=WIDTH, seed=1):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


class Chain(nn.Module):
    """Blocks in a row; a subclass says what a block does."""

    def __init__(self, blocks=4):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(self.block() for _ in range(blocks))

    def block(self):
        return nn.Linear(WIDTH, WIDTH)

    def run(self, number, block, x):
        return torch.tanh(block(x))

    def forward(self, x):
        for number, block in enumerate(self.blocks):
            x = self.run(number, block, x)
        return x


class StraightThrough(torch.autograd.Function):
    """Rounds; its gradient is that of the identity, which autograd would not find in its calls."""

    @staticmethod
    def forward(ctx, x):
        return torch.round(4 * x) / 4

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Rounding(Chain):
    def run(self, number, block, x):
        return StraightThrough.apply(block(x))


class WithoutGradient(Chain):
    """Half of each block is a constant to autograd."""

    def run(self, number, block, x):
        with torch.no_grad():
            gate = torch.sigmoid(block(x))
        return block(x) * gate


class Dropping(Chain):
    def run(self, number, block, x):
        return nn.functional.dropout(torch.tanh(block(x)), 0.4)


class Normalizing(Chain):
    """Running means change with every microbatch."""

    def block(self):
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH))


class Tied(Chain):
    """The first and the last block have one weight."""

    def __init__(self):
        super().__init__()
        self.blocks[3].weight = self.blocks[0].weight


class Shared(Chain):
    """All blocks use a scale that is none's."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(WIDTH))

    def run(self, number, block, x):
        return torch.tanh(block(x) * self.scale)


class Skipping(Chain):
    """A U: what a block on the way down makes, one on the way up takes."""

    def forward(self, x):
        made = []
        for number, block in enumerate(self.blocks):
            x = torch.tanh(block(x))
            made.append(x)
            if number >= 2:
                x = x + made[3 - number]
        return x


class Tables(Chain):
    """Constants, a buffer, a table of positions and a mask, made once for all blocks."""

    def __init__(self):
        super().__init__()
        self.register_buffer("angles", torch.arange(WIDTH) / WIDTH, persistent=False)
        self.offset = torch.ones(WIDTH)

    def forward(self, x, *, options):
        table = torch.cos(torch.arange(x.shape[0])[:, None] * self.angles) + torch.tensor([0.5])
        for block in self.blocks:
            x = torch.tanh(block(x)) * table + options["masks"][0] * self.offset
        return {"made": x, "count": 3, "nothing": None}


class Frozen(Chain):
    def __init__(self):
        super().__init__()
        self.blocks[1].requires_grad_(False)


class Transposing(Chain):
    """The gradient of softplus arrives in another layout than its result has, and leaves in another one than traced."""

    def run(self, number, block, x):
        y = nn.functional.softplus(block(torch.stack([x, -x], 1)))
        return (y.transpose(1, 2) * torch.tensor([[0.5, -0.5]]).expand(len(x), WIDTH, 2).contiguous()).sum(2)


KINDS = {
    "custom function": Rounding,
    "without gradient": WithoutGradient,
    "dropout": Dropping,
    "buffers": Normalizing,
    "tied": Tied,
    "shared": Shared,
    "skips": Skipping,
    "frozen": Frozen,
    "layouts": Transposing,
    "checkpoints": models.Checkpointed,
}


def uneven(output):
    """A loss to which every element matters differently: that of a normalised output would hardly change."""
    return (output * torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)).sum()


@pytest.mark.parametrize("granularity", ["block", "operator"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_model_itself(kind, granularity):
    model = KINDS[kind]()
    graph = opweave.capture(model, (rows(4),), loss=uneven, granularity=granularity, microbatches=3)
    plan = spread(graph, 2) if granularity == "block" else spread(graph, 3, seed=5)
    assert len(used_devices(plan)) > 1
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    found = verify(model, plan, (rows(12),))
    assert found.largest < 1e-5
    assert set(found.differences) == {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(found.losses) == 3 and len(set(found.losses)) == 3
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


# Every operator of a tied language model anywhere: F and backward of a layer on different devices, too.
@pytest.mark.parametrize("seed", range(3))
def test_operators_run_wherever_the_plan_puts_them(seed):
    torch.manual_seed(0)
    model = models.Gpt(experts=4 if seed == 2 else 0, tied=seed == 1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)  # those of the experts are not set
    words = torch.randint(50, (4, 16))
    graph = opweave.capture(model, (words[:2],), loss=models.next_token_loss, microbatches=2)
    plan = spread(graph, 4, seed=seed)
    placed = {(task["operator"], device) for task in plan.tasks for device in task["devices"]}
    assert len({device for name, device in placed if name.startswith("blocks.0.")}) > 1
    assert verify(model, plan, (words,)).largest < 1e-5


# The same random numbers on both sides, others with another seed.
def test_dropout_has_the_numbers_of_its_seed():
    model = Dropping()
    plan = spread(opweave.capture(model, (rows(4),), loss=uneven, granularity="block", microbatches=2), 2)
    first, again, other = (verify(model, plan, (rows(8),), seed=seed).losses for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_keywords_tables_masks_and_outputs_that_are_no_tensors():
    model = Tables()
    mask = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    inputs = {"x": rows(4), "options": {"masks": [mask]}}
    graph = opweave.capture(
        model, inputs, loss=lambda output: uneven(output["made"]), granularity="block", microbatches=2
    )
    assert graph.inputs == {
        "x": "input",
        "options.masks.0": "input",
        "angles": "buffer",
        "offset": "buffer",
        "constant.0": "constant",
        "gradient of output 0": "gradient",
    }
    # Nothing but the activation passes between blocks: each makes the table by itself.
    makers = {tensor: op["name"] for op in graph.operators for tensor in op.get("outputs", ())}
    forward = [op for op in graph.operators if op["phase"] == "F"]
    assert [len([t for t in op["inputs"] if t in makers]) for op in forward] == [0, 1, 1, 1, 1]
    # The mask has the captured size, so both microbatches get it.
    verify(model, spread(graph, 2), {"x": rows(8), "options": {"masks": [mask]}})


def test_the_loss_may_take_a_target():
    model = Chain()
    loss = nn.functional.mse_loss
    graph = opweave.capture(model, (rows(4),), loss=loss, target=rows(4), granularity="block", microbatches=2)
    assert graph.inputs["target"] == "input"
    found = verify(model, spread(graph, 2), (rows(8),), target=rows(8, seed=2))
    # Each microbatch has its own half of both.
    halves = zip(rows(8).chunk(2), rows(8, seed=2).chunk(2), strict=True)
    assert found.losses == pytest.approx([loss(model(x), y).item() for x, y in halves], rel=1e-6)


def test_variables_of_the_loss_keep_their_names():
    goal = rows(4, seed=3)
    model = Chain()
    graph = opweave.capture(
        model, (rows(4),), loss=lambda y: nn.functional.mse_loss(y, goal), granularity="block", microbatches=2
    )
    assert graph.inputs["goal"] == "closure"
    verify(model, spread(graph, 2), (rows(8),))


def test_encoder_and_decoder_of_torch():
    torch.manual_seed(0)
    model = nn.Transformer(WIDTH, 2, 2, 2, 16, batch_first=True)
    inputs = {"src": torch.randn(4, 3, WIDTH), "tgt": torch.randn(4, 3, WIDTH)}
    graph = opweave.capture(
        model, {key: value[:2] for key, value in inputs.items()}, loss=uneven, granularity="block", microbatches=2
    )
    assert verify(model, spread(graph, 2), inputs).largest < 1e-5


# Two sets of homes: each gradient is the sum of those that both have made.
def test_replicas_add_up():
    model = Chain()
    graph = opweave.capture(model, (rows(4),), loss=uneven, granularity="block", microbatches=4)
    content = graph.with_training(replicas=2).to_dict()
    for op in content["operators"]:
        op["duration_ns"] = 1000
    cluster = opweave.Cluster.uniform(2, latency_ns=10_000)
    plan = opweave.plan(graph._derived(content), cluster, work_limit=20, threads=1, progress=False)
    assert len(used_devices(plan)) == 2
    verify(model, plan, (rows(16),))


def test_a_plan_from_files_runs_with_the_loss(tmp_path):
    model = Chain().bfloat16()
    x = rows(8).bfloat16()
    graph = opweave.capture(model, (x[:4],), loss=uneven, granularity="block", microbatches=2)
    plan = spread(graph, 2)
    plan.save(tmp_path / "plan.json")
    plan.graph.save(tmp_path / "graph.json")
    files = {"plan": tmp_path / "plan.json", "graph": tmp_path / "graph.json", "batch": (x,)}
    with pytest.raises(ProgramError, match="no loss: the graph was captured without one or read from a file"):
        verify(model, **files)
    assert verify(model, **files, loss=uneven).tolerance == 0.05


class Counting(Chain):
    """Its second call is another one than its first."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class Untraced(Chain):
    """Outside of tracing, the gradient of all but the last block is another."""

    def run(self, number, block, x):
        return super().run(number, block, x if torch.compiler.is_compiling() or number < 3 else Doubled.apply(x))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Counting, r"loss of microbatch 1 is .*, of the model itself .*; expected a difference of at most 1e-05"),
        (
            Untraced,
            r'gradient of "blocks\.\d\.(weight|bias)" on gpu\d differs from that of the model itself by .*, 0\.5 of .*; '
            r"expected at most 1e-05 of it; 5 other parameters differ as well",
        ),
    ],
)
def test_what_differs_is_named(model, message):
    model = model()
    plan = spread(opweave.capture(model, (rows(4),), loss=uneven, granularity="block", microbatches=2), 2)
    with pytest.raises(VerificationError, match=message):
        verify(model, plan, (rows(8),))


def train(rank, traced, model, batches):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = {}
    for number, batch in enumerate(batches):
        optimizer.zero_grad()
        losses.update({(number, b): loss.item() for b, loss in traced.step((batch,)).losses.items()})
        optimizer.step()
    return losses, {name: p.detach() for name, p in model.named_parameters() if p.grad is not None}


# Three steps of SGD, each rank with an optimizer for all weights, of which it has gradients of its own alone.
def test_training_goes_on_from_step_to_step():
    batches = [rows(8, seed=seed) for seed in range(3)]
    model, reference = Chain(), Chain()
    graph = opweave.capture(model, (rows(4),), loss=uneven, granularity="block", microbatches=2)
    traced = TracedModel(model, spread(graph, 2), (batches[0],))
    results = launch(train, 2, (traced, model, batches), timeout_s=120, start_method="fork")
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1)
    losses = {}
    for number, batch in enumerate(batches):
        optimizer.zero_grad()
        for b, part in enumerate(batch.chunk(2)):
            loss = uneven(reference(part))
            (loss / 2).backward()
            losses[number, b] = loss.item()
        optimizer.step()
    assert {**results[0][0], **results[1][0]} == pytest.approx(losses, abs=1e-5)
    trained = {**results[0][1], **results[1][1]}
    assert trained.keys() == dict(reference.named_parameters()).keys()
    for name, parameter in reference.named_parameters():
        assert torch.allclose(trained[name], parameter, atol=1e-5), name
