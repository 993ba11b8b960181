"""Models of modules: what is written down is what runs; what is no stack of blocks is refused by name."""

import opweave
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")
import models  # noqa: E402
from torch import nn  # noqa: E402


def numbers(module):
    return sum(parameter.numel() for parameter in module.parameters())


# Per block of width 32: products of 32 x 96, 32 x 32 and twice 32 x 128; norms of 2 x 64 and biases of 96 + 32 + 128 + 32.
@pytest.mark.parametrize("tied", [False, True])
def test_a_language_model_of_ones_own(tied):
    module = models.Gpt(layers=3, tied=tied)
    model = opweave.Model.from_module(module, (torch.zeros(1, 16, dtype=torch.long),))
    assert model.parameters == numbers(module)
    content = model.to_dict()
    assert (content["hidden"], content["vocabulary"], content.get("tied_embeddings", False)) == (32, 50, tied)
    (run,) = model.layers
    assert run["count"] == 3 and run["mlp"] == {"width": 128, "gated": False}
    assert run["attention"] == {"heads": 2, "head_dim": 16}
    assert run["other_parameters"] == 128 + 288


class Gated(nn.Module):
    """Llama's block: four heads of 8 over two of keys, a gated perceptron."""

    def __init__(self):
        super().__init__()
        self.q, self.kv, self.out = (nn.Linear(32, size, bias=False) for size in (32, 32, 32))
        self.gate, self.up = (nn.Linear(32, 80, bias=False) for _ in range(2))
        self.down = nn.Linear(80, 32, bias=False)

    def forward(self, x):
        batch, length, _ = x.shape
        q = self.q(x).view(batch, length, 4, 8).transpose(1, 2)
        k, v = self.kv(x).view(batch, length, 2, 2, 8).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.silu(self.gate(x)) * self.up(x))


def test_heads_that_share_keys_and_gates_are_found():
    module = nn.Sequential(*[Gated() for _ in range(2)])
    model = opweave.Model.from_module(module, (torch.zeros(2, 8, 32),))
    assert model.parameters == numbers(module)
    (run,) = model.layers
    assert run["attention"] == {"heads": 4, "kv_heads": 2, "head_dim": 8}
    assert run["mlp"] == {"width": 80, "gated": True}


def test_the_encoder_of_torch_is_a_model():
    layer = nn.TransformerEncoderLayer(64, 4, 160, batch_first=True)
    module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    model = opweave.Model.from_module(module, (torch.zeros(1, 8, 64),))
    assert model.parameters == numbers(module)
    (run,) = model.layers
    assert run["attention"] == {"heads": 4, "head_dim": 16, "causal": False}


def test_a_module_gets_a_strategy():
    module = models.Gpt(layers=4, width=64, heads=4, vocabulary=512, length=64)
    strategies = opweave.parallelize(module, "h100", global_batch=16, sequence=64, time_limit=5, top=1)
    assert strategies.model.name == "Gpt" and strategies.best.fits
    tower = models.Tower(32, 2)
    with pytest.raises(opweave.InputError, match=r"Tower does not run on ids of shape \(1, 16\)"):
        opweave.parallelize(tower, "h100", global_batch=16, sequence=16)


class Twice(models.Gpt):
    def forward(self, ids):
        x = self.tokens(ids)
        for _ in range(2):
            for block in self.blocks:
                x = block(x)
        return self.head(self.norm(x))


@pytest.mark.parametrize(
    ("build", "inputs", "why"),
    [
        (lambda: models.Mlp(8), lambda: (torch.zeros(4, 8),), "Mlp has no repeated blocks"),
        (
            lambda: models.Gpt(experts=4),
            lambda: (models.ids(),),
            r'block "blocks.0" is not attention of 2 heads and one',
        ),
        (Twice, lambda: (models.ids(),), "something runs more than once|calls attention 2 times"),
    ],
    ids=["no blocks", "experts", "twice"],
)
def test_what_is_no_stack_of_blocks_is_refused_by_name(build, inputs, why):
    with pytest.raises(opweave.InputError, match=why) as refused:
        opweave.Model.from_module(build(), inputs())
    assert "hint: state it by hand" in str(refused.value)
