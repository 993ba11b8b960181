"""Loops over time: one operator per layer and phase, with the work, the tensors and the gradients of all of its steps."""

import dataclasses
import functools

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")

from capture_support import by_phase, makers_of  # noqa: E402
from opweave.capture.loops import Loops  # noqa: E402
from opweave.capture.step import graph_of, read_step  # noqa: E402
from opweave.run import verify  # noqa: E402
from torch import nn  # noqa: E402
from verify_support import spread  # noqa: E402

WIDTH = 8


def words(length, batch=2):
    return torch.randint(0, 16, (batch, length), generator=torch.Generator().manual_seed(1))


def loss(logits):
    return (logits * torch.linspace(-1, 1, logits.shape[-1])).square().mean()


class Language(nn.Module):
    """Words, something recurrent, a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(16, WIDTH)
        self.head = nn.Linear(WIDTH, 16)

    def forward(self, ids):
        made = self.states(self.words(ids))
        return self.head(made if isinstance(made, torch.Tensor) else torch.stack(list(made), 1))


class LayerByLayer(Language):
    """Every layer goes through the whole sequence before the next one begins."""

    def __init__(self, kind=nn.LSTMCell):
        super().__init__()
        self.cells = nn.ModuleList(kind(WIDTH, WIDTH) for _ in range(2))

    def states(self, x):
        inputs = x.unbind(1)
        for cell in self.cells:
            state, made = None, []
            for part in inputs:
                state = cell(part, state)
                made.append(state[0] if isinstance(state, tuple) else state)
            inputs = made
        return inputs


class TokenByToken(LayerByLayer):
    """Every token goes through all layers before the next one begins."""

    def states(self, x):
        states = [None, None]
        for time in range(x.shape[1]):
            y = x[:, time]
            for layer, cell in enumerate(self.cells):
                states[layer] = cell(y, states[layer])
                y = states[layer][0] if isinstance(states[layer], tuple) else states[layer]
            yield y


class Circle(LayerByLayer):
    """The first layer takes what the last one made for the token before."""

    def states(self, x):
        low, high = x.new_zeros(2, WIDTH), x.new_zeros(2, WIDTH)
        for time in range(x.shape[1]):
            low = self.cells[0](x[:, time], low + high)
            high = self.cells[1](low, high)
            yield high


class Own(Language):
    """A gated unit of parts; the first step has no state."""

    def __init__(self):
        super().__init__()
        self.gates, self.recurrent = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, 2 * WIDTH)

    def states(self, x):
        state = None
        for time in range(x.shape[1]):
            gate, new = self.gates(x[:, time]).chunk(2, -1)
            if state is not None:
                gates, candidates = self.recurrent(state).chunk(2, -1)
                gate, new = torch.sigmoid(gate + gates), torch.tanh(new + candidates)
                state = gate * new + (1 - gate) * state
            else:
                state = torch.sigmoid(gate) * torch.tanh(new)
            yield state


class Attending(Language):
    """Linear attention as RWKV has it: a state of sums, a maximum for the range, results written to their places."""

    def __init__(self):
        super().__init__()
        self.key, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.decay = nn.Parameter(torch.rand(WIDTH))

    def states(self, x):
        keys, values = self.key(x), self.value(x)
        made = torch.zeros_like(x)
        top, bottom, most = torch.zeros_like(x[:, 0]), torch.zeros_like(x[:, 0]), torch.zeros_like(x[:, 0]) - 1e38
        for time in range(x.shape[1]):
            key, value = keys[:, time], values[:, time]
            above = torch.maximum(most, key)
            old, new = torch.exp(most - above), torch.exp(key - above)
            made[:, time] = (old * top + new * value) / (old * bottom + new)
            top, bottom, most = old * top + new * value, old * bottom + new, above - torch.exp(self.decay)
        return made


class OfTorch(Language):
    def __init__(self, kind, **options):
        super().__init__()
        self.layers = kind(WIDTH, WIDTH // (1 + options.get("bidirectional", False)), batch_first=True, **options)

    def states(self, x):
        return self.layers(x)[0]


# With the operators that stand for all steps.
MODELS = {
    "cells, layer by layer": (LayerByLayer, ["cells.0.loop", "cells.1.loop"]),
    "cells, token by token": (TokenByToken, ["cells.0.loop", "cells.1.loop"]),
    "GRU cells": (lambda: TokenByToken(nn.GRUCell), ["cells.0.loop", "cells.1.loop"]),
    "layers in a circle": (lambda: Circle(nn.GRUCell), ["loop"]),
    "written out": (Own, ["loop"]),
    "linear attention": (Attending, ["loop"]),
    "LSTM": (lambda: OfTorch(nn.LSTM, num_layers=2), ["layers.loop", "layers.loop/2"]),
    "GRU": (lambda: OfTorch(nn.GRU), ["layers.loop"]),
    "both ways": (lambda: OfTorch(nn.LSTM, bidirectional=True), ["layers.loop", "layers.loop/2"]),
}


@functools.cache
def traced(name, length=6):
    return read_step(MODELS[name][0](), (words(length),), loss=loss)


def loops_of(graph):
    return [op for op in graph.operators if op["kind"] == "loop"]


@pytest.mark.parametrize("name", MODELS)
def test_all_steps_of_a_loop_are_one_operator_per_layer_and_phase(name):
    found = sorted(op["name"] for op in loops_of(graph_of(traced(name))))
    assert found == sorted(f"{loop}.{phase}" for loop in MODELS[name][1] for phase in "FIW")


@pytest.mark.parametrize("name", ["linear attention", "LSTM"])
def test_more_steps_are_more_calls_and_no_more_operators(name):
    short, long = graph_of(traced(name)), graph_of(traced(name, 9))
    assert [op["name"] for op in loops_of(short)] == [op["name"] for op in loops_of(long)]
    assert len(short.operators) == len(long.operators)
    for op in loops_of(short):
        assert 1.3 < len(long.calls[op["name"]]) / len(short.calls[op["name"]]) < 1.8


def unfolded(step):
    return dataclasses.replace(step, loops=Loops())


@pytest.mark.parametrize("granularity", ["operator", "module", "block"])
@pytest.mark.parametrize("name", MODELS)
def test_work_and_parameters_are_those_of_the_steps(name, granularity):
    folded, whole = graph_of(traced(name), granularity=granularity), graph_of(unfolded(traced(name)))
    assert folded.flops == whole.flops
    assert by_phase(folded) == by_phase(whole)
    assert folded.parameters == whole.parameters
    assert folded.calls.keys() == {op["name"] for op in folded.operators if op["phase"] != "O"}
    assert sum(map(len, folded.calls.values())) >= sum(map(len, whole.calls.values()))
    for phase in "FIWO":
        read = [
            {p for op in g.operators if op["phase"] == phase for p in op.get("parameters", ())} for g in (folded, whole)
        ]
        assert read[0] == read[1]


@pytest.mark.parametrize("name", MODELS)
def test_kept_tensors_are_those_of_the_steps(name):
    """What the forward pass makes in a loop and the backward pass needs, byte for byte; the rest does not outlive it."""
    step = traced(name)
    folded = graph_of(step)
    inside = {op["name"] for op in loops_of(folded) if op["phase"] == "F"}
    sizes, makers = folded.tensors, makers_of(folded)
    backward = [op for op in folded.operators if op["phase"] in "IW"]
    kept = {tensor for op in backward for tensor in op["inputs"] if makers.get(tensor) in inside}

    calls = step.primitives.calls
    made = {t for call in calls if call.phase == "F" and step.loops.at(call.position) for t in call.outputs}
    needed = {t for call in calls if call.phase != "F" for t in call.inputs} & made
    assert sum(sizes[tensor] for tensor in kept) == sum(step.primitives.tensors[tensor] for tensor in needed)
    assert needed


class Independent(Language):
    """Tokens that know nothing of each other."""

    def states(self, x):
        return torch.stack([torch.tanh(self.head(part))[:, :WIDTH] for part in x.unbind(1)], 1)


class Shared(Language):
    """One layer again and again on the whole sequence, as in ALBERT."""

    def states(self, x):
        for _ in range(6):
            x = torch.tanh(self.head(x))[..., :WIDTH] + x
        return x


class Experts(Language):
    """Results of experts, whose weights are one tensor, added up."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.rand(6, WIDTH, WIDTH))

    def states(self, x):
        shares = torch.softmax(x[..., :6], -1)
        total = torch.zeros_like(x)
        for expert in range(6):
            total = total + shares[..., expert, None] * torch.tanh(x @ self.weights[expert])
        return total


class Growing(Language):
    """Every step attends to all before it: no two are equal."""

    def states(self, x):
        made = [x[:, :1]]
        for time in range(1, x.shape[1]):
            past = torch.cat(made, 1)
            made.append(torch.softmax(x[:, time : time + 1] @ past.mT, -1) @ past)
        return torch.cat(made, 1)


@pytest.mark.parametrize("kind", [Independent, Shared, Experts, Growing])
def test_what_is_no_loop_over_time_keeps_its_operators(kind):
    step = read_step(kind(), (words(6),), loss=loss)
    assert not step.loops.all
    assert len(graph_of(step, optimizer=None).operators) == len(step.primitives.calls)


@pytest.mark.parametrize("name", ["cells, token by token", "linear attention"])
def test_a_model_with_loops_runs_as_planned(name, monkeypatch):
    step = traced(name)
    monkeypatch.setattr("opweave.run.traced.read_step", lambda *_, **__: step)
    graph = graph_of(step, microbatches=2, loss=loss)
    found = verify(MODELS[name][0](), spread(graph, 2), (words(6, 4),))
    assert len(found.devices) == 2
    assert found.largest < 1e-5
