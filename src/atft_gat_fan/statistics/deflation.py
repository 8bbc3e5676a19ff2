"""Is the best of many tried configurations better than luck? ICIR deflated by how many were tried.

The daily IC takes the place of the daily return, so that the ICIR (mean over standard deviation, a day) is its Sharpe
ratio: probabilistic ratio of Bailey and Lopez de Prado 2012 (standard error of Mertens 2002), deflated as in Bailey and
Lopez de Prado 2014, "The deflated Sharpe ratio", J. of Portfolio Management 40(5). Serial correlation enters as an
effective number of days.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import norm

from atft_gat_fan.statistics.bootstrap import MIN_DAYS, mean_block_length
from atft_gat_fan.statistics.hac import bartlett_variance_of_mean


@dataclass(frozen=True)
class DailyRatio:
    """ICIR of a daily series with what its standard error is made of; NaN where there are too few days or no spread."""

    icir: float
    days: int
    """Finite ones."""
    effective_days: float
    """Independent days that would tell as much of the mean; never more than `days`."""
    skewness: float
    kurtosis: float
    """3 for a normal distribution."""


@dataclass(frozen=True)
class Deflated:
    """The best configuration's ICIR against what the best of as many useless ones is expected to show."""

    ratio: DailyRatio
    num_trials: int
    variance: float
    """Of the ICIR across the trials; NaN where fewer than two of them are known."""
    expected_maximum: float
    """ICIR that the best of `num_trials` useless configurations is expected to show."""
    p_undeflated: float
    """One-sided, of an ICIR of 0 or less, as if nothing else had been tried."""
    p: float
    """One-sided, of an ICIR no better than `expected_maximum`."""


def daily_ratio(series: Float[NDArray[np.float64], " days"], horizon: int = 1) -> DailyRatio:
    """ICIR of daily ICs on h-day labels; non-finite days are left out, as if the days beside them were adjacent.

    Effective days: days × variance of the mean without serial correlation / with it (Newey-West over as many lags as
    the bootstrap's blocks have days), at most the days there are. Raises ValueError for a horizon below 1.
    """
    if horizon < 1:
        raise ValueError(f"expected horizon >= 1, got {horizon}")
    known = series[np.isfinite(series)]
    n = known.size
    spread = float(known.std(ddof=1)) if n >= MIN_DAYS else 0.0
    # A constant series has a spread of rounding: its moments would be noise.
    if spread <= 1e-12 * max(1.0, float(np.abs(known).max(initial=0.0))):
        return DailyRatio(math.nan, n, math.nan, math.nan, math.nan)
    plain = spread**2 / n
    correlated = float(bartlett_variance_of_mean(known, min(mean_block_length(horizon), n // 2)))
    effective = n * min(plain / correlated, 1.0) if correlated > 0 else float(n)
    standardised = (known - known.mean()) / known.std()
    ratio = float(known.mean()) / spread
    return DailyRatio(ratio, n, effective, float((standardised**3).mean()), float((standardised**4).mean()))


def probability_above(ratio: DailyRatio, benchmark: float) -> float:
    """Probability that the true ICIR is above `benchmark` (the "probabilistic Sharpe ratio"); NaN as `ratio` has it.

    Bailey and Lopez de Prado 2014, eq. 2, with the effective days for the observations.
    """
    return float(norm.cdf(_standard_errors_above(ratio, benchmark)))


def _p_value(ratio: DailyRatio, benchmark: float) -> float:
    """1 - `probability_above`, which would round to 0 where it is small."""
    return float(norm.sf(_standard_errors_above(ratio, benchmark)))


def _standard_errors_above(ratio: DailyRatio, benchmark: float) -> float:
    variance = 1 - ratio.skewness * ratio.icir + (ratio.kurtosis - 1) / 4 * ratio.icir**2
    if not (variance > 0 and ratio.effective_days > 1):
        return math.nan
    return (ratio.icir - benchmark) * math.sqrt((ratio.effective_days - 1) / variance)


def expected_maximum(num_trials: int, variance: float) -> float:
    """Largest of `num_trials` ratios of true value 0 and this variance, as expected (ibid., eq. 1).

    0 for one trial. The equation is an asymptotic one: 8 % low for two trials, less than 3 % off from three on. Raises
    ValueError for fewer trials than one or a variance below 0.
    """
    if num_trials < 1 or variance < 0:
        raise ValueError(f"expected num_trials >= 1 and variance >= 0, got {num_trials} and {variance}")
    if num_trials == 1:
        return 0.0
    first, second = norm.ppf(1 - 1 / num_trials), norm.ppf(1 - 1 / (num_trials * math.e))
    return float(math.sqrt(variance) * ((1 - np.euler_gamma) * first + np.euler_gamma * second))


def deflated_icir(
    best: Float[NDArray[np.float64], " days"],
    trial_icirs: Float[NDArray[np.float64], " trials"],
    *,
    horizon: int = 1,
    num_trials: int | None = None,
) -> Deflated:
    """Judge the `best` configuration's daily ICs, given the ICIR of every trial, its own included, on the same days.

    `num_trials` counts what was tried, by default the trials given; more where the ICIR of some is unknown (NaN, or
    left out). Trials that resemble each other vary little, and deflate little. Conservative: under the null the p of
    the best is below 5 % less often than that, the more so the more were tried, and differences of skill among the
    trials count as luck. Raises ValueError for a `num_trials` below the number of trials given.
    """
    count = trial_icirs.size if num_trials is None else num_trials
    if count < max(trial_icirs.size, 1):
        raise ValueError(f"expected num_trials of at least the {max(trial_icirs.size, 1)} given, got {count}")
    ratio = daily_ratio(best, horizon)
    known = trial_icirs[np.isfinite(trial_icirs)]
    variance = float(known.var(ddof=1)) if known.size > 1 else math.nan
    luck = expected_maximum(count, 0.0 if count == 1 else variance)
    return Deflated(ratio, count, variance, luck, _p_value(ratio, 0.0), _p_value(ratio, luck))
