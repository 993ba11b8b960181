"""Models from modules of PyTorch: what a stack of equal transformer blocks is in the words of docs/models.md."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opweave.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from opweave.capture.captured import CapturedGraph

_HINT = "\nhint: state it by hand as an opweave.Model (docs/formats.md#model)"
# Of parameters that stand in no block, embedding or head: more of them would cost time that nobody counts.
_MOST_OUTSIDE = 0.05
# Products that the description does not explain, as a share: biases and the like are no products.
_MOST_UNEXPLAINED = 0.02


def describe(module: nn.Module, inputs: Sequence[Any]) -> dict[str, Any]:
    """The content of an opweave.model file for *module*, which *inputs* run through once, without values.

    Sizes are read off weights and off the call of attention of each block; what the description says is held against
    the number of parameters and against the operations of the products. Raises InputError, naming the module, where it
    is no such stack: nothing is guessed.
    """
    from opweave.capture import capture

    graph = capture(module, tuple(inputs), training=False)
    name = type(module).__name__
    blocks = sorted((block for group in graph.blocks for block in group), key=_first_calls(graph).__getitem__)
    if not blocks:
        raise InputError(f"model: {name} has no repeated blocks, expected a stack of equal ones{_HINT}")
    shapes = {path: tuple(parameter.shape) for path, parameter in module.named_parameters()}
    outside = {path: shape for path, shape in shapes.items() if not any(_is_in(path, block) for block in blocks)}
    described = [_block(graph, block, shapes) for block in blocks]
    widths = sorted({one.hidden for one in described})
    if len(widths) > 1:
        raise InputError(
            f"model: blocks of {name} are {' and '.join(map(str, widths))} wide, expected one width{_HINT}"
        )
    ends = _ends(module, graph, outside, widths[0], sum(map(math.prod, shapes.values())))
    layers: list[dict[str, Any]] = []
    for one in described:
        if layers and {**layers[-1], "count": 1} == {"count": 1, **one.layer}:
            layers[-1]["count"] += 1
        else:
            layers.append({"count": 1, **one.layer})
    _expect_products(graph, described, ends["vocabulary"] * widths[0])
    return {"name": name, "hidden": widths[0], **ends, "layers": layers}


@dataclass(frozen=True)
class _Block:
    hidden: int
    layer: dict[str, Any]
    products: int
    """Elements of its matrices."""
    tokens: int
    """That ran through it."""


def _is_in(path: str, block: str) -> bool:
    return path.startswith(block + ".")


def _first_calls(graph: CapturedGraph) -> dict[str, int]:
    """Where each block begins, among the operators."""
    first: dict[str, int] = {}
    for group in graph.blocks:
        for block in group:
            found = (i for i, op in enumerate(graph.operators) if f"{op.get('layer', '')}.".startswith(block + "."))
            first[block] = next(found, len(graph.operators))
    return first


@dataclass(frozen=True)
class _Attention:
    tokens: int
    heads: int
    key_heads: int | None
    head_dim: int | None
    causal: bool


def _attention(graph: CapturedGraph, block: str) -> _Attention:
    """The one call of attention, or the softmax of one that is written out (which computes the whole square)."""
    fused, written_out = [], []
    for op in graph.operators:
        if not f"{op.get('layer', '')}.".startswith(block + "."):
            continue
        for call in graph.calls[op["name"]]:
            if call.kind.startswith("aten._scaled_dot_product_"):
                query, key = call.args[0].shape, call.args[1].shape
                causal = bool(call.to_record()["attention"]["causal"])
                fused.append(_Attention(query[0] * query[-2], query[1], key[1], query[-1], causal))
            elif call.kind in ("aten._softmax", "aten._safe_softmax") and len(call.args[0].shape) == 4:
                batch, heads, tokens, _ = call.args[0].shape
                written_out.append(_Attention(batch * tokens, heads, None, None, False))
    found = fused or written_out
    if len(found) != 1:
        raise InputError(
            f'model: block "{block}" calls attention {len(found)} times, expected scaled_dot_product_attention once'
            f"{_HINT}"
        )
    return found[0]


def _block(graph: CapturedGraph, block: str, shapes: dict[str, tuple[int, ...]]) -> _Block:
    """A layer with attention and a perceptron, from the sizes of its matrices."""
    own = {path: shape for path, shape in shapes.items() if _is_in(path, block)}
    matrices = {path: shape for path, shape in own.items() if len(shape) == 2}
    attention = _attention(graph, block)
    large = next((path for path, shape in own.items() if len(shape) > 2), None)
    found = set() if large else _solutions(list(matrices.values()), attention)
    if len(found) != 1:
        listed = ", ".join(f"{path.removeprefix(block + '.')} {shape}" for path, shape in own.items() if len(shape) > 1)
        raise InputError(
            f'model: block "{block}" is not attention of {attention.heads} heads and one perceptron: {listed}{_HINT}'
        )
    hidden, head_dim, key_heads, width, is_gated = found.pop()
    products = sum(map(math.prod, matrices.values()))
    layer = {
        "attention": {
            "heads": attention.heads, "kv_heads": key_heads, "head_dim": head_dim, "causal": attention.causal
        },
        "mlp": {"width": width, "gated": is_gated},
        "other_parameters": sum(map(math.prod, own.values())) - products,
    }  # fmt: skip
    return _Block(hidden, layer, products, attention.tokens)


def _solutions(matrices: list[tuple[int, ...]], attention: _Attention) -> set[tuple[int, int, int, int, bool]]:
    """Every (hidden, head_dim, key heads, width, gated) whose matrices these are, whichever way they lie."""
    found = set()
    for hidden in set(matrices[0]) if matrices else ():
        if any(hidden not in shape for shape in matrices):
            continue
        sizes = Counter(shape[0] if shape[1] == hidden else shape[1] for shape in matrices)
        for inner in sizes:
            head_dim = inner // attention.heads
            if inner % attention.heads or attention.head_dim not in (None, head_dim):
                continue
            for key_heads in _possible_key_heads(attention):
                for rest in _without_projections(sizes, inner, key_heads * head_dim):
                    perceptron = _perceptron(sorted(rest.elements()))
                    if perceptron is not None:
                        found.add((hidden, head_dim, key_heads, *perceptron))
    return found


def _possible_key_heads(attention: _Attention) -> list[int]:
    """As the call says; keys that were repeated for it may be fewer."""
    if attention.key_heads not in (None, attention.heads):
        return [int(attention.key_heads or 0)]
    return [count for count in range(1, attention.heads + 1) if attention.heads % count == 0]


def _without_projections(sizes: Counter[int], inner: int, keys: int) -> list[Counter[int]]:
    """What is left without queries, keys, values and output: three matrices, two, or one for the first three."""
    left = []
    for form in ([inner, keys, keys], [inner, 2 * keys], [inner + 2 * keys]):
        taken = Counter([inner, *form])
        if all(sizes[size] >= count for size, count in taken.items()):
            left.append(sizes - taken)
    return left


def _perceptron(sizes: list[int]) -> tuple[int, bool] | None:
    """Width and whether it is gated: up and down; gate, up and down; or the first two in one."""
    if len(sizes) == 2 and sizes[0] == sizes[1]:
        return sizes[0], False
    if len(sizes) == 3 and sizes[0] == sizes[2]:
        return sizes[0], True
    if len(sizes) == 2 and sizes[1] == 2 * sizes[0]:
        return sizes[0], True
    return None


def _ends(
    module: nn.Module, graph: CapturedGraph, outside: dict[str, tuple[int, ...]], hidden: int, total: int
) -> dict[str, Any]:
    """Embedding and head, and what else stands outside of blocks."""
    from torch import nn

    tables = {
        f"{path}.weight" for path, part in module.named_modules() if isinstance(part, nn.Embedding)
    } & set(outside)  # fmt: skip
    multiplied = {
        parameter
        for op in graph.operators
        if any(call.kind in ("aten.mm", "aten.addmm", "aten.linear", "aten.bmm") for call in graph.calls[op["name"]])
        for parameter in op.get("parameters", ())
    }
    rest = dict(outside)
    ends = {"vocabulary": 0, "tied_embeddings": False}
    for table in sorted(tables, key=lambda path: -outside[path][0]):
        rows, columns = outside[table]
        head = next((path for path in outside if path not in tables and outside[path] == (rows, columns)), None)
        if columns == hidden and (head in multiplied or table in multiplied):
            ends = {"vocabulary": rows, "tied_embeddings": head is None}
            rest.pop(table)
            if head is not None:
                rest.pop(head)
            break
    for path, shape in rest.items():
        if math.prod(shape) > _MOST_OUTSIDE * total:
            raise InputError(
                f'model: parameter "{path}" {shape} is in no block, and no embedding with a head of its size{_HINT}'
            )
    return {**ends, "other_parameters": sum(map(math.prod, rest.values()))}


def _expect_products(graph: CapturedGraph, blocks: Sequence[_Block], head: int) -> None:
    """What the description says of products is what runs: nothing twice, nothing beside."""
    attention = ("aten._scaled_dot_product_", "aten.bmm")
    found = sum(call.flops for calls in graph.calls.values() for call in calls if not call.kind.startswith(attention))
    said = sum(2 * block.tokens * block.products for block in blocks) + 2 * blocks[0].tokens * head
    if abs(found - said) > _MOST_UNEXPLAINED * said:
        raise InputError(
            f"model: its products take {found:.4g} operations, those of its blocks, embedding and head {said:.4g}: "
            f"something runs more than once or stands elsewhere{_HINT}"
        )
