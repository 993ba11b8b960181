"""Configuration for torchtitan 0.3."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opweave import _core
from opweave.export.names import is_numbered, role_of, whole_layers
from opweave.export.pytorch import pytorch_csv
from opweave.run.chain import ranks_of, stages_of
from opweave.run.errors import ProgramError
from opweave.run.program import Program

_MODULE = "opweave_config"


@dataclass(frozen=True)
class TorchtitanSettings:
    """What of torchtitan's `parallelism` and `training` follows from a plan, and the schedule."""

    parallelism: dict[str, object]
    training: dict[str, object]
    schedule_csv: str
    microbatches: int
    base: str | None  #: configuration function of torchtitan that it starts from

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes opweave_config.py and the schedule beside it; returns the path of the former.

        The module has `planned(config)`, which puts the plan into a `Trainer.Config` and raises ValueError where the
        model has other modules than the plan; and with a base a function of its name, so that in that folder
        `--module opweave_config --config NAME` starts the run.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(self.parallelism["pipeline_parallel_schedule_csv"])).write_text(self.schedule_csv)
        path = folder / f"{_MODULE}.py"
        path.write_text(self._source())
        return path

    def _source(self) -> str:
        def shown(key: str, value: object) -> str:
            if key != "pipeline_parallel_schedule_csv":
                return repr(value)
            return f"str(Path(__file__).resolve().with_name({value!r}))"

        parallelism = [(key, shown(key, value)) for key, value in self.parallelism.items()]
        training = [(key, shown(key, value)) for key, value in self.training.items()]
        return _core.torchtitan_module(parallelism, training, self.base or "")


def torchtitan_modules(layers: Sequence[Sequence[str]]) -> list[list[str]]:
    """Modules of torchtitan's decoders ("tok_embeddings", "layers.0", ..., "norm", "lm_head") for the layers of every
    stage, or modules of them, by what their names say (`role_of`).

    The last norm is before the head where nothing names it. What torchtitan computes within others has no module:
    rotary tables, dropout, the loss. Raises ProgramError for layers that its decoders do not have, and as
    `whole_layers`.
    """
    stages = whole_layers(layers, "torchtitan")
    decoders = sum(_is_decoder(layer) for stage in stages for layer in stage)
    result: list[list[str]] = []
    number = 0
    for stage in stages:
        modules: list[str] = []
        for layer in stage:
            if _is_decoder(layer):
                modules.append(f"layers.{number}")
                number += 1
            elif (role := role_of(layer)) in ("embedding", "head"):
                modules.append("tok_embeddings" if role == "embedding" else "lm_head")
            elif role == "norm" and number == decoders:
                modules.append("norm")
            elif role not in ("rotary", "dropout", "loss"):
                raise ProgramError(
                    f'layer "{layer}" is no module of torchtitan\'s decoders: tok_embeddings, layers.N, norm, lm_head'
                )
        result.append(list(dict.fromkeys(modules)))
    if not any("norm" in stage for stage in result):
        result = [
            [m for module in stage for m in (["norm"] if module == "lm_head" else []) + [module]] for stage in result
        ]
    return result


def _is_decoder(layer: str) -> bool:
    return role_of(layer) == "decoder" and is_numbered(layer)


def torchtitan_settings(
    program: Program,
    modules: Sequence[Sequence[str]],
    csv_name: str = "schedule.csv",
    *,
    base: str | None = None,
    microbatch_size: int = 1,
) -> TorchtitanSettings:
    """Settings with which torchtitan runs a program; `modules` names the modules of every stage ("tok_embeddings",
    "layers.0", ..., "norm", "lm_head"; see `torchtitan_modules`).

    torchtitan derives the stages of a rank from the name of the schedule, so only three maps exist: one stage per rank
    (1F1B), stage s on rank s mod P (Interleaved1F1B) and the V (ZBVZeroBubble). The name chooses the map; the order is
    that of the CSV. `base` is a configuration function of torchtitan ("llama3.llama3_8b"), `microbatch_size` is in
    sequences.

    Raises ProgramError for other maps, for modules of its decoders that are missing or have other names, and as
    `pytorch_csv`.
    """
    names = stages_of(program)
    if len(modules) != len(names):
        raise ProgramError(f"modules has {len(modules)} entries, expected one for each of {len(names)} stages")
    empty = [names[stage] for stage, listed in enumerate(modules) if not listed]
    if empty:
        raise ProgramError(f'stage "{empty[0]}" has no modules')
    if base is not None and not re.fullmatch(r"\w+\.\w+", base):
        raise ProgramError(f'base: value is "{base}", expected module and function, like "llama3.llama3_8b"')
    _require_modules([module for stage in modules for module in stage])
    return TorchtitanSettings(
        {
            "pipeline_parallel_degree": program.processes,
            "pipeline_parallel_schedule": _schedule_of_map(program),
            "pipeline_parallel_schedule_csv": csv_name,
            "pipeline_parallel_microbatch_size": microbatch_size,
            "module_fqns_per_model_part": [list(stage) for stage in modules],
        },
        {
            "local_batch_size": program.microbatches * microbatch_size,
            "global_batch_size": -1,  # a step is one iteration of the plan on every data-parallel rank
            "disable_cuda_graphs": True,  # torchtitan 0.3 refuses them beside a pipeline
        },
        pytorch_csv(program, "compute_only"),
        program.microbatches,
        base,
    )


def _require_modules(listed: Sequence[str]) -> None:
    """torchtitan's splitter drops what no stage names, without an error."""
    twice = [module for module in listed if listed.count(module) > 1]
    if twice:
        raise ProgramError(f'module "{twice[0]}" is in two places, expected one stage')
    if "tok_embeddings" not in listed:
        return  # a model of the user's own
    layers = [module for module in listed if module.startswith("layers.")]
    expected = ["tok_embeddings", *(f"layers.{number}" for number in range(len(layers))), "norm", "lm_head"]
    missing = [module for module in expected if module not in listed]
    other = [module for module in listed if module not in expected and module != "vision_encoder"]
    if missing or other:
        raise ProgramError(
            f"modules have {', '.join(other) or 'all others'} and lack {', '.join(missing) or 'none'}; torchtitan 0.3 "
            "leaves out of the model what no stage names: tok_embeddings, layers.N, norm, lm_head"
        )


def _schedule_of_map(program: Program) -> str:
    """The schedule whose stage map is that of the program."""
    ranks, size = ranks_of(program), program.processes
    if ranks == list(range(size)):
        return "1F1B"
    if len(ranks) % size == 0 and ranks == [stage % size for stage in range(len(ranks))]:
        return "Interleaved1F1B"
    if len(ranks) == 2 * size and ranks == [min(stage, 2 * size - 1 - stage) for stage in range(2 * size)]:
        return "ZBVZeroBubble"
    raise ProgramError(
        f"stages lie on ranks {ranks}; torchtitan knows one stage per rank, stage s on rank s mod {size}, and the V"
    )
