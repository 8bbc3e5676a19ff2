"""`atft compare`: runs side by side."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atft_gat_fan.cli.command import command

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from atft_gat_fan.cli.output import Output
    from atft_gat_fan.evaluation.comparison import Comparison
    from atft_gat_fan.evaluation.comparison_report import Table


def register(app: typer.Typer) -> None:
    command(app)(compare)


def compare(
    output: "Output",
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN...", help="Folders of finished runs; each is held against the first.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page to write.")] = Path("compare.html"),
) -> None:
    """Metrics side by side, paired daily differences of RankIC with intervals, and what was set otherwise.

    Leaves a page, compare.html.
    """
    if len({run.resolve() for run in runs}) < max(2, len(runs)):
        raise typer.BadParameter("expected two or more different runs, each named once", param_hint="RUN RUN...")
    from rich.console import Group

    from atft_gat_fan.runs.compare import compare_runs

    comparison = compare_runs(runs, out, output.console)
    output.console.print(Group(*_tables(comparison)), markup=False, highlight=False)
    output.result({"page": str(out), **comparison.to_json()}, text=str(out))


def _tables(comparison: "Comparison") -> "Iterator[RichTable | str]":
    from atft_gat_fan.evaluation.comparison_report import (
        differing_tables,
        headline,
        metric_table,
        numerics_note,
        paired_table,
        training_table,
    )

    rank_ic = metric_table(comparison, "rank_ic")
    for table in (rank_ic, paired_table(comparison), training_table(comparison), *differing_tables(comparison)):
        if table is not None and table.rows:
            yield _as_rich(table)
    for sentence in (
        numerics_note(comparison),
        *(f"{pair.run} is not compared day by day: {pair.reason}" for pair in comparison.pairs if pair.reason),
        *(f"{pair.run}: {note}" for pair in comparison.pairs for note in pair.notes),
        headline(comparison),
    ):
        if sentence:
            yield sentence


def _as_rich(table: "Table") -> "RichTable":
    from rich.table import Table as RichTable

    shown = RichTable(title=table.title, box=None, padding=(0, 2, 0, 0))
    shown.title_justify = "left"
    for position, column in enumerate(table.columns):
        shown.add_column(column, justify="right" if position else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    return shown
