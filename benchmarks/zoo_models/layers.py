"""Models of torch's own layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from zoo_models.common import Row, first_output, ids, pictures


class Lstm(nn.Module):
    """A language model of recurrent layers."""

    def __init__(self, kind: type[nn.Module] = nn.LSTM) -> None:
        super().__init__()
        self.words = nn.Embedding(64, 32)
        self.recurrent = kind(32, 32, num_layers=2, batch_first=True)
        self.head = nn.Linear(32, 64)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.head(self.recurrent(self.words(tokens))[0])


class UNet(nn.Module):
    """Down and up again, with skips."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in ((3, 8), (8, 16)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in ((16, 8), (16, 3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A picture of the same size."""
        first = torch.relu(self.down[0](x))
        second = torch.relu(self.down[1](first))
        return self.up[1](torch.cat([self.up[0](second), first], 1))


def plain(build: Callable[[], nn.Module], **inputs: Any) -> Row:
    """A model of torch's own layers."""
    return Row(build, inputs, first_output)


ROWS = {
    "torch-transformer": lambda: plain(
        lambda: nn.Transformer(32, 4, 2, 2, 64, batch_first=True), src=torch.rand(2, 16, 32), tgt=torch.rand(2, 16, 32)
    ),
    "torch-lstm": lambda: plain(Lstm, tokens=ids()),
    "torch-gru": lambda: plain(lambda: Lstm(nn.GRU), tokens=ids()),
    "torch-unet": lambda: plain(UNet, x=pictures(32)),
}
