"""What the ranking would have earned: returns of score quantiles, and a long-short book with costs.

Books are formed from scores alone, before anything is known of the returns: a stock whose return stays
unknown still takes its place, and its leg earns the mean of the known ones. Weights are equal within a
leg, reset every day (drift within the day is not traded), one unit of capital long and one short.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray
from scipy.stats import rankdata

TRADING_DAYS_A_YEAR = 252
MIN_STOCKS_A_GROUP = 2
BASIS_POINT = 1e-4

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LongShort:
    """Daily results of a long-short book, each float64 [days].

    `gross` and `net` are fractions of the capital of one leg, NaN where a leg has no known return;
    `turnover` is the value bought and sold, in units of that capital (4 = the whole book replaced).
    """

    gross: Float[FloatArray, " days"]
    net: Float[FloatArray, " days"]
    turnover: Float[FloatArray, " days"]


def score_groups(
    scores: Shaped[NDArray[np.floating], "days stocks"],
    present: Bool[NDArray[np.bool_], "days stocks"],
    num_quantiles: int,
) -> tuple[Int[NDArray[np.int64], "days stocks"], Int[NDArray[np.int64], " days"]]:
    """Group of each stock (0 lowest score; -1 where absent or without a finite score) and groups of each day.

    A day has `num_quantiles` groups, or as many as leave two stocks a group (0 below four stocks). Equal
    scores share a group, so groups can be empty; a constant score puts all stocks into one.
    """
    valid = np.isfinite(scores) & present
    num_stocks = valid.sum(axis=1)
    num_groups = np.minimum(num_quantiles, num_stocks // MIN_STOCKS_A_GROUP)
    num_groups[num_groups < 2] = 0
    ranks = rankdata(np.where(valid, scores, np.nan), axis=1, nan_policy="omit")
    with np.errstate(invalid="ignore", divide="ignore"):
        position = (ranks - 0.5) / num_stocks[:, None] * num_groups[:, None]
    return np.where(valid & (num_groups[:, None] > 0), position, -1).astype(np.int64), num_groups


def common_groups(present: Bool[NDArray[np.bool_], "days stocks"], num_quantiles: int) -> int:
    """Groups that all but the poorest twentieth of the days allow, so that a group means the same every day.

    Two at least, `num_quantiles` at most.
    """
    allowed = present.sum(axis=1) // MIN_STOCKS_A_GROUP
    typical = int(np.quantile(allowed, 0.05, method="lower")) if allowed.size else num_quantiles
    return max(2, min(num_quantiles, typical))


def quantile_returns(
    scores: Shaped[NDArray[np.floating], "days stocks"],
    returns: Shaped[NDArray[np.floating], "days stocks"],
    present: Bool[NDArray[np.bool_], "days stocks"],
    num_quantiles: int,
) -> Float[FloatArray, "days quantiles"]:
    """Mean return of each of `num_quantiles` score groups on each day, lowest scores first.

    Fractions; NaN where a group is empty, and throughout on days that allow fewer groups.
    """
    groups, num_groups = score_groups(scores, present, num_quantiles)
    full = (num_groups == num_quantiles)[:, None]
    return np.stack([_row_means(returns, full & (groups == group)) for group in range(num_quantiles)], axis=1)


def long_short(
    scores: Shaped[NDArray[np.floating], "days stocks"],
    returns: Shaped[NDArray[np.floating], "days stocks"],
    present: Bool[NDArray[np.bool_], "days stocks"],
    *,
    num_quantiles: int,
    cost_bps: float,
) -> LongShort:
    """Long the highest score group of each day, short the lowest; returns are those of the following day.

    `net = gross - turnover * cost_bps / 10,000`. The first day's book counts as already held (turnover 0).
    A day that cannot be ranked (constant score, fewer than four stocks) holds nothing and earns 0.
    """
    groups, _ = score_groups(scores, present, num_quantiles)
    ranked = groups >= 0
    top = np.where(ranked, groups, -1).max(axis=1, keepdims=True)
    bottom = np.where(ranked, groups, num_quantiles).min(axis=1, keepdims=True)
    held = top > bottom
    long, short = ranked & (groups == top) & held, ranked & (groups == bottom) & held

    gross = _row_means(returns, long) - _row_means(returns, short)
    unranked_but_known = ~held[:, 0] & np.isfinite(returns).any(axis=1)
    gross[unranked_but_known] = 0.0

    weights = _equal_weights(long) - _equal_weights(short)
    turnover = np.zeros(len(weights))
    turnover[1:] = np.abs(np.diff(weights, axis=0)).sum(axis=1)
    return LongShort(gross, gross - turnover * cost_bps * BASIS_POINT, turnover)


def annualised_sharpe(daily: Float[FloatArray, " days"]) -> float:
    """Mean over standard deviation (n - 1) of the known days, times sqrt(252); NaN without spread."""
    known = daily[np.isfinite(daily)]
    if known.size < 2:
        return math.nan
    spread = float(known.std(ddof=1))
    return float(known.mean()) / spread * math.sqrt(TRADING_DAYS_A_YEAR) if spread > 0 else math.nan


def cumulative(daily: Float[FloatArray, " days"]) -> Float[FloatArray, " days"]:
    """Running sum of daily returns (not compounded: the capital of the book stays the same); NaN days add nothing."""
    return np.cumsum(np.where(np.isfinite(daily), daily, 0.0))


def drawdown(daily: Float[FloatArray, " days"]) -> Float[FloatArray, " days"]:
    """Cumulative return minus its highest value so far, the start included (<= 0)."""
    path = cumulative(daily)
    return path - np.maximum(np.maximum.accumulate(path), 0.0) if path.size else path


def _row_means(
    values: Shaped[NDArray[np.floating], "days stocks"], chosen: Bool[NDArray[np.bool_], "days stocks"]
) -> Float[FloatArray, " days"]:
    chosen = chosen & np.isfinite(values)
    total = np.where(chosen, values, 0.0).sum(axis=1, dtype=np.float64)
    count = chosen.sum(axis=1)
    means: FloatArray = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return means


def _equal_weights(leg: Bool[NDArray[np.bool_], "days stocks"]) -> Float[FloatArray, "days stocks"]:
    weights: FloatArray = leg / np.maximum(leg.sum(axis=1, keepdims=True), 1)
    return weights
