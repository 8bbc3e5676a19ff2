"""Score the stocks of a panel with trained models: the newest day, any day or a range."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console

from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.calendar import missing_sessions
from atft_gat_fan.data.store import Store, first_predictable
from atft_gat_fan.errors import DataError, Problem
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.inference.bundle import apply_numerics
from atft_gat_fan.inference.coverage import Coverage, coverage
from atft_gat_fan.inference.ensemble import mean_of_ranks
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.inference.score_table import score_table, write_table
from atft_gat_fan.runs.members import Member, by_recipe, fingerprint, load_members
from atft_gat_fan.runs.model_batches import model_batches
from atft_gat_fan.runs.prediction_store import prediction_store
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals

MODEL, MODELS, NETWORK_WEIGHT = "model", "models", "network_weight"
"""Keys of a table's footer: fingerprint of what scored, those of all its members as JSON, and, of those members that
blend LightGBM in, the network's weight at each horizon, as JSON by fingerprint: no such key where none does."""


def predict(
    runs: Sequence[Path], data: str, asked: AskedDays, out: Path, console: Console, cache: Path | None = None
) -> dict[str, Any]:
    """Write scores and ranks of every stock present on the asked-for days to `out`, whole or not at all.

    Of several runs the mean of their models' ranks. Stocks the training never saw are scored like any other. Returns
    what was done: days, stocks, who was left out and why, seconds. Raises StorageError without a trained model,
    ConfigError where models do not rank the same, DataError where the panel lacks a feature a model needs or has no
    day to predict.
    """
    laps = _Laps()
    members = load_members(runs)
    for member in members:
        if member.bundle.blend is not None:
            member.bundle.blend.load()  # before the panel is read, where it would be in vain
    laps("load")
    scored: list[_Scored] = []
    with StopSignals() as signals, Stages(console, signals) as stages:
        for group in by_recipe(members, data):
            config = group[0].recipe(data, cache)
            with prediction_store(config, group, asked, stages) as store:
                laps("data")
                scored += [_score(member, store, config.data, asked, console, stages, laps) for member in group]
    table = _together(scored, data)
    fingerprints = [member.bundle.fingerprint for member in members]
    footer = {MODEL: fingerprint(members), MODELS: json.dumps(fingerprints)}
    blends = {
        member.bundle.fingerprint: blend.weight_by_horizon for member in members if (blend := member.bundle.blend)
    }
    write_table(table, out, footer | ({NETWORK_WEIGHT: json.dumps(blends)} if blends else {}))
    laps("write")
    facts = {**_facts(table, scored), "model": fingerprint(members), **({"network_weight": blends} if blends else {})}
    return {"out": str(out), **facts, "seconds": laps.seconds}


class _Laps:
    """Seconds since the one before, added up by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._last, 3)
        self._last = now


@dataclass(frozen=True)
class _Scored:
    """What one member made of the panel."""

    member: Member
    table: pl.DataFrame
    coverage: Coverage
    without_window: int
    """Days that were asked for and have rows, but too few days before them."""
    warnings: tuple[str, ...]


def _score(
    member: Member, store: Store, data: DataConfig, asked: AskedDays, console: Console, stages: Stages, laps: _Laps
) -> _Scored:
    bundle = member.bundle
    spec = bundle.spec
    prepare_process(bundle.numerics["threads"])  # those of the evaluation: its bits come out again
    apply_numerics(bundle, console.print)
    days = asked.among(store.days, spec.window, data.source)
    batches = model_batches(bundle, store, Path(data.cache), stages)
    if batches.graph is not None:
        batches.graph.prepare(days)
    laps("graph")
    prediction = predict_days(
        bundle.model, batches, days, blend=bundle.blend, progress=lambda share: stages("score", share)
    )
    laps("score")
    looked_at = store.days[days[0] - first_predictable(spec.window) : days[-1] + 1]
    return _Scored(
        member,
        score_table(store.days[days], store.codes, spec.horizons, prediction.scores),
        coverage(batches, days, prediction.scores, categories=spec.num_categories > 0),
        len(asked.positions(store.days)) - len(days),
        (*store.metadata["warnings"], *_missing_sessions(looked_at, bundle.data.exchange)),
    )


def _together(scored: Sequence[_Scored], source: str) -> pl.DataFrame:
    if len(scored) == 1:
        return scored[0].table
    table = mean_of_ranks([member.table for member in scored], scored[0].member.bundle.spec.horizons)
    if table.is_empty():
        each = "; ".join(f"{member.member.run}: {_period(member.table)}" for member in scored)
        problem = Problem(
            f"expected stocks and days that every model scores, found none ({each})",
            mend="ask for other days, or predict with each model by itself",
        )
        raise DataError(problem, source=source)
    return table


def _period(table: pl.DataFrame) -> str:
    first, last = table.select(pl.col("date").min().alias("first"), pl.col("date").max().alias("last")).row(0)
    return f"{first} to {last}"


def _facts(table: pl.DataFrame, scored: Sequence[_Scored]) -> dict[str, Any]:
    """What was done, of all members together: where they differ, that of the one that left out the most."""
    least = min(scored, key=lambda member: member.coverage.share)
    somebody = pl.concat(member.table.select("date", "code") for member in scored).unique().height
    counts = least.coverage
    left_out = {
        "no_row_that_day": counts.no_row,
        "score_not_finite": counts.not_finite,
        "not_scored_by_every_model": somebody - table.height,
    }
    return {
        "rows": table.height,
        "days": table["date"].n_unique(),
        "first": str(table["date"].min()),
        "last": str(table["date"].max()),
        "stocks": table["code"].n_unique(),
        "coverage": table.height / max(1, table.height + sum(left_out.values())),
        "left_out": left_out,
        "scored_on_little": {
            "short_history": counts.short_history,
            "few_features": counts.few_features,
            "unknown_category": counts.unknown_category,
        },
        "days_without_window": max(member.without_window for member in scored),
        "warnings": list(dict.fromkeys(warning for member in scored for warning in member.warnings)),
        "models": {str(member.member.run): member.member.bundle.fingerprint for member in scored},
    }


def _missing_sessions(days: NDArray[np.datetime64], exchange: str | None) -> list[str]:
    if exchange is None or not len(missing := missing_sessions(days, exchange)):
        return []
    return [
        f"no rows on {len(missing)} sessions of {exchange} among the days looked at, last {missing[-1]}: not "
        "delivered, or the days of another exchange than data.exchange? Windows count the days that there are"
    ]
