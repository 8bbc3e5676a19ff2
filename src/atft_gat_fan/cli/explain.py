"""`atft explain`: what does a trained model look at?"""

import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atft_gat_fan.cli.command import command

if TYPE_CHECKING:
    from atft_gat_fan.cli.output import Output

PERMUTATION_DAYS = 20


def register(app: typer.Typer) -> None:
    command(app)(explain)


def explain(
    output: "Output",
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="SRC", help="A panel or a store; by default what the run was trained on."),
    ] = None,
    day: Annotated[
        datetime | None,
        typer.Option("--date", metavar="DATE", formats=["%Y-%m-%d"], help="Last day, explained stock by stock."),
    ] = None,
    code: Annotated[
        str | None, typer.Option("--code", metavar="CODE", help="Explain this stock's score on that day in full.")
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, help="Days up to that one that are shown over time.")] = 252,
    permutation: Annotated[
        bool, typer.Option("--permutation", help="Measure what the ranking loses when a feature is exchanged.")
    ] = False,
    permutation_days: Annotated[
        int, typer.Option("--permutation-days", min=2, help="Days it is measured on, spread over the period.")
    ] = PERMUTATION_DAYS,
    permutation_features: Annotated[
        int, typer.Option("--permutation-features", min=1, help="Features it is measured of, the heaviest first.")
    ] = 20,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to write; by default explanation in the run.")
    ] = None,
) -> None:
    """Variables, lags, frequencies and neighbours over time; leaves explain.html, explanation.json and tables."""
    from atft_gat_fan.cli.output import facts_table
    from atft_gat_fan.runs.explain import Request
    from atft_gat_fan.runs.explain import explain as run_explain

    request = Request(
        run=run,
        source=data,
        day=None if day is None else day.date(),
        code=code,
        days=days,
        permutation_days=permutation_days if permutation else 0,
        permutation_features=permutation_features,
        out=out,
        command=shlex.join(["atft", *sys.argv[1:]]),
    )
    facts = run_explain(request, output.console)
    output.result(facts, text=facts_table(facts))
