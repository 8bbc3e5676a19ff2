"""How each model ranked the fold's days, and how any two differ, from the scores that the trainings left.

RankIC and its neighbours are those of `metrics.json`: of an ensemble of one they are the same numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from atft_gat_fan.errors import StorageError
from atft_gat_fan.evaluation.cuts import Daily, daily_by_cut
from atft_gat_fan.evaluation.evaluate import (
    MODEL,
    NUM_RESAMPLES,
    EvaluationData,
    evaluate,
    interval_of_mean,
    name_of,
    number,
)
from atft_gat_fan.inference.ensemble import mean_of_ranks
from atft_gat_fan.inference.score_table import read_table
from atft_gat_fan.metrics.rank_ic import icir, mean
from atft_gat_fan.runs.judged_days import evaluation_data, period_of
from atft_gat_fan.runs.run_files import PREDICTIONS
from atft_gat_fan.statistics.deflation import Deflated, deflated_icir
from atft_gat_fan.statistics.paired import paired_interval
from benchmarks.ranking_plan import Member, Plan
from benchmarks.ranking_training import training_facts

LIGHTGBM, GRU, BLEND = "lightgbm", "gru", "blend"
PAIRS = ((MODEL, LIGHTGBM), (MODEL, GRU), (BLEND, LIGHTGBM), (BLEND, MODEL))
"""First minus second, where both are there."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """`values` is ranking.json; `daily` what it was made of, by model, of `days` and `horizons`."""

    values: Json
    days: Shaped[NDArray[np.datetime64], " days"]
    horizons: tuple[int, ...]
    daily: Mapping[str, Daily]


def results(plan: Plan) -> Result:
    """Judge the finished trainings of a plan. Raises StorageError where one left no scores of these days.

    `model`, `lightgbm` and `gru` are means of the ranks of their seeds, `blend` of the recipe's and LightGBM's
    ensembles with equal weights: nothing is chosen, so nothing can leak.
    """
    tables = {model: [_scores(plan, member) for member in plan.of(model)] for model in plan.models}
    horizons = plan.store.horizons
    ensembles = {model: mean_of_ranks(members, horizons) for model, members in tables.items()}
    if LIGHTGBM in ensembles:
        ensembles[BLEND] = mean_of_ranks([ensembles[MODEL], ensembles[LIGHTGBM]], horizons)
    data = evaluation_data(plan.store, period_of(plan.split.test), ensembles)
    daily = {model: _daily(data, scores) for model, scores in data.scores.items()}
    seed = plan.members[0].seed
    evaluation = plan.config.evaluation
    metrics = evaluate(data, num_quantiles=evaluation.num_quantiles, cost_bps=evaluation.cost_bps, seed=seed).metrics
    values = {
        "days": len(data.days),
        "first_day": str(data.days[0]),
        "last_day": str(data.days[-1]),
        "stocks": metrics["stocks"],
        "models": {
            model: {
                **summary(each, data.days, horizons, seed),
                "by_seed": _by_seed(plan, model, tables.get(model, ())),
                "training": [training_facts(member) for member in plan.of(model)],
            }
            for model, each in daily.items()
        },
        "pairs": {
            f"{one}-{other}": difference(daily[one], daily[other], horizons, seed)
            for one, other in PAIRS
            if one in daily and other in daily
        },
        "metrics": metrics,
    }
    return Result(values, data.days, horizons, daily)


def _daily(data: EvaluationData, scores: Float[NDArray[np.floating], "days stocks horizons"]) -> Daily:
    return daily_by_cut(scores, data.labels, data.present, data.dollar_volume)


def summary(daily: Daily, days: Shaped[NDArray[np.datetime64], " days"], horizons: Sequence[int], seed: int) -> Json:
    """Of one model: mean RankIC with its 95 % stationary-bootstrap interval by cut and horizon, ICIR, and each year."""
    years = days.astype("datetime64[Y]")
    return {
        "rank_ic": {
            cut: {name_of(h): _interval(series[:, i], h, seed) for i, h in enumerate(horizons)}
            for cut, series in daily.items()
        },
        "icir": {
            cut: {name_of(h): number(icir(series[:, i])) for i, h in enumerate(horizons)}
            for cut, series in daily.items()
        },
        "by_year": {
            str(year): {
                cut: {name_of(h): number(mean(series[years == year, i])) for i, h in enumerate(horizons)}
                for cut, series in daily.items()
            }
            for year in np.unique(years)
        },
    }


def difference(one: Daily, other: Daily, horizons: Sequence[int], seed: int) -> Json:
    """First minus second, paired by day, by cut and horizon: interval and two-sided p of `statistics.paired`, and the
    ICIR of the difference. It speaks of these trained ensembles, not of other seeds.
    """
    found: Json = {}
    for cut in (cut for cut in one if cut in other):
        gaps = one[cut] - other[cut]
        found[cut] = {}
        for i, horizon in enumerate(horizons):
            interval = paired_interval(gaps[None, :, i], horizon, seed, num_resamples=NUM_RESAMPLES)
            shown = {key: number(getattr(interval, key)) for key in ("mean", "low", "high", "p")}
            found[cut][name_of(horizon)] = {**shown, "icir": number(icir(gaps[:, i]))}
    return found


def deflated(
    series: Float[NDArray[np.float64], " days"], horizon: int, tried: Sequence[float | None], num_tried: int
) -> Json:
    """Is this series' mean above what the best of `num_tried` useless recipes would show? `tried` are the ICIRs known.

    Bailey and Lopez de Prado 2014, through `statistics.deflation`.
    """
    known = np.array([value for value in tried if value is not None], dtype=np.float64)
    found: Deflated = deflated_icir(series, known, horizon=horizon, num_trials=max(num_tried, known.size, 1))
    return {
        "icir": number(found.ratio.icir),
        "effective_days": number(found.ratio.effective_days),
        "num_tried": found.num_trials,
        "deviation_of_tried": number(math.sqrt(found.variance)) if found.variance >= 0 else None,
        "expected_maximum": number(found.expected_maximum),
        "p_undeflated": number(found.p_undeflated),
        "p": number(found.p),
    }


def _interval(daily: Float[NDArray[np.float64], " days"], horizon: int, seed: int) -> Json:
    found = interval_of_mean(daily, horizon, seed)
    return {"mean": number(found.mean), "low": number(found.low), "high": number(found.high)}


def _by_seed(plan: Plan, model: str, tables: Sequence[pl.DataFrame]) -> Json:
    """RankIC of each member by itself."""
    found: Json = {}
    for member, table in zip(plan.of(model), tables, strict=True):
        data = evaluation_data(plan.store, period_of(plan.split.test), {model: table})
        daily = _daily(data, data.scores[model])
        found[str(member.seed)] = {
            cut: {name_of(h): number(mean(series[:, i])) for i, h in enumerate(plan.store.horizons)}
            for cut, series in daily.items()
        }
    return found


def _scores(plan: Plan, member: Member) -> pl.DataFrame:
    """Of the evaluated days."""
    store, split, file = plan.store, plan.split, member.job.folder / PREDICTIONS
    table = read_table(file, store.horizons, (len(split.valid) + len(split.test)) * len(store.codes))
    first, last = (store.days[split.test[end]].item() for end in (0, -1))
    tested = table.filter(pl.col("date").is_between(first, last))
    found, expected = tested["date"].n_unique(), len(split.test)
    if found != expected:
        raise StorageError(f"{file}: expected scores of {expected} days, found {found}; delete {member.job.folder}")
    return tested
