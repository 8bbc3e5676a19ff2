"""How much weight each of two rankings deserves in their mean, from days that neither learned from.

The weighted mean of two forecasts has smaller errors than either where their errors differ (Bates and Granger 1969,
"The combination of forecasts"); but the weights that were best on a sample are seldom best on the next, and equal ones
are hard to beat (the forecast combination puzzle: Stock and Watson 2004; Smith and Wallis 2009). So ½ stands until the
days speak against it: of all weights whose mean RankIC is within one standard error of the best one's, that nearest to
½ is taken (the one-standard-error rule of Breiman et al. 1984, sec. 3.4.3, with ½ as the simplest model). The error is
that of the mean *difference* to the best, day by day: weights near each other rank alike, and what they share says
nothing about which is better.
"""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from atft_gat_fan.statistics.bootstrap import MIN_DAYS, mean_block_length, stationary_indices
from atft_gat_fan.statistics.hac import automatic_lags, bartlett_variance_of_mean
from atft_gat_fan.statistics.rank_combination import EQUAL, ChosenWeight

NUM_RESAMPLES = 1000
_CHUNK = 4_000_000


def choose_weight(
    daily: Float[NDArray[np.float64], "grid days"],
    grid: Float[NDArray[np.float64], " grid"],
    horizon: int,
    seed: int,
    *,
    num_resamples: int = NUM_RESAMPLES,
) -> ChosenWeight:
    """The weight by the rule above, with its uncertainty from the stationary bootstrap (Politis and Romano 1994).

    daily [grid, days]: RankIC of each day under each weight, on `horizon`-day labels; days that are not finite under
    every weight are left out. Standard errors are Newey-West with at least h - 1 lags. Fewer than `MIN_DAYS` days give
    ½. The same seed gives the same.
    """
    known = daily[:, np.isfinite(daily).all(axis=0)]
    num_days = known.shape[1]
    if num_days < MIN_DAYS:
        return ChosenWeight(EQUAL, math.nan, math.nan, math.nan, num_days, np.full(len(grid), math.nan))
    lags = min(automatic_lags(num_days, horizon), num_days // 2)
    differences = known[:, None] - known[None, :]
    tolerance = np.sqrt(bartlett_variance_of_mean(differences, lags))
    means = known.mean(axis=1)
    chosen = _nearest_to_equal(means[None], tolerance, grid)[0]
    drawn = _resampled(known, tolerance, grid, mean_block_length(horizon), seed, num_resamples)
    low, high = np.quantile(drawn, (0.025, 0.975), method="inverted_cdf")
    return ChosenWeight(float(chosen), float(low), float(high), float(grid[means.argmax()]), num_days, means)


def _nearest_to_equal(
    means: Float[NDArray[np.float64], "draws grid"],
    tolerance: Float[NDArray[np.float64], "grid grid"],
    grid: Float[NDArray[np.float64], " grid"],
) -> Float[NDArray[np.float64], " draws"]:
    """Of the weights within the tolerance of the best, that nearest to ½; of two as near, the better one."""
    best = means.argmax(axis=1)
    behind = means[np.arange(len(means)), best, None] - means
    allowed = behind <= tolerance[best]
    # Steps from ½, with less than a step's worth of order by merit between the two sides.
    steps = np.round(np.abs(grid - EQUAL) * (len(grid) - 1))
    spread = behind.max(axis=1, keepdims=True)
    merit = np.divide(behind, 2 * spread, out=np.zeros_like(behind), where=spread > 0)
    cost = np.where(allowed, steps + merit, np.inf)
    chosen: Float[NDArray[np.float64], " draws"] = grid[cost.argmin(axis=1)]
    return chosen


def _resampled(
    known: Float[NDArray[np.float64], "grid days"],
    tolerance: Float[NDArray[np.float64], "grid grid"],
    grid: Float[NDArray[np.float64], " grid"],
    block_length: int,
    seed: int,
    num_resamples: int,
) -> Float[NDArray[np.float64], " resamples"]:
    """What the rule chooses on days drawn in blocks."""
    num_days = known.shape[1]
    rng = np.random.default_rng(seed)
    drawn = []
    left = num_resamples
    while left:
        count = min(left, max(1, _CHUNK // (num_days * len(grid))))
        days = stationary_indices(num_days, block_length=min(block_length, num_days // 2), num_resamples=count, rng=rng)
        drawn.append(_nearest_to_equal(known[:, days].mean(axis=2).T, tolerance, grid))
        left -= count
    return np.concatenate(drawn)
