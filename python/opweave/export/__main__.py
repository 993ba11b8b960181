"""Exports from the command line: `python -m opweave.export pytorch plan.json graph.json -o schedule.csv`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from opweave.export import layers_by_stage, megatron_layout, pytorch_csv, torchtitan_settings
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
    parser.add_argument("-o", "--output", type=Path, help="file, or folder for torchtitan [standard output; .]")
    options = parser.parse_args(arguments)
    try:
        if options.target == "torchtitan":
            program = compile_plan(options.plan, options.graph, options.segments)
            path = torchtitan_settings(program, layers_by_stage(program, options.graph)).save(options.output or ".")
            print(path)
            return 0
        if options.target == "pytorch":
            text = pytorch_csv(compile_plan(options.plan, options.graph, options.segments), options.dialect)
        else:
            placement = compile_placement(options.plan, options.graph, options.segments)
            layout = megatron_layout(placement, layers_by_stage(placement, options.graph))
            text = " ".join(layout.arguments()[:3]) + f' "{layout.layout}"\n'
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
