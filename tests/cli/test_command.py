"""What all commands share, on a small tool of their own."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from atft_gat_fan import errors
from atft_gat_fan.cli.command import command
from atft_gat_fan.cli.output import LOG_WIDTH, Output, facts_table


def run(function: Callable[..., None], *arguments: str, columns: str | None = None) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    command(app)(function)
    return CliRunner(env={"COLUMNS": columns, "NO_COLOR": "1"}).invoke(app, list(arguments))


def raising(error: BaseException) -> Callable[[Output], None]:
    def work(output: Output) -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.AtftError("m"), 1),
        (errors.GateError("m"), 3),
        (errors.DataError("m"), 65),
        (errors.MemoryLimitError("m"), 69),
        (errors.NonFiniteError("m"), 70),
        (errors.StorageError("m"), 74),
        (errors.ConfigError("m"), 78),
        (errors.InterruptedRunError("m", 75), 75),
        (errors.InterruptedRunError("m", 143), 143),
    ],
)
def test_an_error_of_the_user_is_a_message_and_its_code(error: errors.AtftError, code: int) -> None:
    result = run(raising(error))
    assert (result.exit_code, result.stderr, result.stdout) == (code, "error: m\n", "")


def test_messages_are_printed_as_they_are_and_never_wrapped() -> None:
    text = f"[bold]{'/long path' * 40}[/]: :smile: 1, 2\n  2. second line"
    assert run(raising(errors.ConfigError(text))).stderr == f"error: {text}\n"


def test_an_unforeseen_error_is_one_line_and_a_hint() -> None:
    result = run(raising(KeyError("x")))
    assert result.exit_code == 1
    assert result.stderr == "error: KeyError: 'x'; this was not foreseen, --debug shows where it happened\n"


@pytest.mark.parametrize("error", [errors.ConfigError("m"), KeyError("x"), KeyboardInterrupt()])
def test_debug_shows_the_traceback_and_keeps_the_code(error: BaseException) -> None:
    plain, debugged = run(raising(error)), run(raising(error), "--debug")
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debugged.stderr
    assert debugged.exit_code == plain.exit_code


def test_an_interrupt_exits_with_130() -> None:
    result = run(raising(KeyboardInterrupt()))
    assert (result.exit_code, result.stderr) == (130, "error: interrupted\n")


def test_usage_errors_stay_usage_errors() -> None:
    assert run(raising(typer.BadParameter("m"))).exit_code == 2
    assert run(raising(typer.Exit(5))).exit_code == 5
    assert run(lambda output: None, "--nosuch").exit_code == 2


def test_json_alone_reaches_stdout() -> None:
    def work(output: Output) -> None:
        print("a chatty library")
        output.console.print("progress")
        facts = {"path": Path("a"), "day": date(2020, 1, 2), "nan": float("nan"), "x": (1, 2.5, None)}
        output.result(facts, text="for people")

    result = run(work, "--json")
    assert json.loads(result.stdout) == {"path": "a", "day": "2020-01-02", "nan": None, "x": [1, 2.5, None]}
    assert result.stderr == "a chatty library\nprogress\n"
    assert run(work).stdout == "for people\n"


def test_facts_are_a_line_each() -> None:
    def work(output: Output) -> None:
        facts = {"days": 3, "horizons": [1, 5], "warnings": ["high < low, 2 rows", "zero volume"], "none": []}
        output.result({}, text=facts_table(facts))

    lines = [line.strip() for line in run(work).stdout.splitlines()]
    assert lines[2:] == ["warnings  high < low, 2 rows", "zero volume", "none      -"]
    assert [line.split() for line in lines[:2]] == [["days", "3"], ["horizons", "1,", "5"]]


@pytest.mark.parametrize(("columns", "width"), [(None, LOG_WIDTH), ("50", 50)])
def test_lines_of_a_log_are_wide_unless_columns_says_otherwise(columns: str | None, width: int) -> None:
    def work(output: Output) -> None:
        output.result({}, text=str(output.console.width))

    assert run(work, columns=columns).stdout == f"{width}\n"


def test_the_parameters_of_a_command_are_its_own_and_the_shared_ones() -> None:
    def work(output: Output, name: str, times: int = 1) -> None:
        output.result({"names": [name] * times}, text=name * times)

    assert json.loads(run(work, "x", "--times", "2", "--json").stdout) == {"names": ["x", "x"]}
    help_text = run(work, "--help").stdout
    for option in ("--times", "--json", "--debug"):
        assert option in help_text
    assert "output" not in help_text.lower().replace("stdout", "")
