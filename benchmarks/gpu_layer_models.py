"""The layers that benchmarks/gpu_layer measures: a decoder layer of Llama 3 8B and one of Mixtral 8x7B.

Written as most models are: norms and rotary positions as chains of element-wise operators, attention and matrix
products as calls of the library. What a compiler fuses is therefore visible.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

grouped_mm = getattr(functional, "grouped_mm", None) or torch._grouped_mm


@dataclass(frozen=True)
class Sizes:
    """Of a layer and of its input, one sequence."""

    tokens: int = 8192
    width: int = 4096
    heads: int = 32
    key_heads: int = 8
    hidden: int = 14336
    experts: int = 0
    """Of which each token takes two; 0 is a dense layer."""

    @property
    def head(self) -> int:
        return self.width // self.heads


LLAMA = Sizes()
MIXTRAL = replace(LLAMA, experts=8)
TINY = Sizes(tokens=32, width=64, heads=4, key_heads=2, hidden=96)


class Norm(nn.Module):
    """Root mean square norm in fp32, as in Llama."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)
        return self.weight * scaled.to(x.dtype)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, halves interleaved as in transformers."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class Attention(nn.Module):
    """Causal, with fewer heads of keys than of queries."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        keys = sizes.key_heads * sizes.head
        self.query = nn.Linear(sizes.width, sizes.width, bias=False)
        self.key = nn.Linear(sizes.width, keys, bias=False)
        self.value = nn.Linear(sizes.width, keys, bias=False)
        self.output = nn.Linear(sizes.width, sizes.width, bias=False)
        angles = torch.outer(torch.arange(sizes.tokens).float(), 1e4 ** -torch.linspace(0, 1, sizes.head // 2))
        self.register_buffer("cos", torch.cat((angles, angles), -1).cos())
        self.register_buffer("sin", torch.cat((angles, angles), -1).sin())

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (-1, self.sizes.head)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        query, key = rotated(query, self.cos, self.sin), rotated(key, self.cos, self.sin)
        grouped = self.sizes.heads != self.sizes.key_heads
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped)
        return self.output(mixed.transpose(1, 2).flatten(2))


class Dense(nn.Module):
    """Gated perceptron."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.gate = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.up = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.down = nn.Linear(sizes.hidden, sizes.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Experts(nn.Module):
    """Two of the experts for each token: rows sorted by expert, and grouped products."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.router = nn.Linear(sizes.width, sizes.experts, bias=False)
        scale = sizes.width**-0.5
        self.gate_up = nn.Parameter(torch.randn(sizes.experts, sizes.width, 2 * sizes.hidden) * scale)
        self.down = nn.Parameter(torch.randn(sizes.experts, sizes.hidden, sizes.width) * scale)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        weights, chosen = self.router(flat).float().softmax(-1).topk(2, -1)
        order = chosen.flatten().argsort()
        experts = torch.arange(self.sizes.experts, device=x.device)
        ends = (chosen.flatten()[:, None] == experts).sum(0).cumsum(0).to(torch.int32)
        rows = flat.index_select(0, order // 2)
        gate, up = grouped_mm(rows, self.gate_up, offs=ends).chunk(2, -1)
        made = grouped_mm(functional.silu(gate) * up, self.down, offs=ends)
        weighted = made * weights.flatten()[order, None].to(made.dtype)
        return torch.zeros_like(flat).index_add(0, order // 2, weighted).view_as(x)


class Layer(nn.Module):
    """Attention and perceptron, each behind a norm and beside a residual."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.attention_norm = Norm(sizes.width)
        self.attention = Attention(sizes)
        self.perceptron_norm = Norm(sizes.width)
        self.perceptron = Experts(sizes) if sizes.experts else Dense(sizes)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.perceptron(self.perceptron_norm(x))


def flops(sizes: Sizes) -> float:
    """Operations of a training step of one layer: products three times, attention as a full square (the convention of
    torch's counter) with a backward pass of two and a half times."""
    keys = sizes.key_heads * sizes.head
    hidden = sizes.hidden * (2 if sizes.experts else 1)
    products = sizes.width * (2 * sizes.width + 2 * keys + 3 * hidden + sizes.experts)
    return 2.0 * sizes.tokens * products * 3 + 4.0 * sizes.tokens**2 * sizes.width * 3.5
