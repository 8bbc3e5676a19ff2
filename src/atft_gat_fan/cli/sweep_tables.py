"""A sweep as people read it on a terminal: what is to be run, and how the runs did."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def names_of(arguments: Sequence[Sequence[str]]) -> list[str]:
    """What tells the runs apart: of each run's arguments those that not all of them have."""
    shared = set(arguments[0]).intersection(*map(set, arguments[1:]))
    return [" ".join(each for each in of_run if each not in shared) or "run" for of_run in arguments]


def plan_text(names: Sequence[str], folders: Sequence[Path], finished: Sequence[bool], workers: int) -> str:
    """The runs, a line each."""
    lines = [
        f"{'finished' if done else 'to run':8}  {name}  {folder}"
        for name, folder, done in zip(names, folders, finished, strict=True)
    ]
    return "\n".join([f"{len(names)} trainings, {sum(finished)} finished; up to {workers} at once", *lines])


def summary_table(names: Sequence[str], metrics: Sequence[Mapping[str, Any]]) -> "Table":
    """RankIC of each run, the best on the validation days first: those may choose between runs, the test may not."""
    from rich.table import Table

    horizons = list(metrics[0]["valid"]["rank_ic"])
    table = Table(title="the best on the validation days first", box=None, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column("run")
    table.add_column("RankIC valid", justify="right")
    for horizon in horizons:
        table.add_column(f"test @{horizon}", justify="right")
    table.add_column("epochs", justify="right")
    table.add_column("seconds", justify="right")
    ranked = sorted(zip(names, metrics, strict=True), key=lambda run: _valid(run[1]), reverse=True)
    for name, of_run in ranked:
        tested = (of_run["test"]["rank_ic"].get(horizon) for horizon in horizons)
        trained = of_run["train"]
        table.add_row(
            name,
            _number(_valid(of_run)),
            *map(_number, tested),
            str(trained["epochs"]),
            f"{trained['seconds']:,.0f}",
        )
    return table


def _valid(metrics: Mapping[str, Any]) -> float:
    known = [value for value in metrics["valid"]["rank_ic"].values() if value is not None]
    return fmean(known) if known else float("-inf")


def _number(value: float | None) -> str:
    return "-" if value is None or value == float("-inf") else format(value, "+.4f")
