"""The folder rule of docs/architecture.md holds, and scripts/architecture sees where it would not."""

import os
import pathlib
import shutil
import subprocess

import pytest

SOURCE = pathlib.Path(os.environ.get("OPWEAVE_SOURCE") or pathlib.Path(__file__).resolve().parents[2])
SCRIPT = SOURCE / "scripts/architecture"


def lines_of(root, *options):
    done = subprocess.run([SCRIPT, *options, root], capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == bool(done.stderr)
    return done.stderr.splitlines()


@pytest.fixture
def copy(tmp_path):
    """What the script reads, to be spoiled."""
    for folder in ["src", "include", "docs/pictures"]:
        shutil.copytree(SOURCE / folder, tmp_path / folder)
    shutil.copy(SOURCE / "docs/architecture.md", tmp_path / "docs")
    return tmp_path


def append(path, text):
    path.write_text(path.read_text() + text)


def test_every_folder_uses_those_above_it_alone():
    assert lines_of(SOURCE) == []


@pytest.mark.parametrize(
    ("file", "included", "reason"),
    [
        ("src/bounds/load_bound.cpp", "planner/restrict.h", "bounds/: planner/ is below it"),
        ("src/core/problem.cpp", "opweave/planner.h", "core/: planner/ is below it"),
        ("include/opweave/plan.h", "opweave/bounds.h", "core/: bounds/ is below it"),
        ("src/check/check.cpp", "cost/collective.h", "check/: may use core alone"),
    ],
)
def test_an_include_from_below_is_named(copy, file, included, reason):
    append(copy / file, f'#include "{included}"\n')
    assert lines_of(copy) == [f'{file}: includes "{included}", but {reason} (docs/architecture.md)']


def test_a_folder_without_a_row_and_a_row_without_a_folder_are_named(copy):
    (copy / "src/cost").rename(copy / "src/prices")
    (copy / "include/opweave/new.h").write_text("")
    assert lines_of(copy) == [
        "docs/architecture.md: folder prices/ has no row",
        "docs/architecture.md: folder cost/ does not exist",
        "docs/architecture.md: public header new.h is in no row",
    ]


# As an enum class of contiguous.h and a struct of the planner once were: undefined behaviour that no compiler sees.
def test_a_type_that_two_files_define_is_named(copy):
    assert "\nenum class Shift : std::uint8_t {\n" in (copy / "src/placement/contiguous.h").read_text()
    append(copy / "src/planner/run_methods.h", "\nnamespace opweave {\nstruct Shift { int by = 0; };\n}\n")
    append(
        copy / "src/planner/restrict.cpp", "\nnamespace opweave {\nnamespace {\nstruct Shift {};\n}  // namespace\n}\n"
    )
    named = [line for line in lines_of(copy) if line.startswith("opweave::Shift ")]
    assert len(named) == 1
    assert "src/placement/contiguous.h and " in named[0]
    assert named[0].endswith("src/planner/run_methods.h: one name, one type")


def test_the_picture_follows_the_includes(copy):
    append(copy / "src/bounds/load_bound.cpp", '#include "cost/collective.h"\n')
    assert lines_of(copy) == [
        "docs/pictures/folders.svg: not what the includes say; scripts/architecture --draw draws it"
    ]
    assert lines_of(copy, "--draw") == []
    assert lines_of(copy) == []


def defined_twice(symbols):
    """Functions and variables that two files of a library define, from the lines of `nm --print-file-name`."""
    seen = {}
    twice = set()
    for line in symbols.splitlines():
        place, _, rest = line.rpartition(":")
        fields = rest.split()
        if len(fields) == 3 and fields[1] in "TDBR":  # what is inline or a template may be in many
            if seen.setdefault(fields[2], place) != place:
                twice.add(fields[2])
    return sorted(twice)


def test_what_two_files_define_is_found():
    assert defined_twice("lib.a:a.o:00 T _Z1fv\nlib.a:a.o:10 W _Z1gv\nlib.a:b.o:00 W _Z1gv\nlib.a:b.o:08 T _Z1hv") == []
    assert defined_twice("lib.a:a.o:00 T _Z1fv\nlib.a:b.o:00 T _Z1fv\nlib.a:b.o:08 B x") == ["_Z1fv"]


# A linker takes from a library the first definition that it needs and never looks at another one.
def test_no_function_and_no_variable_of_the_library_is_defined_twice():
    program = os.environ.get("OPWEAVE_BIN")
    library = pathlib.Path(program).parent / "src/libopweave_core.a" if program else None
    if library is None or not library.exists() or shutil.which("nm") is None:
        pytest.skip("needs a build folder and nm")
    nm = ["nm", "--print-file-name", "--defined-only", library]
    done = subprocess.run(nm, capture_output=True, text=True, check=True)
    assert " T " in done.stdout
    assert defined_twice(done.stdout) == []
