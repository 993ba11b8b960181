"""Runs every code block of the documents, page by page, in a temporary folder.

A block says by its language what happens to it:

- sh       is run by bash; it must exit with 0. The blocks of a page share one folder. `opweave` is the program under
           test, with a short limit of time for `plan`.
- python   is run by this Python, with the package `opweave` of the build folder; left out where that was not built.
- json     must be JSON. With "format": "opweave.<kind>" it is also read by opweave's own reader, as `check_json` says.
- text     is an illustration: output, a picture, a pattern. Nothing is run.
- others   (html, cpp, ...) are not allowed, nor is a block without a language: so that no command is left out by mistake.

HTML comments before a block, invisible to readers, say what it needs:

    <!-- setup: COMMAND -->     is run before it
    <!-- needs: MODULE -->      is left out where this Python has no such module, or where "opweave" was not built
    <!-- instead: COMMAND -->   is run in its place, where the block installs something or runs this very test
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest
from pages import PAGES, ROOT, blocks

OPWEAVE = pathlib.Path(os.environ.get("OPWEAVE_BIN", ROOT / "build/default/opweave")).resolve()
PACKAGE = pathlib.Path(os.environ.get("OPWEAVE_PACKAGE", ROOT / "build/default/python"))
# Tests of pages run side by side, one page each: OPWEAVE_PAGE names it. Without it all are run.
CHOSEN = [page for page in PAGES if os.environ.get("OPWEAVE_PAGE", str(page)) == str(page)]

# Stands before the program on PATH: pages that plan in earnest would take minutes. Half a second is enough for a plan.
SHIM = """#!/bin/bash
if [ "$1" = plan ]; then
  case " $* " in *" --time-limit "* | *" --work-limit "* | *" --help "*) ;; *) set -- "$@" --time-limit 1 ;; esac
  for word in "$@"; do
    shift
    [ "$last" != --time-limit ] || word=0.5
    set -- "$@" "$word"
    last=$word
  done
fi
exec "{program}" "$@"
"""


def is_there(module):
    return bool(list(PACKAGE.glob("opweave/_core*")) if module == "opweave" else importlib.util.find_spec(module))


def is_run(block):
    needed = block.all("needs") + ["opweave"] * (block.language == "python")
    return all(is_there(module) for module in needed)


def run(command, folder, environment):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, (
        f"{command}\nexits with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    )


def environment_for(folder):
    programs = folder / ".programs"
    programs.mkdir()
    shim = programs / "opweave"
    shim.write_text(SHIM.format(program=OPWEAVE))
    shim.chmod(0o755)
    if importlib.util.find_spec("highsbox"):  # a solver beside ours, as users have it on their path
        import highsbox

        highs = programs / "highs"
        highs.write_text(
            f'#!/bin/sh\nLD_LIBRARY_PATH="{highsbox.highs_lib_dir()}" exec "{highsbox.highs_bin_path()}" "$@"\n'
        )
        highs.chmod(0o755)
    paths = [str(PACKAGE), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PATH": f"{programs}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        "OPWEAVE_SOURCE": str(ROOT),
        "OPWEAVE_PACKAGE": str(PACKAGE),
        "HOME": str(folder),
    }


def check_json(text, folder, environment):
    """Reads the document with the command that is for it; plans and strategies where the page has what they are for."""
    value = json.loads(text)
    kind = value.get("format", "").removeprefix("opweave.") if isinstance(value, dict) else ""
    if not kind:
        return
    (folder / f"{kind}.json").write_text(text)
    if kind == "pipeline":
        run(
            "opweave convert pipeline pipeline.json --shape free --devices 2 -o p.graph.json --cluster p.cluster.json",
            folder,
            environment,
        )
    if kind == "plan":
        run("opweave check graph.json cluster.json plan.json", folder, environment)
    batch = "--global-batch 64 --sequence 2048"
    if kind == "model":
        run(f"opweave parallelize model.json --cluster h100 {batch}", folder, environment)
    if kind == "machines":
        run(f"opweave parallelize model.json --cluster machines.json {batch}", folder, environment)
    if kind == "strategy":
        run(f"opweave parallelize model.json --cluster h100 {batch} --evaluate strategy.json", folder, environment)
    if kind == "measured-steps":
        run("opweave calibrate measured-steps.json", folder, environment)
    if kind == "profile":
        run(f"opweave parallelize model.json --cluster h100 {batch} --profile profile.json", folder, environment)


@pytest.mark.parametrize("page", CHOSEN, ids=str)
def test_every_block_of_the_page_runs(page, tmp_path):
    environment = environment_for(tmp_path)
    for block in blocks(page):
        assert block.language in ("sh", "python", "json", "text"), f"{page}: ```{block.language}\n{block.text[:200]}"
        if block.language == "text" or not is_run(block):
            continue
        for command in block.all("setup"):
            run(command, tmp_path, environment)
        if instead := block.all("instead"):
            run("\n".join(instead), tmp_path, environment)
        elif block.language == "sh":
            run(block.text, tmp_path, environment)
        elif block.language == "python":
            script = tmp_path / "block.py"
            script.write_text(block.text)
            run(f"'{sys.executable}' block.py", tmp_path, environment)
        else:
            check_json(block.text, tmp_path, environment)


def test_every_chosen_page_exists():
    assert CHOSEN, os.environ.get("OPWEAVE_PAGE")


def test_the_pages_have_blocks_that_run():
    count = sum(block.language == "sh" and is_run(block) for page in PAGES for block in blocks(page))
    assert count >= 12, count
