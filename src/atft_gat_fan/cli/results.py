"""`atft evaluate`, `report` and `predict`: what can be had from a trained run."""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from atft_gat_fan.cli.command import command

if TYPE_CHECKING:
    from atft_gat_fan.cli.output import Output

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)]
DAY_FORMAT = ["%Y-%m-%d"]


def register(app: typer.Typer) -> None:
    for function in (evaluate, report, predict):
        command(app)(function)


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
    run: Run,
    data: Annotated[str, typer.Option("--data", metavar="SRC", help="A panel or a store.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Parquet file to write.", show_default=False)],
    day: Annotated[
        datetime | None, typer.Option("--date", metavar="DATE", formats=DAY_FORMAT, help="This day alone.")
    ] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", metavar="DATE", formats=DAY_FORMAT, help="First day.")
    ] = None,
    last: Annotated[datetime | None, typer.Option("--to", metavar="DATE", formats=DAY_FORMAT, help="Last day.")] = None,
) -> None:
    """Scores and ranks of every stock present, on every day unless told otherwise."""
    first_day, last_day = _days(day, first, last)
    from atft_gat_fan.cli.output import facts_table
    from atft_gat_fan.runs.predict import predict as run_predict

    facts = run_predict(run, data, first_day, last_day, out, output.console)
    output.result(facts, text=facts_table(facts))


def _days(day: datetime | None, first: datetime | None, last: datetime | None) -> tuple[date | None, date | None]:
    if day is not None and (first is not None or last is not None):
        raise typer.BadParameter("expected one day or a range, found both", param_hint="--date")
    if first is not None and last is not None and first > last:
        raise typer.BadParameter(f"expected --from before --to, found {first:%Y-%m-%d} and {last:%Y-%m-%d}")
    first, last = day or first, day or last
    return first.date() if first else None, last.date() if last else None
