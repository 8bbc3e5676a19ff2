"""What was tried and what was opened on a panel: two logs of one JSON object a line, kept in the repository.

`ranking_tried.jsonl` counts the recipes that were evaluated on the days recipes are chosen by; how many there were goes
into the deflated statistics of whichever is chosen. `ranking_openings.jsonl` has every look at the test: a line from
before anything is trained, which gets its figures when there are any.
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
from benchmarks.ranking_plan import FOLDS, PANEL, Plan, Request, without_places
from benchmarks.ranking_results import LIGHTGBM, Json, Result, deflated

OPENINGS, TRIED = "ranking_openings.jsonl", "ranking_tried.jsonl"
TEST = "test"
VERSUS = f"{MODEL}-{LIGHTGBM}"
KEYS = {"date", "panel", "fold", "days", "recipe", "seeds", "rank_ic"}
"""Of every line; an opening has its `why` as well."""


def require_reason(request: Request) -> None:
    """The test is opened on purpose, with all of the recipe, and under its name, or not at all. Raises ConfigError."""
    fold, reason = request.fold, request.opened
    if fold == TEST and not (reason or "").strip():
        raise ConfigError(
            '--fold test: expected --open-test "why", found none; recipes are chosen on the folds B and valid, and the '
            "test is opened once for one that is finished; each opening is logged"
        )
    if fold != TEST and reason is not None:
        raise ConfigError(f"--open-test: expected --fold test, found --fold {fold}; leave it out")
    if fold == TEST and request.quick:
        raise ConfigError(
            "--quick: expected --fold B or valid, found --fold test; a smoke check is logged nowhere, and every look "
            "at the test is; leave it out"
        )
    if fold != TEST:
        require_closed(request.panel, request.dates.test_end)


def require_closed(panel: Path, test_end: str | None) -> None:
    """Raises ConfigError where days evaluated to `test_end` (ISO; None: the newest) are days of the panel's test."""
    last = FOLDS[TEST].valid_end
    assert last is not None
    if panel.stem == PANEL and (test_end is None or test_end > last):
        raise ConfigError(
            f"expected evaluated days of {panel.name} to end on {last} or before, found {test_end or 'the newest'} "
            "(--test-end, split.test_end); those after it are the test: choose an earlier one, or open it with "
            'python -m benchmarks.ranking --fold test --open-test "why"'
        )


def with_deflation(plan: Plan, result: Result, folder: Path) -> Result:
    """The result with `deflated` in its values: the recipe's RankIC, and what it is above LightGBM's, at the first
    horizon, for the recipes tried on this panel so far, this one counted.

    The spread of the ICIRs of those tried is that on the fold's own days; for the test, which none of them saw, on the
    days that most of them were tried on, where the chosen one is a trial as the others are.
    """
    tried = _of_panel(_read(folder / TRIED), plan.panel)
    num_tried = len({line["recipe"] for line in tried} | {plan.digest})
    place: tuple[str, str] | None
    if plan.request.fold == TEST:
        known = tried
        places = [place for _, place in {(line["recipe"], _place(line)) for line in known}]
        place = max(sorted(set(places)), key=places.count, default=None)
    else:
        known = [line for line in tried if line["recipe"] != plan.digest]
        place = (plan.request.fold, _days(result))
    on_fold = {line["recipe"]: line for line in known if _place(line) == place}
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


def log_opening(plan: Plan, folder: Path) -> None:
    """Before anything is trained: what is about to see the test, and why. `log` adds its figures.

    The same recipe with as many seeds on the same days has one opening, however often it is started. Raises
    StorageError.
    """
    store, test = plan.store, plan.split.test
    line = {**_asked(plan, f"{store.days[test[0]]} to {store.days[test[-1]]}"), "icir": {}, "rank_ic": {}}
    there = _read(folder / OPENINGS)
    if not any(_same_look(line, each) for each in there):
        _write(folder / OPENINGS, [*there, {**line, "why": plan.request.opened}])


def log(plan: Plan, result: Result, folder: Path) -> None:
    """Add the evaluation to its log, unless the very same stands there; an opening that has no figures yet gets them.

    Raises StorageError.
    """
    if plan.request.quick:
        return
    line = {**_asked(plan, _days(result)), **_figures(result)}
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
    for number, each in enumerate(there):
        if opened and not each["rank_ic"] and _same_look(line, each):
            # Of the day it was opened on, for the reason given then.
            there[number] = {**line, "date": each["date"], "why": each["why"]}
            break
    else:
        there.append(line)
    _write(file, there)


def openings(plan: Plan, folder: Path) -> list[Json]:
    """Every opening of the test of this panel, oldest first. Raises StorageError."""
    return _of_panel(_read(folder / OPENINGS), plan.panel)


def _asked(plan: Plan, days: str) -> Json:
    """What is evaluated, without what comes of it."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "panel": plan.panel,
        "fold": plan.request.fold,
        "days": days,
        "recipe": plan.digest,
        "arguments": [*without_places((*plan.request.recipe, *plan.request.overrides))],
        "seeds": plan.request.seeds,
    }


def _days(result: Result) -> str:
    return f"{result.values['first_day']} to {result.values['last_day']}"


def _place(line: Json) -> tuple[str, str]:
    return line["fold"], line["days"]


def _same_look(one: Json, other: Json) -> bool:
    return all(one[key] == other[key] for key in ("panel", "fold", "days", "recipe", "seeds"))


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


def _write(file: Path, lines: Iterable[Json]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, "".join(f"{json.dumps(line)}\n" for line in lines))


def _read(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    needed = KEYS | ({"why"} if file.name == OPENINGS else set())
    try:
        lines = [parse_json(line) for line in read_plain(file, MOST_BYTES).splitlines() if line.strip()]
        for line in lines:
            if not isinstance(line["icir"], dict) or not line.keys() >= needed:
                raise ValueError("a line that is no evaluation")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{file}: expected one evaluation a line, found {error}; restore it") from error
    return lines
