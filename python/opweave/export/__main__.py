"""Exports from the command line: `python -m opweave.export pytorch plan.json graph.json -o schedule.csv`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from opweave.export import layers_by_stage, megatron_layout, pytorch_csv, torchtitan_modules, torchtitan_settings
from opweave.run import compile_placement, compile_plan


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 with one line where the plan or the target does not allow it."""
    parser = argparse.ArgumentParser(prog="python -m opweave.export", description="a plan for another framework")
    parser.add_argument("target", choices=["pytorch", "torchtitan", "megatron"], help="what to write (docs/export.md)")
    parser.add_argument("plan", type=Path, help="plan (JSON)")
    parser.add_argument("graph", type=Path, help="graph of the plan (JSON)")
    parser.add_argument(
        "--segments",
        choices=["operator", "layer", "stage"],
        default="stage",
        help="what makes operators one stage [stage]",
    )
    parser.add_argument(
        "--dialect",
        choices=["compute_only", "compute_comms"],
        default="compute_only",
        help="of PyTorch's CSV [compute_only]",
    )
    parser.add_argument("--base", help="configuration function of torchtitan to start from, like llama3.llama3_8b")
    parser.add_argument("--microbatch-size", type=int, default=1, help="sequences of a microbatch, for torchtitan [1]")
    parser.add_argument("-o", "--output", type=Path, help="file, or folder for torchtitan [standard output; .]")
    options = parser.parse_args(arguments)
    try:
        if options.target == "torchtitan":
            program = compile_plan(options.plan, options.graph, options.segments, pairs=True)
            modules = torchtitan_modules(layers_by_stage(program, options.graph))
            settings = torchtitan_settings(program, modules, base=options.base, microbatch_size=options.microbatch_size)
            print(settings.save(options.output or "."))
            return 0
        if options.target == "pytorch":
            text = pytorch_csv(compile_plan(options.plan, options.graph, options.segments, pairs=True), options.dialect)
        else:
            placement = compile_placement(options.plan, options.graph, options.segments)
            layout = megatron_layout(placement, layers_by_stage(placement, options.graph))
            text = " ".join(layout.arguments()[:-1]) + f' "{layout.layout}"\n'
        if options.output:
            options.output.write_text(text)
        else:
            sys.stdout.write(text)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
