"""Modules for the graphs of run_support, and the step in one process that every execution is compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

WIDTH = 8


class Block(nn.Module):
    """Takes any number of tensors, returns `outputs` ones. A linear layer on 3-D input returns a view; tanh keeps its
    output for the backward; the norm is where W ends."""

    def __init__(self, seed: int, outputs: int = 1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 2 * WIDTH)
        self.down = nn.Linear(2 * WIDTH, WIDTH)
        self.outputs = outputs

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        x = self.norm(sum(inputs[1:], inputs[0]))
        y = self.down(torch.tanh(self.up(x)))
        if self.outputs == 1:
            return y
        return tuple(y * (i + 1) if i else torch.tanh(y) for i in range(self.outputs))


def modules(graph: dict[str, Any]) -> dict[str, nn.Module]:
    """A block for every segment; tanh, without parameters, where the graph has an I and no W."""
    forward = [op for op in graph["operators"] if op["phase"] == "F"]
    names = {op["name"] for op in graph["operators"]}
    return {
        name: nn.Tanh() if f"{name}.I" in names and f"{name}.W" not in names else Block(i, max(1, outputs))
        for i, (name, outputs) in enumerate((op["name"][:-2], len(op["outputs"])) for op in forward)
    }


def batch(microbatches: int, seed: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2 * microbatches, 3, WIDTH)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def mse(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return nn.functional.mse_loss(output, target)


def one_process(graph: dict[str, Any], segments: dict[str, nn.Module], loss_fn: Any = mse) -> list[float]:
    """The losses of a step in one process; gradients are left in the modules. The reference for every execution."""
    microbatches = graph["training"]["microbatches"]
    x, target = batch(microbatches)
    losses = []
    for xb, tb in zip(x.chunk(microbatches), target.chunk(microbatches), strict=True):
        values = {"x": xb}
        for op in graph["operators"]:
            if op["phase"] != "F":
                continue
            made = segments[op["name"][:-2]](*(values[t] for t in op["inputs"]))
            if not op["outputs"]:
                loss = loss_fn(made, tb)
                losses.append(loss.item())
                (loss / microbatches).backward()
            else:
                values.update(zip(op["outputs"], made if isinstance(made, tuple) else (made,), strict=True))
    return losses


def largest_error(segments: dict[str, nn.Module], reference: dict[str, nn.Module]) -> float:
    """Largest difference of a gradient, relative to the largest gradient of its parameter (at least 1e-3)."""
    error = 0.0
    for name, module in segments.items():
        for mine, right in zip(module.parameters(), reference[name].parameters(), strict=True):
            assert mine.grad is not None and right.grad is not None, name
            scale = max(1e-3, right.grad.abs().max().item())
            error = max(error, (mine.grad - right.grad).abs().max().item() / scale)
    return error
