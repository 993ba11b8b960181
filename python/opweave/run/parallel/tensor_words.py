"""How the modules of known architectures lie over the tensor axis, in torch's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import nn
from torch.distributed.tensor import Placement, Replicate, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, SequenceParallel

from opweave.run.errors import ProgramError

Word = Literal["columns", "rows", "vocabulary", "head", "norm"]

# Names of projections in transformers (Llama, Mistral, Qwen, Gemma, ...), torchtitan and the original Llama.
_COLUMNS = {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "wq", "wk", "wv", "w1", "w3"}
_ROWS = {"o_proj", "down_proj", "wo", "w2"}
_HEADS = {"lm_head", "output", "embed_out"}

_TEXT = {
    "columns": "ColwiseParallel(input_layouts={here})",
    "rows": "RowwiseParallel(output_layouts={here})",
    "vocabulary": "RowwiseParallel(input_layouts=Replicate(), output_layouts={here})",
    "head": "ColwiseParallel(input_layouts={here}, output_layouts=Replicate())",
    "norm": "SequenceParallel()",
}


def tensor_plan(module: nn.Module, *, tokens_split: bool) -> dict[str, Word]:
    """A word for each part of *module* (by path) that the tensor axis shares out, from the names of its parts.

    columns, rows: of the weight of a projection; vocabulary: rows of an embedding; head: columns, of which the results
    are gathered; norm: its tokens are shared out, where *tokens_split* (sequence parallelism). What has another name
    stays whole on each rank, which is as right, and slower; under *tokens_split* the executor refuses it by name.
    """
    plan: dict[str, Word] = {}
    for path, part in module.named_modules():
        name = path.rsplit(".", 1)[-1]
        if isinstance(part, nn.Embedding):
            plan[path] = "vocabulary"
        elif isinstance(part, nn.Linear) and name in _HEADS:
            plan[path] = "head"
        elif isinstance(part, nn.Linear) and name in _COLUMNS:
            plan[path] = "columns"
        elif isinstance(part, nn.Linear) and name in _ROWS:
            plan[path] = "rows"
        elif tokens_split and type(part).__name__.endswith("Norm") and not list(part.children()):
            plan[path] = "norm"
    return plan


def styles(plan: Mapping[str, Word], *, tokens_split: bool) -> dict[str, ParallelStyle]:
    """The plan for torch's parallelize_module, which makes DTensors of the parameters."""
    here = Shard(1) if tokens_split else Replicate()
    result: dict[str, ParallelStyle] = {}
    for path, word in plan.items():
        if word == "columns":
            result[path] = ColwiseParallel(input_layouts=here)
        elif word == "rows":
            result[path] = RowwiseParallel(output_layouts=here)
        elif word == "vocabulary":
            result[path] = RowwiseParallel(input_layouts=Replicate(), output_layouts=here)
        elif word == "head":
            result[path] = ColwiseParallel(input_layouts=here, output_layouts=Replicate())
        elif word == "norm":
            result[path] = SequenceParallel()
        else:
            raise ProgramError(f"tensor plan: {path!r} is {word!r}, expected {', '.join(_TEXT)}")
    return result


def parallelize_plan(plan: Mapping[str, Word], *, tokens_split: bool) -> str:
    """The plan as a Python file: `parallelize_module(model, mesh, PLAN)`."""
    here = "Shard(1)" if tokens_split else "Replicate()"
    lines = [f"    {path!r}: {_TEXT[word].format(here=here)}," for path, word in plan.items()]
    return "\n".join(
        [
            "from torch.distributed.tensor import Replicate, Shard",
            "from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, SequenceParallel",
            "",
            "PLAN = {",
            *lines,
            "}",
            "",
        ]
    )


def require_ends(splits: Mapping[str, tuple[bool, bool]], plans: Mapping[str, Mapping[str, ParallelStyle]]) -> None:
    """Raises ProgramError for a segment that takes whole tokens and makes shares of them, or the reverse (*splits*, as
    `spread` has them), without a style that does so: as behind an embedding, or before a head."""
    for name, (takes, makes) in splits.items():
        given, made = (Replicate(), Shard(1)) if makes else (Shard(1), Replicate())
        if takes == makes or any(_changes(style, given, made) for style in plans.get(name, {}).values()):
            continue
        raise ProgramError(
            f"segment {name!r} has no {'embedding' if makes else 'head'} in its tensor plan, behind which tokens "
            + ("lie over the tensor axis" if makes else "are whole again")
        )


def _changes(style: ParallelStyle, given: Placement, made: Placement) -> bool:
    """Whether a style takes tensors in one layout and hands them on in the other."""
    sides = [("input_layouts", "output_layouts"), ("input_layouts", "desired_input_layouts"),
             ("output_layouts", "desired_output_layouts")]  # fmt: skip
    return any(given in (getattr(style, a, None) or ()) and made in (getattr(style, b, None) or ()) for a, b in sides)
