"""`atft evaluate`, `report` and `predict`: what can be had from a trained run."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from atft_gat_fan.cli.command import command

if TYPE_CHECKING:
    from atft_gat_fan.cli.output import Output

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)]
DAY_FORMAT = ["%Y-%m-%d"]
NEWEST = "newest"


def register(app: typer.Typer) -> None:
    for function in (evaluate, report, predict):
        command(app)(function)


def _date_or_newest(text: str) -> datetime | str:
    if text == NEWEST:
        return NEWEST
    try:
        return datetime.strptime(text, DAY_FORMAT[0])
    except ValueError as error:
        raise typer.BadParameter(f"expected {NEWEST} or a day such as 2017-12-29, found {text!r}") from error


def evaluate(
    output: "Output",
    run: Run,
    split: Annotated[Literal["valid", "test"], typer.Option(help="Days to evaluate on.")] = "test",
) -> None:
    """RankIC and its relatives beside the baselines; leaves metrics.json."""
    from atft_gat_fan.cli.metrics import metrics_tables
    from atft_gat_fan.runs.evaluate import evaluate_run

    metrics = evaluate_run(run, split, output.console)
    output.result(metrics, text=metrics_tables({split: metrics}))


def report(output: "Output", run: Run) -> None:
    """One self-contained page about a run; leaves report.html."""
    from atft_gat_fan.runs.report import report as run_report

    page = run_report(run, output.console)
    output.result({"run": run, "report": page}, text=str(page))


def predict(
    output: "Output",
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="A run's folder, or several: their mean rank.", show_default=False),
    ],
    data: Annotated[str, typer.Option("--data", metavar="SRC", help="A panel or a store.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Parquet file to write.", show_default=False)],
    day: Annotated[
        Any, typer.Option("--date", metavar="DATE", parser=_date_or_newest, help="This day alone, or newest.")
    ] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", metavar="DATE", formats=DAY_FORMAT, help="First day.")
    ] = None,
    last: Annotated[datetime | None, typer.Option("--to", metavar="DATE", formats=DAY_FORMAT, help="Last day.")] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of stores and graphs (default: the training's).")
    ] = None,
) -> None:
    """Scores and ranks of every stock present, on every day unless told otherwise."""
    if day is not None and (first is not None or last is not None):
        raise typer.BadParameter("expected one day or a range, found both", param_hint="--date")
    if first is not None and last is not None and first > last:
        raise typer.BadParameter(f"expected --from before --to, found {first:%Y-%m-%d} and {last:%Y-%m-%d}")
    from atft_gat_fan.cli.output import facts_table
    from atft_gat_fan.inference.asked_days import AskedDays
    from atft_gat_fan.runs.predict import predict as run_predict

    first_day, last_day = (each.date() if isinstance(each, datetime) else None for each in (day or first, day or last))
    asked = AskedDays(first_day, last_day, newest=day == NEWEST)
    facts = run_predict(runs, data, asked, out, output.console, cache)
    output.result(facts, text=facts_table(facts))
