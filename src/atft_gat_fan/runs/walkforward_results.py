"""What the folds' runs left, put together: one table of scores, one metrics.json, one page."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from atft_gat_fan.errors import StorageError
from atft_gat_fan.evaluation.evaluate import MODEL
from atft_gat_fan.evaluation.verdict import title_of
from atft_gat_fan.evaluation.walkforward import SEED, evaluate_folds, metrics_json
from atft_gat_fan.evaluation.walkforward_report import WalkForwardInputs, build_walkforward_report
from atft_gat_fan.inference.bundle import DESCRIPTION
from atft_gat_fan.inference.ensemble import mean_of_ranks
from atft_gat_fan.inference.score_table import read_table, write_table
from atft_gat_fan.runs.assembly import Report
from atft_gat_fan.runs.judged_days import evaluation_data
from atft_gat_fan.runs.run_files import (
    BASELINES,
    BUNDLE,
    CONFIG,
    METRICS,
    PREDICTIONS,
    read_metrics,
    write_metrics,
    write_text,
)
from atft_gat_fan.runs.walkforward_plan import PlannedFold, WalkForward, periods_of

PAGE = "walkforward.html"
MADE_FROM = "made_from"
"""Key of metrics.json: fingerprint of the models and of how they are judged."""


def combine(walk: WalkForward, report: Report) -> None:
    """Write predictions.parquet, metrics.json and walkforward.html of finished runs, in this order.

    The scores of a fold are the mean of the ranks of its seeds; its baselines are those of its first seed's run.
    Nothing is done where the three are there already, from the same models. Raises StorageError where a run's files
    cannot be read or are of other days.
    """
    made_from = _made_from(walk)
    there = all((walk.folder / name).exists() for name in (PAGE, METRICS, PREDICTIONS))
    if there and read_metrics(walk.folder).get(MADE_FROM) == made_from:
        return
    report("put the folds together", 0.0)
    scores = _scores(walk, report)
    write_table(scores[MODEL], walk.folder / PREDICTIONS)
    missing = _missing(walk)
    periods = [periods_of(fold, walk.store.days) for fold in walk.folds]
    settings = walk.config.evaluation
    tested = slice(int(walk.folds[0].split.test[0]), int(walk.folds[-1].split.test[-1]) + 1)
    unavailable = {
        name: {"unavailable": next(iter(folds.values()))} for name, folds in missing.items() if name not in scores
    }
    evaluation = evaluate_folds(
        evaluation_data(walk.store, tested, scores, unavailable),
        periods,
        num_quantiles=settings.num_quantiles,
        cost_bps=settings.cost_bps,
        seed=walk.config.seed,
        progress=lambda share: report("evaluation of all folds", share),
    )
    train = _train_metrics(walk)
    write_metrics(walk.folder, {**metrics_json(evaluation, periods), "train": train, MADE_FROM: made_from})
    report("report", 0.0)
    first = walk.folds[0].split
    page = build_walkforward_report(
        WalkForwardInputs(
            name=walk.folder.name,
            folds=periods,
            evaluation=evaluation,
            purge=first.purge,
            embargo=first.embargo,
            facts=_facts(walk, train),
            missing=_sentences(missing, len(walk.folds)),
            config=walk.config.model_dump(mode="json"),
            commands=[_command(walk)],
        )
    )
    write_text(walk.folder / PAGE, page)


def _made_from(walk: WalkForward) -> str:
    """Of all that the results depend on: each run's model names its weights, data and configuration."""
    digest = hashlib.sha256(walk.config.evaluation.model_dump_json().encode())
    digest.update(json.dumps([walk.store.fingerprint, walk.config.seed, walk.seeds]).encode())
    for run in walk.runs:
        try:
            digest.update(hashlib.sha256((run.folder / BUNDLE / DESCRIPTION).read_bytes()).digest())
        except OSError as error:
            raise StorageError(
                f"{error.filename}: expected the model of a finished run, found {error.strerror}; delete "
                f"{run.folder} and start the same command again"
            ) from error
    return digest.hexdigest()


def _scores(walk: WalkForward, report: Report) -> dict[str, pl.DataFrame]:
    """Score tables of the test days of all folds: `model`, each baseline, and with several seeds each of them."""
    parts: dict[str, list[pl.DataFrame]] = {}
    for fold in walk.folds:
        report("put the folds together", (fold.number - 1) / len(walk.folds))
        members = {f"{SEED}{run.seed}": _tested(walk, fold, run.folder) for run in fold.runs}
        ensemble = mean_of_ranks(list(members.values()), walk.store.horizons)
        named = {MODEL: ensemble.with_columns(fold=pl.lit(fold.number, pl.Int32)), **_baselines(walk, fold)}
        if len(members) > 1:
            named |= members
        for name, table in named.items():
            parts.setdefault(name, []).append(table)
    return {name: pl.concat(tables) for name, tables in parts.items()}


def _tested(walk: WalkForward, fold: PlannedFold, run: Path) -> pl.DataFrame:
    table = read_table(run / PREDICTIONS, walk.store.horizons, _most_rows(walk, fold))
    tested = _on_test_days(walk, fold, table)
    found, expected = tested["date"].n_unique(), len(fold.split.test)
    present = walk.store.column("present", slice(int(fold.split.test[0]), int(fold.split.test[-1]) + 1))
    if found != int(present.any(axis=1).sum()):
        raise StorageError(
            f"{run / PREDICTIONS}: expected scores of {expected} test days, found {found}; run `atft evaluate {run}`"
        )
    return tested


def _baselines(walk: WalkForward, fold: PlannedFold) -> dict[str, pl.DataFrame]:
    file = fold.runs[0].folder / BASELINES
    most = _most_rows(walk, fold) * len(walk.config.evaluation.baselines)
    table = _on_test_days(walk, fold, read_table(file, walk.store.horizons, most, ("scorer",)))
    return {name: table.filter(scorer=name).drop("scorer") for name in table["scorer"].unique().sort()}


def _on_test_days(walk: WalkForward, fold: PlannedFold, table: pl.DataFrame) -> pl.DataFrame:
    first, last = (walk.store.days[fold.split.test[end]].item() for end in (0, -1))
    return table.filter(pl.col("date").is_between(first, last))


def _most_rows(walk: WalkForward, fold: PlannedFold) -> int:
    return (len(fold.split.valid) + len(fold.split.test)) * len(walk.store.codes)


def _missing(walk: WalkForward) -> dict[str, dict[int, str]]:
    """Baselines that could not run: name -> fold -> why."""
    missing: dict[str, dict[int, str]] = {}
    for fold in walk.folds:
        for name, reason in read_metrics(fold.runs[0].folder)["baselines_unavailable"].items():
            missing.setdefault(name, {})[fold.number] = reason["unavailable"]
    return missing


def _sentences(missing: Mapping[str, Mapping[int, str]], num_folds: int) -> list[str]:
    return [
        f"{title_of(name)} is missing in {'every fold' if len(folds) == num_folds else f'fold {_listed(folds)}'}: "
        f"{next(iter(folds.values()))}."
        for name, folds in missing.items()
    ]


def _listed(folds: Mapping[int, str]) -> str:
    return ", ".join(map(str, folds))


def _train_metrics(walk: WalkForward) -> dict[str, Any]:
    """Of all runs together."""
    each = [read_metrics(run.folder)["train"] for run in walk.runs]
    return {
        "runs": len(each),
        "seeds": list(walk.seeds),
        "seconds": sum(train["seconds"] for train in each),
        "peak_rss_bytes": max(train["peak_rss_bytes"] for train in each),
        "parameters": each[0]["parameters"],
        "epochs": [train["epochs"] for train in each],
    }


def _command(walk: WalkForward) -> str:
    return f"atft walkforward config={(walk.folder / CONFIG).resolve()} run.dir=runs/{walk.folder.name}-again"


def _facts(walk: WalkForward, train: Mapping[str, Any]) -> dict[str, Any]:
    store, config = walk.store, walk.config.walkforward
    seconds = train["seconds"]
    return {
        "Source": walk.config.data.source,
        "Stocks": len(store.codes),
        "Days": f"{store.days[0]} to {store.days[-1]} ({len(store.days):,})",
        "Training days": "expanding: from the first day on" if config.expanding else "rolling along",
        "First weights": "those of the fold before, same seed" if config.warm_start else "random, by seed",
        "Scores of a fold": "ranks of one seed" if len(walk.seeds) == 1 else "mean of the ranks of its seeds",
        "Seeds": ", ".join(map(str, walk.seeds)),
        "Trainings": train["runs"],
        "All trainings together": f"{seconds / 60:,.1f} min" if seconds >= 120 else f"{seconds:,.1f} s",
        "Parameters": f"{train['parameters']:,}",
        "Fingerprint": store.fingerprint[:16],
    }
