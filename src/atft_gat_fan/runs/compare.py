"""Compare finished runs: their metrics, their daily RankIC in pairs, and what of them was set otherwise."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from atft_gat_fan.config.load import PLACES, read_config
from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.splits import split_days, usable_days
from atft_gat_fan.errors import AtftError, ConfigError, DataError, StorageError
from atft_gat_fan.evaluation.comparison import ComparedRun, Comparison, JudgedDays, compare, stored_otherwise
from atft_gat_fan.evaluation.comparison_report import build_page
from atft_gat_fan.inference.score_table import read_table, scores_of
from atft_gat_fan.runs.assembly import Report
from atft_gat_fan.runs.run_files import CONFIG, MOST_BYTES, PREDICTIONS, read_metrics, write_text
from atft_gat_fan.runs.run_status import unfinished
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.untrusted import parse_json, read_plain

PLAN = "plan.json"


def compare_runs(folders: Sequence[Path], out: Path, console: Console) -> Comparison:
    """Hold finished runs against the first, and write the page about it to `out`.

    The daily RankIC of a run comes from its stored scores and the returns of its data; where the data are gone or not
    what they were, it has none, and the comparison says so. Raises ConfigError for fewer than two different runs, and
    StorageError naming every folder that holds no finished run.
    """
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        given = ", ".join(map(str, folders)) or "none"
        raise ConfigError(f"expected two or more different runs to compare, found {given}; name each once")
    _require_finished(folders)
    with StopSignals() as signals, Stages(console, signals) as stages:
        runs = [_read(folder, name, stages) for folder, name in zip(folders, names_of(folders), strict=True)]
        stages("compare", 0.0)
        comparison = compare(runs)
        write_text(out, build_page(comparison, out.name))
    return comparison


def names_of(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the folders' paths that tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different folders have different paths")


def _require_finished(folders: Sequence[Path]) -> None:
    problems = [f"{folder}: {found}" for folder in folders if (found := unfinished(folder))]
    if problems:
        raise StorageError(
            f"expected finished runs, found {'; '.join(problems)}; start a run again with the command that began it"
        )


def _read(folder: Path, name: str, report: Report) -> ComparedRun:
    config, metrics = read_config(folder / CONFIG), read_metrics(folder)
    lacking = [
        f"{part}.{key}"
        for part, keys in NEEDED.items()
        for key in keys
        if not isinstance(metrics.get(part), dict) or key not in metrics[part]
    ]
    if lacking:
        raise StorageError(
            f"{folder}: expected the metrics of a finished run, found none of {', '.join(lacking)}; run `atft evaluate`"
        )
    judged, missing = None, ""
    try:
        judged = _judged_days(folder, config, report)
        missing = stored_otherwise(judged, metrics["test"])
    except (ConfigError, DataError, StorageError) as error:
        missing = _first_line(error)
    return ComparedRun(
        name=name,
        folder=str(folder),
        test=metrics["test"],
        train=metrics["train"],
        config=_settings(config),
        plan=_plan(folder),
        judged=None if missing else judged,
        missing=missing,
    )


NEEDED = {
    "test": ("days", "rank_ic", "rank_ic_skip1", "rank_ic_liquid", "icir", "rank_ic_t", "baselines"),
    "train": ("seconds", "samples_per_second", "parameters", "numerics"),
}
"""Of metrics.json."""


def _judged_days(folder: Path, config: Config, report: Report) -> JudgedDays:
    """The test days as the run's own evaluation saw them."""
    store = cached_store(config, report)
    split = split_days(store.days, config.split, store.horizons, usable_days(store.days, config.data))
    most_rows = len(np.concatenate([split.valid, split.test])) * len(store.codes)
    table = read_table(folder / PREDICTIONS, store.horizons, most_rows)
    period = slice(int(split.test[0]), int(split.test[-1]) + 1)
    days = store.days[period]
    return JudgedDays(
        days=days,
        codes=store.codes,
        horizons=store.horizons,
        scores=scores_of(table, days, store.codes, store.horizons),
        labels=store.column("labels", period),
        present=store.column("present", period),
    )


def _settings(config: Config) -> dict[str, Any]:
    """The configuration without what decides neither weights nor numbers: where a run lies and what it is called."""
    settings = config.model_dump(mode="json", exclude=PLACES)
    settings["run"].pop("name")
    return settings


def _plan(folder: Path) -> dict[str, Any]:
    try:
        plan = parse_json(read_plain(folder / PLAN, MOST_BYTES))
        if not isinstance(plan, dict):
            raise ValueError("something that is no JSON object")
    except (OSError, ValueError) as error:
        raise StorageError(f"{folder / PLAN}: expected the plan of a run, found {error}; restore the file") from error
    return plan


def _first_line(error: AtftError) -> str:
    return str(error).splitlines()[0]
