"""Models of several families, small enough to trace in seconds. Sizes are arguments where tests measure larger ones."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    def __init__(self, width, heads, mlp):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = mlp

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norm2(x))


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class Experts(nn.Module):
    """Mixture of experts with fixed capacity: every expert takes the tokens that want it most."""

    def __init__(self, width, experts, capacity):
        super().__init__()
        self.capacity = capacity
        self.gate = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(torch.empty(experts, width, 2 * width))
        self.down = nn.Parameter(torch.empty(experts, 2 * width, width))

    def forward(self, x):
        tokens = x.flatten(0, 1)
        weights, chosen = self.gate(tokens).softmax(-1).t().topk(self.capacity, dim=-1)
        inside = tokens[chosen]
        made = torch.bmm(F.silu(torch.bmm(inside, self.up)), self.down) * weights.unsqueeze(-1)
        return torch.zeros_like(tokens).index_add(0, chosen.flatten(), made.flatten(0, 1)).view_as(x)


class Gpt(nn.Module):
    """Language model; with *experts*, a mixture of experts in every block; *tied*: one matrix for both ends."""

    def __init__(self, layers=2, width=32, heads=2, vocabulary=50, length=16, experts=0, tied=False):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        mlps = [Experts(width, experts, 4) if experts else Mlp(width) for _ in range(layers)]
        self.blocks = nn.ModuleList(Block(width, heads, mlp) for mlp in mlps)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Tower(nn.Module):
    def __init__(self, width, layers):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, 2, Mlp(width)) for _ in range(layers))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x.mean(1)


class TwoTower(nn.Module):
    """Pictures by convolution into patches, texts by embedding, one contrastive loss."""

    def __init__(self, width=32, layers=2):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.words = nn.Embedding(50, width)
        self.vision, self.text = Tower(width, layers), Tower(width, layers)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, pictures, ids):
        seen = self.vision(self.patches(pictures).flatten(2).transpose(1, 2))
        read = self.text(self.words(ids))
        similar = self.scale * F.normalize(seen, dim=-1) @ F.normalize(read, dim=-1).t()
        labels = torch.arange(similar.shape[0])
        return (F.cross_entropy(similar, labels) + F.cross_entropy(similar.t(), labels)) / 2


class VisionLanguage(nn.Module):
    """Pictures become tokens in front of the text of a language model."""

    def __init__(self, width=32, layers=2):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.vision = nn.ModuleList(Block(width, 2, Mlp(width)) for _ in range(layers))
        self.projector = nn.Linear(width, width)
        self.language = Gpt(layers, width)

    def forward(self, pictures, ids):
        x = self.patches(pictures).flatten(2).transpose(1, 2)
        for block in self.vision:
            x = block(x)
        x = torch.cat([self.projector(x), self.language.tokens(ids)], 1)
        for block in self.language.blocks:
            x = block(x)
        return self.language.head(self.language.norm(x[:, -ids.shape[1] :]))


class Convolutions(nn.Module):
    """Three convolutions with normalisation by batches, then a classifier."""

    def __init__(self, width=8):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"conv": nn.Conv2d(width, width, 3, padding=1, bias=False), "norm": nn.BatchNorm2d(width)})
            for _ in range(2)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, pictures):
        x = self.stem(pictures)
        for block in self.blocks:
            x = x + F.relu(block["norm"](block["conv"](x)))
        return self.head(x.mean((2, 3))).square().mean()


class Branching(nn.Module):
    """Its inner module branches on the values of a tensor."""

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return self.linear(x) if x.sum() > 0 else x

    def __init__(self):
        super().__init__()
        self.inner = self.Inner()

    def forward(self, x):
        return self.inner(x)


class Patches(nn.Module):
    """Attends within each picture; a tensor of integers says how many patches each one has."""

    def __init__(self, width=8):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))

    def forward(self, patches, counts):
        ends = counts.repeat_interleave(torch.ones_like(counts)).cumsum(0)
        assert int(ends[-1]) == patches.shape[0]
        for block in self.blocks:
            parts = [block(part) for part in patches.split(counts.tolist())]
            patches = torch.cat([part.softmax(0) for part in parts])
        return patches


class Square(torch.autograd.Function):
    """x * x with a backward of its own."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class Squares(nn.Module):
    """Blocks of a linear layer and a custom function after it."""

    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.linear = nn.Linear(width, width, bias=False)

        def forward(self, x):
            return Square.apply(self.linear(x))

    def __init__(self, width=8):
        super().__init__()
        self.blocks = nn.ModuleList(self.Block(width) for _ in range(3))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x.sum()


class Checkpointed(nn.Module):
    """Blocks of two linear layers, each block with or without activation checkpointing."""

    def __init__(self, width=8, checkpoints=True, depth=1, use_reentrant=False):
        super().__init__()
        self.first = nn.Linear(width, width, bias=False)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width, bias=False), nn.GELU(), nn.Linear(2 * width, width, bias=False))
            for _ in range(3)
        )
        self.depth = depth if checkpoints else 0
        self.use_reentrant = use_reentrant

    def run(self, block, x, depth):
        if depth == 0:
            return block(x)
        return checkpoint(self.run, block, x, depth - 1, use_reentrant=self.use_reentrant)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = self.run(block, x, self.depth)
        return x.sum()


def next_token_loss(logits):
    """Cross entropy against the first token everywhere: values do not matter while tracing."""
    flat = logits.flatten(0, 1)
    return F.cross_entropy(flat, torch.zeros(flat.shape[0], dtype=torch.long))


def ids(batch=2, length=16):
    return torch.zeros(batch, length, dtype=torch.long)


def pictures(batch=2, size=16):
    return torch.zeros(batch, 3, size, size)
