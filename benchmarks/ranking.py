"""Does the network rank as well as LightGBM and a GRU, on the same features, days and labels?

    python -m benchmarks.ranking --panel nasdaq_2003_2017.parquet --fold {B,valid,test} [--out FOLDER] [--seeds 5]
        [--recipe config=atft/train/ranking] [key=value ...] [--against lightgbm gru] [--open-test WHY] [--dry-run]

Trains the recipe with each seed, and LightGBM and a GRU in the same command; ensembles are means of ranks. That takes
about an hour on two cores and can be ended and started again: what is finished is kept in FOLDER, and a rival is not
trained again for another recipe on the same data. Leaves ranking.json and ranking.html, and prints the table.

Folds of the NASDAQ panel: B trains to 2012 and is evaluated on 2013 to 2015, valid trains to 2015 and is evaluated on
2016, test likewise on 2017. Other panels: `--train-end`, `--valid-end`, … Recipes are chosen on B and valid, where each
is counted; the test is opened once for a finished one, with a reason, and every opening is logged
(`benchmarks/results/ranking_tried.jsonl`, `ranking_openings.jsonl`). `--quick` is a smoke check that logs nothing, and
is not for the test.
"""

import argparse
import sys
from dataclasses import fields, replace
from datetime import date
from pathlib import Path

from rich.console import Console

from atft_gat_fan.errors import AtftError
from atft_gat_fan.runs.pace import duration
from atft_gat_fan.runs.run_files import write_json, write_text
from benchmarks import ranking_log
from benchmarks.gru import GruRecipe
from benchmarks.measuring import RESULTS, Figure, arguments, publish
from benchmarks.ranking_page import build_page
from benchmarks.ranking_plan import FOLDS, OUT, RECIPE, RIVALS, Dates, Plan, Request, describe_plan, prepare
from benchmarks.ranking_results import Result, results
from benchmarks.ranking_targets import figures, has_bars
from benchmarks.ranking_training import train_all

PAGE, VALUES = "ranking.html", "ranking.json"
FEWEST_SEEDS = 5
"""Of a table that is kept."""
QUICK_GRU = GruRecipe(epochs=1, max_steps=20)


def main() -> None:
    parsed = _parser().parse_intermixed_args()
    console = Console(stderr=True)
    try:
        request = request_of(parsed)
        if not parsed.dry_run:
            ranking_log.require_reason(request)
        plan = prepare(request, console)
        for line in describe_plan(plan):
            console.print(line, highlight=False)
        console.print(f"about {duration(plan.seconds_left)} to go", highlight=False)
        if parsed.dry_run:
            return
        result = measure(plan, console)
    except AtftError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    keep = has_bars(request) and request.seeds >= FEWEST_SEEDS and not request.quick
    publish(f"ranking_{request.fold}", figures(request, result.values), quick=not keep, folder=request.results)
    console.print(f"page: {plan.folder / PAGE}", highlight=False, soft_wrap=True)


def measure(plan: Plan, console: Console) -> Result:
    """Train what is not finished, evaluate, log, and write ranking.json and ranking.html into the plan's folder.

    Raises InterruptedRunError after a stop signal (the same command goes on), TrialError, StorageError, ConfigError.
    """
    request = plan.request
    ranking_log.require_reason(request)
    if request.fold == ranking_log.TEST:
        # First: one that is stopped on its way has opened the test as well.
        ranking_log.log_opening(plan, request.results)
    train_all(plan, console)
    result = ranking_log.with_deflation(plan, results(plan), request.results)
    ranking_log.log(plan, result, request.results)
    plan.folder.mkdir(parents=True, exist_ok=True)
    bars: list[Figure] = figures(request, result.values)
    openings = ranking_log.openings(plan, request.results) if request.fold == ranking_log.TEST else []
    written = {
        "fold": request.fold,
        "panel": {"name": request.panel.name, "fingerprint": plan.panel},
        "recipe": {"digest": plan.digest, "arguments": [*request.recipe, *request.overrides]},
        **result.values,
    }
    write_json(plan.folder / VALUES, written)
    write_text(plan.folder / PAGE, build_page(plan, result, bars, openings))
    return result


def request_of(parsed: argparse.Namespace) -> Request:
    """Raises ConfigError."""
    dates = FOLDS[parsed.fold]
    given = {each.name: getattr(parsed, each.name) for each in fields(Dates)}
    return Request(
        panel=parsed.panel,
        fold=parsed.fold,
        dates=replace(dates, **{name: day for name, day in given.items() if day is not None}),
        out=parsed.out or OUT,
        results=RESULTS,
        recipe=tuple(parsed.recipe),
        overrides=tuple(parsed.overrides),
        seeds=1 if parsed.quick else parsed.seeds,
        against=tuple(parsed.against),
        workers=parsed.workers,
        threads=parsed.threads,
        gru=QUICK_GRU if parsed.quick else GruRecipe(),
        opened=parsed.open_test,
        quick=parsed.quick,
    )


def _parser() -> argparse.ArgumentParser:
    parser = arguments(__doc__)
    parser.add_argument("--panel", type=Path, required=True, help="daily prices and volumes as Parquet or CSV")
    parser.add_argument("--fold", choices=FOLDS, required=True)
    parser.add_argument("--out", type=Path, help="where trainings and results are kept; by default runs/ranking")
    parser.add_argument("--seeds", type=_count, default=5, help="trainings of the recipe and of each rival")
    parser.add_argument("--recipe", nargs="+", default=list(RECIPE), metavar="key=value")
    parser.add_argument("--against", nargs="*", choices=RIVALS, default=list(RIVALS), help="rivals; none: alone")
    parser.add_argument("--workers", type=_count, default=1, help="trainings at once")
    parser.add_argument("--threads", type=_count, help="of each training; by default the cores, shared out")
    parser.add_argument("--open-test", metavar="WHY", help="with --fold test: the reason, which is logged")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and end")
    for option in ("--train-start", "--train-end", "--valid-end", "--test-end"):
        parser.add_argument(option, type=_day, metavar="DATE", help="instead of the fold's")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="laid over the recipe")
    return parser


def _day(text: str) -> str:
    """In the one form that compares as its day does."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a date such as 2015-12-31, got {text!r}") from error


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


if __name__ == "__main__":
    main()
