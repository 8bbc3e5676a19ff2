"""`atft search`: which configuration ranks best, and is that more than luck?"""

import shlex
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atft_gat_fan.cli.command import Overrides, command

if TYPE_CHECKING:
    from rich.table import Table

    from atft_gat_fan.cli.output import Output
    from atft_gat_fan.validation.search_result import SearchResult

SHOWN = 5
"""Configurations of the table on the terminal."""


def register(app: typer.Typer) -> None:
    command(app)(search)


def search(
    output: "Output",
    overrides: Overrides = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", min=1, metavar="N", help="Configurations to try in all (search.num_trials)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be searched, and stop.")] = False,
) -> None:
    """Search for the configuration of the best validation RankIC (Optuna); the test days are not looked at.

    For instance: atft search 'optimizer.lr=tag(log,interval(1e-4,1e-2))' 'model.hidden_size=choice(32,64)' --trials 40

    The same command again goes on; leaves search.json, search.html and best.yaml (for config=) in run.dir.
    """
    began = time.monotonic()
    from atft_gat_fan.runs.search_plan import require_optuna

    require_optuna()
    from atft_gat_fan.runs.search import describe_search
    from atft_gat_fan.runs.search import search as run_search
    from atft_gat_fan.runs.search_plan import plan_search
    from atft_gat_fan.runs.search_results import PAGE

    arguments = [*(overrides or []), *([] if trials is None else [f"search.num_trials={trials}"])]
    plan = plan_search(arguments, output.console)
    described = describe_search(plan)
    if dry_run:
        output.result(described, text=_plan_text(described))
        return
    output.console.print(_plan_text(described), highlight=False, markup=False, soft_wrap=True)
    result = run_search(plan, output.console, shlex.join(["atft", *sys.argv[1:]]), began)
    output.console.print(_table(result))
    page = plan.folder / PAGE
    output.result({"folder": plan.folder, "report": page, **result.to_json()}, text=str(page))


def _plan_text(plan: dict[str, Any]) -> str:
    first, last, count = plan["days"]
    early = "bad ones given up early" if plan["pruning"] else "none given up early"
    return "\n".join(
        [
            f"folder   {plan['folder']}",
            *(f"over     {each}" for each in plan["space"]),
            f"all with {' '.join(plan['shared']) or 'the configuration as it is'}",
            f"judged   on {count} validation days, {first} to {last}",
            f"trials   {plan['trials']}, {plan['at_once']} at once, {early}",
        ]
    )


def _table(result: "SearchResult") -> "Table":
    from rich.table import Table

    luck = result.luck
    title = f"{len(result.trials)} configurations tried"
    if luck is not None and luck.p is not None:
        title = f"{title}; the best against the luck of trying them: p {luck.p:.3f}"
    table = Table(title=title, box=None, padding=(0, 2, 0, 0), title_justify="left")
    for header in ("trial", "RankIC valid", "ICIR", "configuration"):
        table.add_column(header)
    for each in result.ranked[:SHOWN]:
        icir = "-" if each.icir is None else f"{each.icir:.3f}"
        table.add_row(f"{each.number:04d}", f"{each.rank_ic:+.4f}", icir, " ".join(each.arguments))
    return table
