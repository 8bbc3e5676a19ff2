"""Where commands write: progress and messages to stderr, results and nothing else to stdout."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from pydantic_core import to_json
from rich.console import Console, RenderableType
from rich.table import Table

from atft_gat_fan.config.settings import Environment

LOG_WIDTH = 160
"""Columns where nobody's terminal sets the width: a line of a log should stay one line."""


class Output:
    """`console` is for people, on stderr; `result` is what the command was called for, on stdout."""

    def __init__(self, as_json: bool, debug: bool, stdout: TextIO) -> None:
        self.as_json, self.debug = as_json, debug
        self._stdout = stdout
        self.console = _console(sys.stderr)

    def result(self, facts: Mapping[str, Any] | Sequence[Any], *, text: RenderableType) -> None:
        """Write `facts` as JSON under `--json` (dates as text, non-finite numbers as null), else `text`."""
        if self.as_json:
            self._stdout.write(to_json(facts, indent=2, inf_nan_mode="null", fallback=str).decode() + "\n")
            self._stdout.flush()
        else:
            _console(self._stdout).print(text, soft_wrap=isinstance(text, str), markup=False, highlight=False)


def facts_table(facts: Mapping[str, Any]) -> Table:
    """One line a fact; sentences of a list are a line each."""
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(name, _fact(value))
    return table


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {of_name}" for name, of_name in value.items()) or "-"
    if not isinstance(value, list | tuple):
        return str(value)
    texts = [str(entry) for entry in value]
    return ("\n" if any(" " in text for text in texts) else ", ").join(texts) or "-"


def _console(file: TextIO) -> Console:
    width = Environment.read().columns
    return Console(file=file, width=width if width is not None or file.isatty() else LOG_WIDTH)
