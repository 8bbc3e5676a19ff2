"""`atft validate`: does an improvement help?"""

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atft_gat_fan.cli.command import Overrides, command
from atft_gat_fan.errors import GateError

if TYPE_CHECKING:
    from rich.table import Table

    from atft_gat_fan.cli.output import Output
    from atft_gat_fan.validation.result import ValidationResult


def register(app: typer.Typer) -> None:
    command(app)(validate)


def validate(
    output: "Output",
    overrides: Overrides = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="The configuration whose improvements are compared.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full-test", help="The configured training on more seeds and folds: hours.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="These improvements, or all (of them together).")
    ] = None,
    phase: Annotated[
        int | None, typer.Option("--phase", min=1, max=3, help="What this step of the migration memo switches on.")
    ] = None,
    gate: Annotated[
        list[str] | None, typer.Option("--gate", metavar="TERM", help="As 'rank_ic_1d>=0': exit with 3 if it fails.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show plan and estimated time, and stop.")] = False,
) -> None:
    """Train with and without each improvement, in pairs, and say what each does; finished trainings are kept.

    Leaves validation.json and validation.html in run.dir.
    """
    from atft_gat_fan.runs.validate import PAGE, Request, describe_plan, prepare
    from atft_gat_fan.runs.validate import validate as run_validate

    names = [name for given in only or [] for name in given.split(",")]
    arguments = [*([f"config={config}"] if config is not None else []), *(overrides or [])]
    request = Request(arguments, names, gate or [], full, phase, command=_command(sys.argv[1:]))
    prepared = prepare(request, output.console)
    plan = describe_plan(prepared)
    if dry_run:
        output.result(plan, text=_plan_text(plan))
        return
    output.console.print(_plan_text(plan), highlight=False, markup=False, soft_wrap=True)
    result = run_validate(prepared, output.console)
    output.console.print(_table(result))
    output.result({"folder": str(prepared.folder), **result.to_json()}, text=str(prepared.folder / PAGE))
    failed = [each for each in result.gates if not each.held]
    if failed:
        raise GateError("; ".join(f"{each.expression}: measured {_number(each.measured, '.4f')}" for each in failed))


def _command(arguments: list[str]) -> str:
    """The command as it can be given again; the memo's script leaves the tool and its command out."""
    return shlex.join(["atft", "validate", *arguments[1 if arguments[:1] == ["validate"] else 0 :]])


def _plan_text(plan: dict[str, Any]) -> str:
    from atft_gat_fan.runs.pace import duration

    counts = ", ".join(
        f"{total} {kind}" + (f" ({plan['finished'][kind]} finished)" if plan["finished"][kind] else "")
        for kind, total in plan["trials"].items()
    )
    lines = [
        f"folder    {plan['folder']}",
        f"baseline  {' '.join(plan['baseline'])}",
        *(f"arm       {name}: {' '.join(keys)}" for name, keys in plan["arms"].items()),
        *(f"left out  {name}: {why}" for name, why in plan["left_out"].items()),
        f"all with  {' '.join(plan['laid_over_all']) or 'the configuration as it is'}",
        f"seeds     {', '.join(map(str, plan['seeds']))}",
        *(f"fold      {fold}" for fold in plan["folds"]),
        f"trials    {counts}; {plan['at_once'] or 'as many as the cluster takes'} at once, timings alone",
        f"time      about {duration(plan['estimated_seconds'])} to go{'' if plan['at_once'] else ', one by one'}",
    ]
    return "\n".join(lines)


def _table(result: "ValidationResult") -> "Table":
    from rich.table import Table

    horizon = f"{result.set_up.horizons[0]}d"
    table = Table(
        title=f"{result.days} test days, {len(result.seeds)} seeds; against the baseline without improvements"
    )
    for name in ("improvement", f"ΔRankIC@{horizon}", "95 %", "p (Holm)", "diverged", "memory", "time", "verdict"):
        table.add_column(name)
    for result_of in result.improvements.values():
        delta, divergence = result_of.delta_rank_ic[horizon], result_of.divergence
        diverged = f"{divergence.variant} for {divergence.baseline} of {divergence.pairs}" if divergence.pairs else "-"
        table.add_row(
            result_of.title,
            _number(delta.mean, "+.4f"),
            f"{_number(delta.low, '+.4f')} … {_number(delta.high, '+.4f')}",
            _number(delta.p, ".3f"),
            diverged,
            _number(result_of.memory.ratio, ".3f"),
            _number(result_of.time.ratio, ".3f"),
            result_of.verdict,
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
