"""What does each part of the network add on real prices, over the same-day network and to all the others?

    python -m benchmarks.attribution --panel nasdaq_2003_2017.parquet [--fold B] [--seeds 5] [--out FOLDER]
        [--recipe config=atft/train/ranking] [--only PART ...] [key=value ...]

The network that sees the day alone is the baseline. LSTM, attention, graph attention and frequency adaptive
normalisation are each added to it, all of them together, and each left out of the whole: trainings paired by seed,
through the plan, trials and statistics of `atft validate` (paired daily differences, stationary bootstrap over days and
seeds, Holm over the parts, equivalence within ±0.003). Takes hours; ended, the same command goes on. Leaves
attribution.json, attribution.html and validation.html in FOLDER, and prints the table. `--quick` is a smoke check.

The variable selection has no plain form to compare it with: every network here has it. What earlier days add is read
through `model.same_day_skip`, so that the parts learn a correction of the day's own view and cannot lose it.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.overrides import assignment
from atft_gat_fan.errors import AtftError
from atft_gat_fan.runs.pace import duration
from atft_gat_fan.runs.run_files import write_json, write_text
from atft_gat_fan.runs.validate import Prepared, Request, prepare, validate
from atft_gat_fan.validation.arms import ALL, WITHOUT, Arm, Arms
from atft_gat_fan.validation.result import DeltaRankIC, ImprovementResult, ValidationResult
from benchmarks.attribution_page import build_page
from benchmarks.measuring import ROOT, Figure, arguments, publish
from benchmarks.ranking_log import require_closed
from benchmarks.ranking_plan import FOLDS

COMMAND = "python -m benchmarks.attribution"
VALUES, PAGE = "attribution.json", "attribution.html"
SKIP = "model.same_day_skip"
QUICK = ("train.max_steps=20", "train.max_epochs=1")


@dataclass(frozen=True)
class Component:
    """A part of the network and the keys that put it in or leave it out."""

    name: str
    title: str
    on: tuple[str, ...]
    off: tuple[str, ...]
    reads_window: bool = True
    """Whether it looks at earlier days."""


COMPONENTS = (
    Component("lstm", "LSTM", ("model.temporal.encoder=windows",), ("model.temporal.encoder=none",)),
    Component("attention", "temporal attention", ("model.attention.enabled=true",), ("model.attention.enabled=false",)),
    Component(
        "graph", "graph attention", ("model.gat.enabled=true",), ("model.gat.enabled=false",), reads_window=False
    ),
    Component("fan", "frequency adaptive norm.", ("model.fan.enabled=true",), ("model.fan.enabled=false",)),
)
NAMES = tuple(component.name for component in COMPONENTS)


def main() -> None:
    parsed = _parser().parse_intermixed_args()
    console = Console(stderr=True)
    try:
        prepared = plan(parsed)
        trials = len(prepared.trials)
        console.print(f"{trials} trainings, about {duration(prepared.seconds_left)} to go", highlight=False)
        if parsed.dry_run:
            return
        result = measure(prepared, console)
    except AtftError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    whole = set(parsed.only) == set(NAMES) and len(result.seeds) >= 5
    publish("attribution", figures(result), quick=parsed.quick or not whole)
    console.print(f"page: {prepared.folder / PAGE}", highlight=False, soft_wrap=True)


def plan(parsed: argparse.Namespace) -> Prepared:
    """The validation that compares the parts.

    Raises ConfigError, for days of the panel's test as well, and what reading the panel raises.
    """
    out = parsed.out or ROOT / "runs" / f"attribution-{parsed.fold}{'-quick' if parsed.quick else ''}"
    seeds = range(1, (1 if parsed.quick else parsed.seeds) + 1)
    keys = [
        "data=nasdaq",
        assignment("data.source", str(parsed.panel)),
        "data.start=null",
        *FOLDS[parsed.fold].overrides,
        "validation.overrides=[]",
        f"validation.seeds=[{','.join(map(str, seeds))}]",
        "validation.stress.num_seeds=0",
        "validation.timing.rounds=0",
        assignment("run.dir", str(out)),
        *parsed.recipe,
        *parsed.overrides,
        *(QUICK if parsed.quick else ()),
    ]
    config = load_config(keys)
    # What holds in the end: keys of one's own come after the fold's.
    test_end = config.split.test_end
    require_closed(Path(config.data.source or parsed.panel), None if test_end is None else test_end.isoformat())
    command = f"{COMMAND} --panel {parsed.panel} --fold {parsed.fold}"
    chosen = [component for component in COMPONENTS if component.name in parsed.only]
    return prepare(Request(keys, command=command), Console(quiet=True), arms_of(chosen))


def measure(prepared: Prepared, console: Console) -> ValidationResult:
    """Train what is not finished, and leave the results in the plan's folder. Raises as `validate`."""
    result = validate(prepared, console)
    write_json(prepared.folder / VALUES, to_json(result))
    write_text(prepared.folder / PAGE, build_page(result, NAMES))
    return result


def arms_of(components: Sequence[Component]) -> Arms:
    """The same-day network as baseline, each of `components` alone, all of them, and all but each.

    Those that are not among `components` are left out of every arm.
    """
    everything = [Arm(ALL, "all of them", _with(components))] if len(components) > 1 else []
    return Arms(
        baseline=_without(COMPONENTS),
        variants=(*(Arm(each.name, each.title, _with([each])) for each in components), *everything),
        without=tuple(
            Arm(
                f"{WITHOUT}{each.name}",
                f"all but {each.title}",
                _with([other for other in components if other is not each]),
            )
            for each in components
            if everything and len(components) > 2
        ),
        left_out={},
    )


def to_json(result: ValidationResult) -> dict[str, Any]:
    """attribution.json: by part what it added to the same-day network (`added`) and to all the others (`contributed`),
    each as in validation.json; `all` has the first alone.
    """
    values = result.to_json()
    return {
        "same_day": values["baseline"],
        "parts": {
            name: {"added": added, "contributed": values["contributions"].get(name)}
            for name, added in values["improvements"].items()
        },
        **{key: values[key] for key in ("seeds", "days", "set_up", "rules", "can_conclude", "cannot_conclude")},
    }


def figures(result: ValidationResult) -> list[Figure]:
    """A row a part: what it added over the same-day network, and to all the others. Nothing is expected."""
    rows = [Figure("same-day network: RankIC@1d", _shown(result.baseline.rank_ic.get("1d"), ""), COMMAND)]
    for over, group in {"the same-day network": result.improvements, "all the others": result.contributions}.items():
        for each in group.values():
            for horizon in ("1d", "5d"):
                if horizon in each.delta_rank_ic:
                    what = f"{each.title} over {over}, ΔRankIC@{horizon}"
                    rows.append(Figure(what, _measured(each, each.delta_rank_ic[horizon], horizon), COMMAND))
    return rows


def _measured(each: ImprovementResult, delta: DeltaRankIC, horizon: str) -> str:
    mean, low, high = (_shown(value, "+") for value in (delta.mean, delta.low, delta.high))
    p, same = (_shown(value, "") for value in (delta.p, delta.p_equivalence))
    verdict = f": {each.verdict}" if horizon == next(iter(each.delta_rank_ic)) else ""
    return f"{mean} ({low} … {high}), p = {p}, p of ±{delta.margin:g} = {same}{verdict}"


def _shown(value: float | None, sign: str) -> str:
    return "-" if value is None else f"{value:{sign}.4f}"


def _with(components: Sequence[Component]) -> tuple[str, ...]:
    keys = [key for component in components for key in component.on]
    skip = any(component.reads_window for component in components)
    return (*keys, f"{SKIP}=true") if skip else tuple(keys)


def _without(components: Sequence[Component]) -> tuple[str, ...]:
    return (*(key for component in components for key in component.off), f"{SKIP}=false")


def _parser() -> argparse.ArgumentParser:
    parser = arguments(__doc__)
    parser.add_argument("--panel", type=Path, required=True, help="daily prices and volumes as Parquet or CSV")
    parser.add_argument("--fold", choices=("B", "valid"), default="B", help="the test is not for choosing")
    parser.add_argument("--out", type=Path, help="where trainings are kept; by default runs/attribution-FOLD")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--recipe", nargs="+", default=["config=atft/train/ranking"], metavar="key=value")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), metavar="PART", help=", ".join(NAMES))
    parser.add_argument("--dry-run", action="store_true", help="print the number of trainings and end")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="laid over the recipe")
    return parser


if __name__ == "__main__":
    main()
