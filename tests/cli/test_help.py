import pytest
from conftest import fails, opweave, succeeds

COMMANDS = ["plan", "check", "simulate", "bounds", "pareto", "compare", "convert", "partition", "report", "explain", "show",
            "diff", "what-if", "completion", "manual"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_shows_an_example(command):
    text = succeeds(command, "--help")
    assert "Example" in text
    assert f"opweave {command}" in text


@pytest.mark.parametrize("kind", ["pipeline", "fjs", "msr", "csv", "expert"])
def test_every_kind_of_conversion_has_help(kind):
    assert "--output" in succeeds("convert", kind, "--help")


def test_help_names_all_commands_and_exit_codes():
    text = succeeds("--help")
    for command in [*COMMANDS, "version"]:
        assert f"\n  {command} " in text
    for code in ["0", "2", "3", "70", "130"]:
        assert code in text


def test_version_is_one_line():
    assert succeeds("version").startswith("opweave ")


def test_no_command_is_an_error_with_a_hint():
    fails(2)
    assert "hint: see `opweave --help`" in opweave().stderr


def test_unknown_option_is_an_error_that_names_it():
    assert "--fast" in fails(2, "plan", "a.json", "b.json", "--fast")
    assert "hint: see `opweave plan --help`" in opweave("plan", "a.json", "b.json", "--fast").stderr


def test_number_that_is_none_is_an_error_that_names_the_option():
    assert "--seed" in fails(2, "plan", "a.json", "b.json", "--seed", "soon")
    assert "--time-limit" in fails(2, "plan", "a.json", "b.json", "--time-limit", "-1")
