import re

import pytest
from conftest import fails, opweave, succeeds


def commands_below(*path):
    """The words of every command that does something, as help lists them."""
    listed = succeeds(*path, "--help").partition("\nSubcommands:\n")[2].partition("\n\n")[0]
    for name in re.findall(r"^  (\S+) ", listed, re.MULTILINE):
        below = list(commands_below(*path, name))
        yield from below or [(*path, name)]


def test_help_of_every_command_shows_an_example_of_its_own():
    commands = list(commands_below())
    assert ("plan",) in commands and ("convert", "hf") in commands and ("sweep", "run") in commands
    for command in commands:
        examples = succeeds(*command, "--help").partition("\nExample")[2]
        if command not in [("version",), ("worker",)]:  # opweave itself starts workers
            first = re.search(r"opweave (.*)", examples)[1]
            assert first.startswith(" ".join(command)), command


@pytest.mark.parametrize("kind", ["pipeline", "fjs", "jsp", "msr", "csv", "expert", "strategy", "recipe"])
def test_every_kind_of_conversion_has_help(kind):
    assert "--output" in succeeds("convert", kind, "--help")


def test_help_names_all_commands_and_exit_codes():
    text = succeeds("--help")
    for command in ("plan", "check", "parallelize", "sweep", "convert", "version"):
        assert f"\n  {command} " in text
    for code in ["0", "2", "3", "4", "70", "130"]:
        assert code in text


def test_version_is_one_line():
    assert succeeds("version").startswith("opweave ")
    assert succeeds("--version") == succeeds("version")


def test_no_command_is_an_error_with_a_hint():
    fails(2)
    assert "hint: see `opweave --help`" in opweave().stderr


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["pln"], 'opweave: command "pln" is unknown', 'did you mean "plan"?'),
        (["convert", "pipelin", "x.json"], 'opweave convert: command "pipelin" is unknown', 'did you mean "pipeline"?'),
        (["xyzzy"], 'opweave: command "xyzzy" is unknown', "see `opweave --help`"),
        (
            ["sweep", "config.json"],
            'opweave sweep: command "config.json" is unknown',
            "commands are run and merge; see `opweave sweep --help`",
        ),
        (["convert"], "opweave convert: a command is missing", "see `opweave convert --help`"),
        (
            ["explain", "plan.json"],
            "CLUSTER is required",
            "opweave explain GRAPH CLUSTER PLAN; see `opweave explain --help`",
        ),
        (
            ["diff", "a.json"],
            "FILES: At least 2 required but received 1",
            "opweave diff A B, or GRAPH CLUSTER A B; see `opweave diff --help`",
        ),
    ],
)
def test_wrong_words_are_answered_with_the_right_ones(words, error, hint):
    assert opweave(*words).stderr == f"error: {error}\nhint: {hint}\n"


def test_unknown_option_is_an_error_that_names_it():
    assert "--fast" in fails(2, "plan", "a.json", "b.json", "--fast")
    assert "hint: see `opweave plan --help`" in opweave("plan", "a.json", "b.json", "--fast").stderr


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--seed", "soon", "an integer of 0 to 18446744073709551615"),
        ("--seed", "-1", "an integer of 0 to 18446744073709551615"),
        ("--threads", "0", "an integer of 1 to 4294967295"),
        ("--microbatches", "5000000000", "an integer of 1 to 4294967295"),
        ("--time-limit", "-1", "a number of at least 0"),
        ("--time-limit", "nan", "a number of at least 0"),
    ],
)
def test_number_out_of_range_is_an_error_that_says_what_was_expected(option, value, expected):
    assert (
        fails(2, "plan", "a.json", "b.json", option, value)
        == f'error: {option}: value is "{value}", expected {expected}'
    )
