"""`atft monitor`: is the model still fed and ranking as on its validation days?"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atft_gat_fan.cli.command import command
from atft_gat_fan.errors import GateError

if TYPE_CHECKING:
    from atft_gat_fan.cli.output import Output
    from atft_gat_fan.monitoring.result import MonitorResult

MOST_ALARMS = 20
"""Lines on a terminal; the page has them all."""


def register(app: typer.Typer) -> None:
    command(app)(monitor)


def monitor(
    output: "Output",
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)],
    data: Annotated[
        str, typer.Option("--data", metavar="SRC", help="A panel or a store with newer days.", show_default=False)
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Keys of monitor, as monitor.days=60.", show_default=False),
    ] = None,
    fail_on: Annotated[
        list[str] | None, typer.Option("--fail-on", metavar="TERM", help="As 'psi>0.25': exit with 3 where it is so.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to write, by default RUN/monitor.")
    ] = None,
) -> None:
    """Compare newer days with the validation days: features, scores, realised RankIC, memory.

    Leaves monitor.json, monitor.html and a history that grows from run to run.
    """
    from atft_gat_fan.runs.monitor import PAGE, Request
    from atft_gat_fan.runs.monitor import monitor as run_monitor

    invoked = shlex.join(["atft", *sys.argv[1:]])
    request = Request(run, data, out, tuple(overrides or []), tuple(fail_on or []), invoked)
    result = run_monitor(request, output.console)
    output.result({"folder": str(request.folder), **result.to_json()}, text=_text(result, request.folder / PAGE))
    failed = [gate for gate in result.gates if gate.failed]
    if failed:
        raise GateError("; ".join(f"{gate.expression}: measured {_number(gate.measured)}" for gate in failed))


def _text(result: "MonitorResult", page: Path) -> str:
    alarms = [f"  since {alarm.since or '?'}  {alarm.sentence}" for alarm in result.alarms[:MOST_ALARMS]]
    if len(result.alarms) > MOST_ALARMS:
        alarms.append(f"  and {len(result.alarms) - MOST_ALARMS} more on the page")
    rank_ic = ", ".join(f"{horizon} {_number(found.mean, '+.4f')}" for horizon, found in result.rank_ic.items())
    return "\n".join(
        [
            f"days      {result.days[0]} to {result.days[-1]}, {result.stocks[-1]} stocks on the newest",
            f"reference {result.reference.first} to {result.reference.last}, {result.reference.days} days",
            f"PSI       {_number(result.psi)} at most, over {result.long_days} days",
            f"RankIC    {rank_ic or 'not known'}",
            *(f"warning   {warning}" for warning in result.warnings),
            f"alarms    {len(result.alarms) or 'none'}",
            *alarms,
            f"page      {page}",
        ]
    )


def _number(value: float | None, form: str = ".4g") -> str:
    return "not measured" if value is None else format(value, form)
