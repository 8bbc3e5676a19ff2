"""Newey-West inference on the mean of a serially correlated daily series.

Overlapping h-day labels make daily RankIC correlated over h - 1 days, so a plain t-statistic flatters.
Newey and West 1987, with Bartlett weights and the small-sample factor n / (n - 1). Beside it the test of Diebold and
Mariano 1995 as Harvey, Leybourne and Newbold 1997 corrected it.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import t as student_t


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


def bartlett_variance_of_mean(
    series: Float[NDArray[np.float64], "*batch days"], lags: int
) -> Float[NDArray[np.float64], "*batch"]:
    """Newey-West variance of the mean over the last axis, at least two days and all of them finite.

    The Bartlett sum is the mean square of all sums over lags + 1 neighbouring days (zeros beyond the ends), so that it
    costs one pass whatever the lags, and never is negative.
    """
    n = series.shape[-1]
    window = lags + 1
    deviation = series - series.mean(axis=-1, keepdims=True)
    total = np.zeros((*series.shape[:-1], n + 2 * window - 1))
    np.cumsum(deviation, axis=-1, out=total[..., window : window + n])
    total[..., window + n :] = total[..., window + n - 1, None]
    windows = total[..., window:] - total[..., :-window]
    variance: Float[NDArray[np.float64], "*batch"] = (windows**2).sum(axis=-1) / (window * n * (n - 1))
    return variance


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
    standard_error = math.sqrt(float(bartlett_variance_of_mean(known, lags)))
    return MeanInference(mean, standard_error, mean / standard_error if standard_error > 0 else math.nan, lags)


@dataclass(frozen=True)
class DieboldMariano:
    """Statistic and two-sided p of the null of equal accuracy (NaN where there is no spread or too few days)."""

    statistic: float
    p: float


def diebold_mariano(series: Float[NDArray[np.float64], " days"], horizon: int) -> DieboldMariano:
    """Test of mean 0 for daily differences on h-day labels; non-finite days are left out.

    Long-run variance from the h - 1 autocovariances that the overlap makes, equally weighted, the statistic scaled by
    sqrt((n + 1 - 2h + h (h - 1) / n) / n) and referred to Student's t with n - 1 degrees (Harvey, Leybourne and Newbold
    1997, eq. 9). Equal weights can give a variance below zero; Bartlett weights over 2h lags stand in for them then.
    Fewer than 2h + 1 days give NaN. Raises ValueError for a horizon below 1.
    """
    if horizon < 1:
        raise ValueError(f"expected horizon >= 1, got {horizon}")
    known = series[np.isfinite(series)]
    n = known.size
    if n < 2 * horizon + 1:
        return DieboldMariano(math.nan, math.nan)
    deviation = known - known.mean()
    covariances = [float(deviation[lag:] @ deviation[: n - lag]) / n for lag in range(horizon)]
    variance = (covariances[0] + 2 * sum(covariances[1:])) / n
    if variance <= 0:
        variance = float(bartlett_variance_of_mean(known, 2 * horizon)) * (n - 1) / n
    if variance <= 0:
        return DieboldMariano(math.nan, math.nan)
    correction = math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    statistic = correction * float(known.mean()) / math.sqrt(variance)
    return DieboldMariano(statistic, float(2 * student_t.sf(abs(statistic), n - 1)))
