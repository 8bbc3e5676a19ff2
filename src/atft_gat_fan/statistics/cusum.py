"""Has the mean of a daily series dropped? A one-sided cumulative sum, and the threshold that healthy days keep to.

Page 1954: S_t = max(0, S_{t-1} + (μ - x_t) / σ - k), an alarm where S exceeds h, then from 0 again. With k = δ/2 it is
the quickest, for its rate of false alarms, to see a drop by δσ (Moustakides 1986). The usual tables of h take μ and σ
for known and days for independent. RankIC has neither: μ is the mean of some hundred days, and labels of several days
overlap. So σ is the long-run deviation, √(n · Newey-West variance of the mean), and h is found by playing the healthy
days again in blocks, each time against the mean of another draw of them.
"""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from atft_gat_fan.statistics.bootstrap import MIN_DAYS, stationary_indices
from atft_gat_fan.statistics.hac import bartlett_variance_of_mean

PLAYED_DAYS = 500
"""Of each replay: several times the days to an alarm that anybody would choose."""
MOST_LAGS_SHARE = 4
"""Lags are at most this part of the series."""


def long_run_deviation(series: Float[NDArray[np.float64], " days"], lags: int) -> float:
    """√(n · variance of the mean), at least the plain standard deviation; NaN below two finite days."""
    known = series[np.isfinite(series)]
    if known.size < 2:
        return math.nan
    lags = min(lags, known.size // MOST_LAGS_SHARE)
    variance = known.size * float(bartlett_variance_of_mean(known, lags))
    return math.sqrt(max(variance, float(known.var(ddof=1))))


def lower_cusum(
    series: Float[NDArray[np.float64], "*batch days"],
    mean: Float[NDArray[np.float64], "*batch"] | float,
    deviation: Float[NDArray[np.float64], "*batch"] | float,
    *,
    allowance: float,
    threshold: float,
) -> Float[NDArray[np.float64], "*batch days"]:
    """S of each day against drops below `mean`, in units of `deviation`; on the day after an alarm it begins at 0.

    `allowance` is k, `threshold` h. Unknown (NaN) days leave it where it was.
    """
    falls = (np.asarray(mean)[..., None] - series) / np.asarray(deviation)[..., None] - allowance
    falls = np.where(np.isfinite(falls), falls, 0.0)
    sums = np.empty_like(falls)
    running = np.zeros(falls.shape[:-1])
    for day in range(falls.shape[-1]):
        running = np.maximum(0.0, np.where(running > threshold, 0.0, running) + falls[..., day])
        sums[..., day] = running
    return sums


def calibrated_threshold(
    series: Float[NDArray[np.float64], "days kinds"],
    lags: tuple[int, ...],
    *,
    allowance: float,
    rate: float,
    block_length: int,
    num_resamples: int,
    seed: int,
) -> float:
    """h at which at most the share `rate` of healthy days raises an alarm, in any of the `kinds` together.

    `series` are healthy days, each kind with the `lags` of its overlap. Each replay draws the mean it is judged by, as
    many days as there are, and `PLAYED_DAYS` days, both by the stationary bootstrap with the same days for all kinds.
    Days without all kinds are left out. NaN below `MIN_DAYS` days.
    """
    known = series[np.isfinite(series).all(axis=1)]
    num_days, num_kinds = known.shape
    if num_days < MIN_DAYS:
        return math.nan
    block_length = min(block_length, num_days // 2)
    rng = np.random.default_rng(seed)
    deviation = np.array([long_run_deviation(known[:, kind], lags[kind]) for kind in range(num_kinds)])
    judged = stationary_indices(num_days, block_length=block_length, num_resamples=num_resamples, rng=rng)
    replayed = _stretches(num_days, PLAYED_DAYS, block_length, num_resamples, rng)
    means = known[judged].mean(axis=1)
    played = np.moveaxis(known[replayed], 2, 1)

    def raised(threshold: float) -> float:
        sums = lower_cusum(played, means, deviation, allowance=allowance, threshold=threshold)
        return float((sums > threshold).any(axis=1).mean())

    low, high = 0.0, 1.0
    while raised(high) > rate:
        low, high = high, 2 * high
    while high - low > 0.05:
        middle = (low + high) / 2
        low, high = (middle, high) if raised(middle) > rate else (low, middle)
    return high


def _stretches(
    num_days: int, length: int, block_length: int, num_resamples: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """As `stationary_indices`, of another length than the series has: resamples put end to end."""
    times = -(-length // num_days)
    drawn = [
        stationary_indices(num_days, block_length=block_length, num_resamples=num_resamples, rng=rng)
        for _ in range(times)
    ]
    return np.concatenate(drawn, axis=1)[:, :length]
