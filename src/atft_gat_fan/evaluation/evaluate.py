"""Scores of one split, model and baselines alike, turned into the numbers of `metrics.json`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray

from atft_gat_fan.errors import DataError
from atft_gat_fan.evaluation.cuts import LIQUID, SKIP1, daily_by_cut
from atft_gat_fan.metrics.dispersion import collapse_share, daily_dispersion
from atft_gat_fan.metrics.portfolio import (
    LongShort,
    annualised_sharpe,
    common_groups,
    drawdown,
    long_short,
    quantile_returns,
)
from atft_gat_fan.metrics.rank_ic import daily_rank_ic, icir, mean
from atft_gat_fan.statistics.bootstrap import Interval, mean_block_length, mean_interval
from atft_gat_fan.statistics.hac import automatic_lags, newey_west

MODEL = "model"
"""Name of our own scores among `EvaluationData.scores`; every other name is a baseline."""

NO_VOLUME = "the panel has no volume, so the liquid half of a day is unknown"
NO_ONE_DAY_LABEL = "the long-short book is rebalanced daily and needs the 1-day label, which is not among the horizons"
NUM_RESAMPLES = 2000

Json = dict[str, Any]


@dataclass(frozen=True)
class EvaluationData:
    """One split: T consecutive panel days, N stocks, H horizons.

    `scores` [T, N, H] by name, any unit, NaN where a stock cannot be scored; `labels` [T, N, H] raw forward
    returns (fractions), NaN = unknown; `dollar_volume` [T, N] 20-day median, NaN = unknown, None = no volume.
    The days must follow each other in the panel: the skip-1 label of a day is the label of the next one.
    """

    days: Shaped[NDArray[np.datetime64], " days"]
    codes: tuple[str, ...]
    horizons: tuple[int, ...]
    scores: Mapping[str, Float[NDArray[np.floating], "days stocks horizons"]]
    labels: Float[NDArray[np.floating], "days stocks horizons"]
    present: Bool[NDArray[np.bool_], "days stocks"]
    dollar_volume: Float[NDArray[np.floating], "days stocks"] | None = None
    unavailable: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Baselines that could not run: name -> {"unavailable": why and how to mend it}."""

    def __post_init__(self) -> None:
        expected = (len(self.days), len(self.codes), len(self.horizons))
        arrays = {"labels": self.labels, **{f"scores of {name}": values for name, values in self.scores.items()}}
        for name, values in arrays.items():
            if values.shape != expected:
                raise DataError(
                    f"{name}: expected [days, stocks, horizons] = {list(expected)}, got {list(values.shape)}"
                )


@dataclass(frozen=True)
class ScoreSeries:
    """Per-day results of one scorer, for figures and paired comparisons. Float64, NaN = unknown."""

    rank_ic: Float[NDArray[np.float64], "days horizons"]
    dispersion: Float[NDArray[np.float64], "days horizons"]
    long_short: LongShort | None
    """None without a 1-day label."""
    quantile_returns: Float[NDArray[np.float64], "days quantiles"] | None


@dataclass(frozen=True)
class Evaluation:
    """`metrics` is one split of `metrics.json`; `series` holds the days behind it, by name (`model`, baselines)."""

    days: Shaped[NDArray[np.datetime64], " days"]
    horizons: tuple[int, ...]
    metrics: Json
    series: dict[str, ScoreSeries]


def evaluate(
    data: EvaluationData,
    *,
    num_quantiles: int = 10,
    cost_bps: float = 10.0,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
    progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """Metrics of the model and of every baseline on one split, and paired comparisons between them.

    Intervals are 95 % stationary-bootstrap intervals of the mean (seeded), t-statistics Newey-West with at
    least h - 1 lags. What cannot be known is None, with a `<key>_reason` beside it where that needs saying.
    `progress`, told the share that is done, may raise to stop the work.
    """
    told = progress or (lambda share: None)
    names = [name_of(h) for h in data.horizons]
    metrics: Json = {
        "days": len(data.days),
        "stocks": float(data.present.sum(axis=1).mean()) if len(data.days) else 0.0,
    }
    metrics["label_missing_share"] = dict(zip(names, _missing_shares(data), strict=True))
    measured: dict[str, Json] = {}
    series: dict[str, ScoreSeries] = {}
    for position, (name, scores) in enumerate(data.scores.items()):
        told(position / len(data.scores))
        series[name] = _daily_series(data, scores, num_quantiles, cost_bps)
        told((position + 0.5) / len(data.scores))
        measured[name] = _summary(data, scores, series[name], cost_bps, seed, num_resamples)
    metrics |= measured.get(MODEL, {})
    metrics["baselines"] = {name: values for name, values in measured.items() if name != MODEL}
    metrics["baselines"] |= {name: dict(reason) for name, reason in data.unavailable.items()}
    if MODEL in series:
        metrics["versus"] = {
            name: _paired(series[MODEL], other, data.horizons, seed, num_resamples)
            for name, other in series.items()
            if name != MODEL
        }
    return Evaluation(data.days, data.horizons, metrics, series)


def name_of(horizon: int) -> str:
    """Key of a horizon in metrics.json: `1d`."""
    return f"{horizon}d"


def _daily_series(
    data: EvaluationData, scores: NDArray[np.floating], num_quantiles: int, cost_bps: float
) -> ScoreSeries:
    per_horizon = range(len(data.horizons))
    rank_ic = [daily_rank_ic(scores[..., h], data.labels[..., h], data.present) for h in per_horizon]
    dispersion = [daily_dispersion(scores[..., h], data.present) for h in per_horizon]
    book, groups = None, None
    if 1 in data.horizons:
        one_day = data.horizons.index(1)
        score, label = scores[..., one_day], data.labels[..., one_day]
        num_groups = common_groups(data.present, num_quantiles)
        book = long_short(score, label, data.present, num_quantiles=num_groups, cost_bps=cost_bps)
        groups = quantile_returns(score, label, data.present, num_groups)
    return ScoreSeries(np.stack(rank_ic, axis=1), np.stack(dispersion, axis=1), book, groups)


def _summary(
    data: EvaluationData,
    scores: NDArray[np.floating],
    series: ScoreSeries,
    cost_bps: float,
    seed: int,
    num_resamples: int,
) -> Json:
    """Everything about one scorer, keyed as in metrics.json."""
    summary: Json = {key: {} for key in ("rank_ic", "rank_ic_skip1", "rank_ic_liquid", "icir")}
    summary |= {key: {} for key in ("rank_ic_interval", "rank_ic_t", "rank_ic_se", "dispersion", "collapse_share")}
    cuts = daily_by_cut(scores, data.labels, data.present, data.dollar_volume, (SKIP1, LIQUID))
    for i, horizon in enumerate(data.horizons):
        name, daily = name_of(horizon), series.rank_ic[:, i]
        inference = newey_west(daily, automatic_lags(int(np.isfinite(daily).sum()), horizon))
        interval = interval_of_mean(daily, horizon, seed, num_resamples)
        summary["rank_ic"][name] = number(mean(daily))
        summary["icir"][name] = number(icir(daily))
        summary["rank_ic_t"][name] = number(inference.t)
        summary["rank_ic_se"][name] = number(inference.standard_error)
        summary["rank_ic_interval"][name] = [number(interval.low), number(interval.high)]
        summary["rank_ic_skip1"][name] = number(mean(cuts[SKIP1][:, i]))
        if LIQUID in cuts:
            summary["rank_ic_liquid"][name] = number(mean(cuts[LIQUID][:, i]))
        summary["dispersion"][name] = number(mean(series.dispersion[:, i]))
        summary["collapse_share"][name] = number(collapse_share(scores[..., i], data.present))
    if LIQUID not in cuts:
        summary |= {"rank_ic_liquid": None, "rank_ic_liquid_reason": NO_VOLUME}
    if series.long_short is None:
        return summary | {"portfolio": None, "portfolio_reason": NO_ONE_DAY_LABEL}
    return summary | {"portfolio": _portfolio(series, series.long_short, cost_bps, seed, num_resamples)}


def _portfolio(series: ScoreSeries, book: LongShort, cost_bps: float, seed: int, num_resamples: int) -> Json:
    known = np.isfinite(book.gross)
    interval = interval_of_mean(book.net, 1, seed, num_resamples)
    groups = None if series.quantile_returns is None else series.quantile_returns.shape[1]
    return {
        "horizon": name_of(1),
        "groups": groups,
        "cost_bps": cost_bps,
        "mean_return_gross": number(mean(book.gross)),
        "mean_return_net": number(interval.mean),
        "mean_return_net_interval": [number(interval.low), number(interval.high)],
        "sharpe_gross": number(annualised_sharpe(book.gross)),
        "sharpe_net": number(annualised_sharpe(book.net)),
        "turnover": number(mean(book.turnover[known])),
        "hit_rate": number(mean(np.where(known, book.net > 0, np.nan))),
        "max_drawdown_net": number(drawdown(book.net).min(initial=0.0)),
    }


def _paired(model: ScoreSeries, other: ScoreSeries, horizons: tuple[int, ...], seed: int, num_resamples: int) -> Json:
    """Mean daily RankIC of the model minus the other's, with its interval and the verdict it allows."""
    comparison: Json = {}
    for i, horizon in enumerate(horizons):
        interval = interval_of_mean(model.rank_ic[:, i] - other.rank_ic[:, i], horizon, seed, num_resamples)
        comparison[name_of(horizon)] = {
            "mean": number(interval.mean),
            "low": number(interval.low),
            "high": number(interval.high),
            "verdict": _verdict(interval),
        }
    return comparison


def _verdict(interval: Interval) -> str | None:
    if math.isnan(interval.low):
        return None
    if interval.low > 0:
        return "beats"
    return "loses" if interval.high < 0 else "ties"


def interval_of_mean(
    daily: Float[NDArray[np.float64], " days"], horizon: int, seed: int, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """95 % stationary-bootstrap interval of the mean of a daily series on h-day labels; NaN days are left out."""
    return mean_interval(daily, block_length=mean_block_length(horizon), seed=seed, num_resamples=num_resamples)


def _missing_shares(data: EvaluationData) -> list[float | None]:
    """Share of the present stock-days whose label is unknown, per horizon."""
    stock_days = int(data.present.sum())
    missing = (~np.isfinite(data.labels) & data.present[..., None]).sum(axis=(0, 1))
    return [int(count) / stock_days if stock_days else None for count in missing]


def number(value: float) -> float | None:
    """A JSON number: NaN becomes null."""
    return float(value) if math.isfinite(value) else None
