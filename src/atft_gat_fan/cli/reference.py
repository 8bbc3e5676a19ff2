"""The reference of every command, written from the tool itself.

python -m atft_gat_fan.cli.reference docs/cli.md
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import typer
from typer.core import TyperCommand, TyperGroup

from atft_gat_fan.cli.main import app

INTRODUCTION = """\
# Commands

The `atft` tool, command by command; `atft COMMAND --help` says the same. It works in any folder. Arguments of the form
`KEY=VALUE` are [configuration keys](configuration.md). Progress and messages go to stderr, the result and nothing else
to stdout. Every command also takes:

| option | meaning |
|---|---|
{shared}

[Exit codes](troubleshooting.md#exit-codes) tell a script what happened.

Written by `make docs` from `src/atft_gat_fan/cli/`, and compared with it by the tests: edit those files.
"""
SHARED = ("--json", "--debug", "--help")


def reference() -> str:
    """Markdown: a section a command, its usage, what it does, and a line an argument and option."""
    tool = typer.main.get_command(app)
    assert isinstance(tool, TyperGroup)
    sections = [section for command, path in _commands(tool, "atft") for section in _section(command, path)]
    return "\n".join([INTRODUCTION.format(shared=_shared(tool)), *sections])


def _commands(group: TyperGroup, path: str) -> Iterator[tuple[TyperCommand, str]]:
    """Every command that is not hidden with the words that call it, in the order of `--help`."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _commands(command, f"{path} {name}")
        elif not command.hidden:
            assert isinstance(command, TyperCommand)
            yield command, f"{path} {name}"


def _section(command: TyperCommand, path: str) -> Iterator[str]:
    yield f"## {path}\n"
    yield f"```text\n{' '.join([path, *_usage(command)])}\n```\n"
    yield f"{_prose(command.help or '')}\n"
    if rows := list(_rows(command)):
        yield "\n".join(["| argument, option | meaning |", "|---|---|", *rows]) + "\n"


def _usage(command: TyperCommand) -> Iterator[str]:
    """What follows the command, required options spelled out."""
    for parameter in command.params:
        argument = parameter.param_type_name == "argument"
        name = parameter.metavar or (parameter.name or "").upper()
        if argument:
            name = f"{name.removesuffix('...')}..." if parameter.nargs != 1 else name
            yield name if parameter.required else f"[{name}]"
        elif parameter.required:
            yield f"{parameter.opts[0]} {name}"
    yield "[OPTIONS]"


def _rows(command: TyperCommand) -> Iterator[str]:
    context = command.make_context(command.name, [], resilient_parsing=True)
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is None or parameter.opts[0] in SHARED:
            continue
        name, meaning = record
        if parameter.param_type_name == "argument":
            name = name.split()[0]  # the rest is Python's name of its type
        yield f"| `{_cell(name)}` | {_cell(meaning)} |"


def _shared(tool: TyperGroup) -> str:
    """The options that every command has, from one that has no others of that name."""
    command, _ = next(_commands(tool, "atft"))
    context = command.make_context(command.name, [], resilient_parsing=True)
    records = [p.get_help_record(context) for p in command.get_params(context) if p.opts[0] in SHARED]
    return "\n".join(f"| `{_cell(name)}` | {_cell(meaning)} |" for name, meaning in filter(None, records))


def _prose(text: str) -> str:
    """Paragraphs, each on one line; a command in one is set as such."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    sample = "For instance: "
    return "\n\n".join(
        f"{sample}`{words.removeprefix(sample)}`" if words.startswith(sample) else words for words in paragraphs
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
