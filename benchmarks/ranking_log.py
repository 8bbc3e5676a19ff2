"""What was tried and what was opened on a panel: two logs of one JSON object a line, kept in the repository.

`ranking_tried.jsonl` counts the recipes that were evaluated on the days recipes are chosen by; how many there were goes
into the deflated statistics of whichever is chosen. `ranking_openings.jsonl` has every look at the test.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atft_gat_fan.data.durable_files import strict_json
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.evaluation.evaluate import MODEL, name_of
from atft_gat_fan.runs.run_files import MOST_BYTES, write_text
from atft_gat_fan.untrusted import parse_json, read_plain
from benchmarks.ranking_plan import Plan
from benchmarks.ranking_results import LIGHTGBM, Json, Result, deflated

OPENINGS, TRIED = "ranking_openings.jsonl", "ranking_tried.jsonl"
TEST = "test"
VERSUS = f"{MODEL}-{LIGHTGBM}"
PLACES = ("data.cache=", "run.")
"""Arguments that say where, which nobody else has."""


def require_reason(fold: str, reason: str | None) -> None:
    """The test is opened on purpose, or not at all. Raises ConfigError."""
    if fold == TEST and not (reason or "").strip():
        raise ConfigError(
            '--fold test: expected --open-test "why", found none; recipes are chosen on the folds B and valid, and the '
            "test is opened once for one that is finished; each opening is logged"
        )
    if fold != TEST and reason is not None:
        raise ConfigError(f"--open-test: expected --fold test, found --fold {fold}; leave it out")


def with_deflation(plan: Plan, result: Result, folder: Path) -> Result:
    """The result with `deflated` in its values: the recipe's RankIC, and what it is above LightGBM's, at the first
    horizon, for the recipes tried on this panel so far, this one counted.

    The spread of the ICIRs of those tried is that on the fold itself; for the test, which none of them saw, on the fold
    that most of them were tried on.
    """
    tried = _of_panel(_read(folder / TRIED), plan.panel)
    earlier = [line for line in tried if line["recipe"] != plan.digest]
    num_tried = len({line["recipe"] for line in earlier}) + 1
    fold = plan.request.fold
    if fold == TEST:
        folds = [line["fold"] for line in earlier]
        fold = max(sorted(set(folds)), key=folds.count, default=fold)
    on_fold = {line["recipe"]: line for line in earlier if line["fold"] == fold}
    own = _figures(result)
    horizon, first = result.horizons[0], result.daily[MODEL]["all"][:, 0]
    series = {"model": first}
    if LIGHTGBM in result.daily:
        series[VERSUS] = first - result.daily[LIGHTGBM]["all"][:, 0]
    found = {}
    for name, daily in series.items():
        icirs = [line["icir"].get(name) for line in on_fold.values()]
        # The ICIR on the test is of other days than those of the trials.
        icirs += [] if plan.request.fold == TEST else [own["icir"][name]]
        found[name] = deflated(daily, horizon, icirs, num_tried)
    return Result({**result.values, "deflated": found}, result.days, result.horizons, result.daily)


def log(plan: Plan, result: Result, folder: Path) -> None:
    """Add the evaluation to its log, unless the very same stands there. Raises StorageError."""
    if plan.request.quick:
        return
    arguments = [*plan.request.recipe, *plan.request.overrides]
    line = {
        "date": datetime.now(UTC).date().isoformat(),
        "panel": plan.panel,
        "fold": plan.request.fold,
        "days": f"{result.values['first_day']} to {result.values['last_day']}",
        "recipe": plan.digest,
        "arguments": [each for each in arguments if not each.startswith(PLACES)],
        "seeds": plan.request.seeds,
        **_figures(result),
    }
    opened = plan.request.fold == TEST
    if opened:
        num_tried = result.values["deflated"]["model"]["num_tried"]
        line |= {"why": plan.request.opened, "num_tried": num_tried}
    file = folder / (OPENINGS if opened else TRIED)
    there = _read(file)
    # Floats survive JSON, so that what was evaluated twice is one line.
    line = parse_json(strict_json(line).encode())
    said = {"date", "why", "num_tried", "arguments"}
    if any(_without(line, said) == _without(each, said) for each in there):
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, "".join(f"{json.dumps(each)}\n" for each in [*there, line]))


def openings(plan: Plan, folder: Path) -> list[Json]:
    """Every opening of the test of this panel, oldest first. Raises StorageError."""
    return _of_panel(_read(folder / OPENINGS), plan.panel)


def _figures(result: Result) -> Json:
    """Of all models: RankIC by cut and horizon; ICIR of the first horizon, of the recipe and above LightGBM."""
    models, pairs = result.values["models"], result.values["pairs"]
    first = name_of(result.horizons[0])
    icirs = {"model": models[MODEL]["icir"]["all"][first]}
    if VERSUS in pairs:
        icirs[VERSUS] = pairs[VERSUS]["all"][first]["icir"]
    means = {
        model: {cut: {h: each["mean"] for h, each in of_cut.items()} for cut, of_cut in values["rank_ic"].items()}
        for model, values in models.items()
    }
    return {"icir": icirs, "rank_ic": means}


def _of_panel(lines: Iterable[Json], panel: str) -> list[Json]:
    return [line for line in lines if line["panel"] == panel]


def _without(line: Json, names: set[str]) -> Json:
    return {name: value for name, value in line.items() if name not in names}


def _read(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    try:
        lines = [parse_json(line) for line in read_plain(file, MOST_BYTES).splitlines() if line.strip()]
        for line in lines:
            if not isinstance(line["icir"], dict) or not {"panel", "fold", "recipe", "rank_ic"} <= line.keys():
                raise ValueError("a line that is no evaluation")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{file}: expected one evaluation a line, found {error}; restore it") from error
    return lines
