"""Settings for torchtitan."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opweave.export.pytorch import pytorch_csv
from opweave.run.chain import ranks_of, stages_of
from opweave.run.errors import ProgramError
from opweave.run.program import Program


@dataclass(frozen=True)
class TorchtitanSettings:
    """The `parallelism` section, and the schedule that it points to.

    The local batch size divided by the microbatch size must be `microbatches`.
    """

    parallelism: dict[str, object]
    schedule_csv: str
    microbatches: int

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes parallelism.toml and the schedule; returns the path of the former."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        Path(folder / str(self.parallelism["pipeline_parallel_schedule_csv"])).write_text(self.schedule_csv)
        lines = ["[parallelism]"]
        # JSON strings, integers and lists are TOML as well.
        lines += [f"{key} = {json.dumps(value, ensure_ascii=True)}" for key, value in self.parallelism.items()]
        path = folder / "parallelism.toml"
        path.write_text("\n".join(lines) + "\n")
        return path


def torchtitan_settings(
    program: Program, modules: Sequence[Sequence[str]], csv_name: str = "schedule.csv"
) -> TorchtitanSettings:
    """Settings with which torchtitan runs a program; `modules` names the modules of every stage ("tok_embeddings",
    "layers.0", ..., "norm", "output").

    torchtitan derives the stages of a rank from the name of the schedule, so only three maps exist: one stage per rank
    (1F1B), stage s on rank s mod P (Interleaved1F1B) and the V (ZBVZeroBubble). The name chooses the map; the order is
    that of the CSV.

    Raises ProgramError for other maps, and as `pytorch_csv`.
    """
    names = stages_of(program)
    if len(modules) != len(names):
        raise ProgramError(f"modules has {len(modules)} entries, expected one for each of {len(names)} stages")
    empty = [names[stage] for stage, listed in enumerate(modules) if not listed]
    if empty:
        raise ProgramError(f'stage "{empty[0]}" has no modules')
    listed = [module for stage in modules for module in stage]
    twice = [module for module in listed if listed.count(module) > 1]
    if twice:
        raise ProgramError(f'module "{twice[0]}" is in two places, expected one stage')
    return TorchtitanSettings(
        {
            "pipeline_parallel_degree": program.processes,
            "pipeline_parallel_schedule": _schedule_of_map(program),
            "pipeline_parallel_schedule_csv": csv_name,
            "module_fqns_per_model_part": [list(stage) for stage in modules],
        },
        pytorch_csv(program, "compute_only"),
        program.microbatches,
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
