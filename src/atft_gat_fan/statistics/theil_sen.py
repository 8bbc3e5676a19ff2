"""A trend that outliers do not make: the median of all pairwise slopes, and whether there is one at all.

Theil 1950 and Sen 1968 for slope and interval, Mann 1945 and Kendall 1975 for the test.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import kendalltau, theilslopes

MIN_POINTS = 5
"""Fewer points than this carry no trend: even a perfect order of four is chance in one of 24 cases."""


@dataclass(frozen=True)
class Trend:
    """Slope per unit of time with its interval, and one-sided p of no upward trend; NaN where points are too few."""

    slope: float
    low: float
    high: float
    p: float
    num_points: int


def trend(
    times: Float[NDArray[np.float64], " points"], values: Float[NDArray[np.float64], " points"], *, level: float = 0.95
) -> Trend:
    """Theil-Sen slope of values against times; points that are not both finite are left out.

    The interval is Sen's, from Kendall's variance with ties; the p is exact for few points without ties. Points of
    one time, or of one value, have no trend: slope 0 in the second case, p 1. Raises ValueError for unequal lengths.
    """
    if times.shape != values.shape:
        raise ValueError(f"expected a value for each time, got {times.size} times and {values.size} values")
    known = np.isfinite(times) & np.isfinite(values)
    times, values = times[known], values[known]
    if times.size < MIN_POINTS or np.ptp(times) == 0:
        return Trend(math.nan, math.nan, math.nan, math.nan, times.size)
    if np.ptp(values) == 0:
        return Trend(0.0, 0.0, 0.0, 1.0, times.size)
    slopes = theilslopes(values, times, alpha=level)
    p = float(kendalltau(times, values, alternative="greater").pvalue)
    return Trend(float(slopes.slope), float(slopes.low_slope), float(slopes.high_slope), p, times.size)
