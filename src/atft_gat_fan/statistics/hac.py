"""Newey-West inference on the mean of a serially correlated daily series.

Overlapping h-day labels make daily RankIC correlated over h - 1 days, so a plain t-statistic flatters.
Newey and West 1987, with Bartlett weights and the small-sample factor n / (n - 1).
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray


@dataclass(frozen=True)
class MeanInference:
    """Mean of a series, its standard error and t-statistic against 0 (NaN where there is no spread)."""

    mean: float
    standard_error: float
    t: float
    lags: int


def automatic_lags(num_days: int, horizon: int = 1) -> int:
    """Lags for a series of `num_days` built on h-day labels.

    The overlap h - 1, or 4 (n / 100)^(2/9) rounded down, whichever is more (Newey and West 1994).
    """
    return max(horizon - 1, int(4 * (num_days / 100) ** (2 / 9)))


def newey_west(series: Float[NDArray[np.float64], " days"], lags: int) -> MeanInference:
    """Inference on the mean of `series`; non-finite days are left out, as if the days beside them were adjacent.

    With `lags=0` this is the plain t-statistic. Fewer than two days give NaN. Raises ValueError for negative lags.
    """
    if lags < 0:
        raise ValueError(f"expected lags >= 0, got {lags}")
    known = series[np.isfinite(series)]
    n = known.size
    if n < 2:
        return MeanInference(float(known.mean()) if n else math.nan, math.nan, math.nan, lags)
    mean = float(known.mean())
    deviation = known - mean
    variance = float(deviation @ deviation)
    for lag in range(1, min(lags, n - 1) + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(deviation[lag:] @ deviation[:-lag])
    standard_error = math.sqrt(max(variance, 0.0) / (n * (n - 1)))
    return MeanInference(mean, standard_error, mean / standard_error if standard_error > 0 else math.nan, lags)
