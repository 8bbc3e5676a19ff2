"""`atft walkforward`: how well would it have ranked, trained again and again as time went on?"""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atft_gat_fan.cli.command import Overrides, command

if TYPE_CHECKING:
    from rich.table import Table

    from atft_gat_fan.cli.output import Output


def register(app: typer.Typer) -> None:
    command(app)(walkforward)


def walkforward(
    output: "Output",
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show folds and estimated time, and stop.")] = False,
) -> None:
    """Train and test fold by fold, each on what lies before it; finished trainings are kept. One report over all folds.

    For instance: atft walkforward data.source=panel.parquet walkforward.test_days=1y walkforward.seeds=[1,2,3]
    """
    began = time.monotonic()
    from atft_gat_fan.runs.walkforward import walkforward as run_walkforward
    from atft_gat_fan.runs.walkforward_plan import describe_plan, prepare
    from atft_gat_fan.runs.walkforward_results import PAGE

    walk = prepare(overrides or [], output.console)
    plan = describe_plan(walk)
    if dry_run:
        output.result(plan, text=_plan_text(plan))
        return
    output.console.print(_plan_text(plan), highlight=False, markup=False, soft_wrap=True)
    metrics = run_walkforward(walk, output.console, began)
    _show(metrics, output)
    facts = {"folder": str(walk.folder), "report": str(walk.folder / PAGE), "metrics": metrics}
    output.result(facts, text=str(walk.folder / PAGE))


def _plan_text(plan: dict[str, Any]) -> str:
    from atft_gat_fan.runs.pace import duration

    done = f" ({plan['finished']} finished)" if plan["finished"] else ""
    lines = [
        f"folder     {plan['folder']}",
        f"training   {'expanding' if plan['expanding'] else 'rolling'}, "
        f"{'from the weights of the fold before' if plan['warm_start'] else 'from random weights'}; "
        f"purge {plan['purge']}, embargo {plan['embargo']} days",
        *(f"fold {fold['number']:<5} {_parts(fold)}" for fold in plan["folds"]),
        f"seeds      {', '.join(map(str, plan['seeds']))}",
        f"trainings  {plan['trainings']}{done}, {plan['at_once']} at once",
        f"time       about {duration(plan['estimated_seconds'])} to go, and the baselines",
    ]
    if plan["replaced"]:
        lines.insert(1, f"replaced   {', '.join(plan['replaced'])}: each fold has its own")
    return "\n".join(lines)


def _parts(fold: dict[str, Any]) -> str:
    names = {"train": "train", "valid": "validate", "test": "test"}
    return "; ".join(
        f"{name} {fold[part]['first']} to {fold[part]['last']} ({fold[part]['days']} days)"
        for part, name in names.items()
    )


def _show(metrics: dict[str, Any], output: "Output") -> None:
    """For people, on stderr."""
    from atft_gat_fan.cli.metrics import metrics_tables

    output.console.print(metrics_tables(metrics))
    output.console.print(_fold_table(metrics["folds"]))


def _fold_table(folds: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    horizon = next(iter(folds[0]["rank_ic"]))
    names = list(dict.fromkeys(name for fold in folds for name in fold["baselines"]))
    table = Table(title=f"RankIC@{horizon} by fold", box=None, padding=(0, 2, 0, 0), title_justify="left")
    for header in ("fold", "test days", "model", "t", *names):
        table.add_column(header, justify="left" if header in ("fold", "test days") else "right")
    for fold in folds:
        baselines = (fold["baselines"].get(name, {}).get("rank_ic", {}).get(horizon) for name in names)
        table.add_row(
            str(fold["number"]),
            f"{fold['test']['first']} to {fold['test']['last']}",
            _number(fold["rank_ic"][horizon], "+.4f"),
            _number(fold["rank_ic_t"][horizon], ".1f"),
            *(_number(value, "+.4f") for value in baselines),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
