"""Confidence intervals for the mean of a dependent daily series.

Stationary bootstrap: blocks of random, geometrically distributed length (Politis and Romano 1994).
"""

import math
from dataclasses import dataclass

import numpy as np
from arch.bootstrap import StationaryBootstrap
from jaxtyping import Float, Int
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


def stationary_indices(
    num_days: int, *, block_length: int, num_resamples: int, rng: np.random.Generator
) -> Int[NDArray[np.int64], "resamples days"]:
    """Which day stands at each place of each resample: circular blocks of geometric length, mean `block_length` days.

    All resamples at once, for statistics that are vectorised over them (arch draws them one by one).
    """
    begins = rng.random((num_resamples, num_days)) < 1 / block_length
    begins[:, 0] = True
    place = np.arange(num_days)
    begun_at = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    first_day = np.take_along_axis(rng.integers(num_days, size=begins.shape), begun_at, axis=1)
    return (first_day + place - begun_at) % num_days
