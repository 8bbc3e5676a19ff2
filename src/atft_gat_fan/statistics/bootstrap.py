"""Confidence intervals for the mean of a dependent daily series.

Stationary bootstrap: blocks of random, geometrically distributed length (Politis and Romano 1994).
"""

import math
from dataclasses import dataclass

import numpy as np
from arch.bootstrap import StationaryBootstrap
from jaxtyping import Float
from numpy.typing import NDArray

MIN_DAYS = 10
"""Fewer days than this do not carry an interval."""


@dataclass(frozen=True)
class Interval:
    """Mean of a series with the bounds of its confidence interval; NaN bounds where there are too few days."""

    mean: float
    low: float
    high: float


def mean_block_length(horizon: int) -> int:
    """Mean block in days for a series built on h-day labels: twice their overlap, at least ten days."""
    return max(10, 2 * horizon)


def mean_interval(
    series: Float[NDArray[np.float64], " days"],
    *,
    block_length: int,
    seed: int,
    level: float = 0.95,
    num_resamples: int = 2000,
) -> Interval:
    """Percentile interval of the mean; non-finite days are left out. The same seed gives the same bounds.

    For a paired comparison give the daily differences. Blocks longer than half the series are shortened to it.
    """
    known = series[np.isfinite(series)]
    mean = float(known.mean()) if known.size else math.nan
    if known.size < MIN_DAYS:
        return Interval(mean, math.nan, math.nan)
    bootstrap = StationaryBootstrap(min(block_length, known.size // 2), known, seed=np.random.default_rng(seed))
    low, high = bootstrap.conf_int(np.mean, reps=num_resamples, method="percentile", size=level)[:, 0]
    return Interval(mean, float(low), float(high))
