"""`atft doctor`: what is installed, and what this machine can do."""

from typing import TYPE_CHECKING

import typer

from atft_gat_fan.cli.command import Overrides, command
from atft_gat_fan.errors import AtftError

if TYPE_CHECKING:
    from rich.table import Table

    from atft_gat_fan.cli.output import Output
    from atft_gat_fan.runs.doctor import Examination

LOOKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "problem": ("PROBLEM", "bold red")}


def register(app: typer.Typer) -> None:
    command(app)(doctor)


def doctor(output: "Output", overrides: Overrides = None) -> None:
    """What is installed and what this machine can do, each with the mend; exit 1 where a problem keeps training away.

    Arguments are those of atft train: the folders of that run are looked at.
    """
    from atft_gat_fan.runs.doctor import examine

    examination = examine(overrides or [])
    output.result(examination.to_json(), text=_table(examination))
    problems = examination.problems
    if problems:
        raise AtftError(f"{len(problems)} problem{'s' * (len(problems) > 1)}: {', '.join(p.name for p in problems)}")


def _table(examination: "Examination") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for finding in examination.findings:
        word, style = LOOKS[finding.status]
        told = Text(finding.found)
        if finding.mend:
            told.append(f"\n-> {finding.mend}", style="dim" if finding.status == "ok" else "")
        table.add_row(Text(word, style=style), Text(finding.name), told)
    return table
