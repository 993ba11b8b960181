"""Small models whose segments run on groups of ranks, and the step in one process that every run is compared with."""

from __future__ import annotations

from typing import Any

import torch
from opweave.run.parallel.experts import MixtureOfExperts
from opweave.run.parallel.tensor_plan import styles, tensor_plan
from torch import nn
from torch.nn import functional

WIDTH, HEADS, WORDS, TOKENS = 16, 4, 32, 8


class Attention(nn.Module):
    """Causal, with rotary positions where they are given."""

    def __init__(self, causal: bool = True) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.o_proj = nn.Linear(WIDTH, WIDTH)
        self.causal = causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, tokens = x.shape[:2]
        parts = (
            made.view(rows, tokens, -1, WIDTH // HEADS).transpose(1, 2)
            for made in (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        )
        mixed = functional.scaled_dot_product_attention(*parts, is_causal=self.causal)
        return self.o_proj(mixed.transpose(1, 2).reshape(rows, tokens, -1))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(WIDTH, 2 * WIDTH, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, seed: int, experts: int = 0, causal: bool = True) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention(causal)
        if experts:
            self.mlp: nn.Module = MixtureOfExperts(nn.Linear(WIDTH, experts), [Mlp() for _ in range(experts)], 2)
        else:
            self.mlp = Mlp()

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=-1)[..., :WIDTH] + inputs[1]
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1000)
        self.norm, self.lm_head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lm_head(self.norm(x))


def modules(graph: dict[str, Any], experts: int = 0, causal: bool = True) -> dict[str, nn.Module]:
    """A module for every segment of a graph of run_support: "embed", "head", "words*" and blocks."""
    names = [op["name"][:-2] for op in graph["operators"] if op["phase"] == "F"]
    result: dict[str, nn.Module] = {}
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        if name.startswith("embed"):
            result[name] = nn.Embedding(WORDS, WIDTH)
        elif name == "head":
            result[name] = Head()
        else:
            result[name] = Block(seed, experts, causal)
    return result


def tensor_plans(segments: dict[str, nn.Module], tokens_split: bool) -> dict[str, dict[str, Any]]:
    """The plans of all segments."""
    return {
        name: styles(tensor_plan(module, tokens_split=tokens_split), tokens_split=tokens_split)
        for name, module in segments.items()
    }


def batch(rows: int, seed: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(WORDS, (rows, TOKENS), generator=generator) for _ in range(2))  # type: ignore[return-value]


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())
