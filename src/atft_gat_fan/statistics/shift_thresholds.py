"""Thresholds that healthy days seldom pass, for all features, statistics and windows together.

A day's market moves together, so a thousand stocks are nowhere near a thousand observations, and a Kolmogorov-Smirnov
p-value of pooled values alarms every day. What varies are days, and so days are resampled: many times, a reference of
as many days as there are and a window behind it are drawn in blocks (stationary bootstrap, Politis and Romano 1994),
and compared. Drawing the reference as well counts that it is itself a sample.

Family-wise: each statistic is brought near a normal distribution by a power (1/3 of PSI, 2/3 of the two distances: they
are like χ² and its root; Wilson and Hilferty 1931), and standardised by its mean and deviation over the draws. c is the
1 - rate quantile of the largest of all of them in a draw (max-T, Westfall and Young 1993). How they depend on each
other is thereby in c; a rolling window makes alarms come in runs, and does not change on how many days there is one.

Extrapolated, because some hundred days show no tail of one in a thousand:
- c is that of the Gumbel distribution with the mean and deviation of the largest (Gumbel 1958).
- The deviation of a name is known only as well as its days are independent of each other, and as the windows do not
  share them. Thresholds are mean + deviation times the quantile, at the tail of c, of Student's t with half as many
  degrees as there are independent days, times V / (V + w).
- Windows drawn from V days are nearer to each other than to days to come, the squares of their distances by about
  1 / (1 + w / V) for windows of w days; the statistics are scaled for that.

Waves longer than the blocks, such as a year of calm, cannot be known from a reference without them.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Real
from numpy.typing import NDArray
from scipy.stats import gumbel_r, norm
from scipy.stats import t as student_t

from atft_gat_fan.statistics.bootstrap import stationary_indices
from atft_gat_fan.statistics.distribution_shift import (
    kolmogorov_smirnov,
    population_stability_index,
    wasserstein,
)
from atft_gat_fan.statistics.hac import bartlett_variance_of_mean

STATISTICS = ("psi", "ks", "wasserstein")
_POWERS = np.array([1 / 3, 2 / 3, 2 / 3])
_SQUARED = np.array([1.0, 0.5, 0.5])
"""Powers of a variance that the statistics are like."""
LEAST = np.array([0.01, 0.02, 0.05])
"""Thresholds are not below these: a shift so small does not matter, however sure one may be of it."""
MOST = np.array([np.inf, np.inf, 3.0])
"""Nor above these: values that move by three of their deviations have another unit or meaning, and are no wave."""
LEAST_DEGREES = 3.0
"""Of Student's t: with fewer, thresholds would be beyond anything."""
_CHUNK = 4_000_000
"""Histogram cells at once."""
_LEAST_SPREAD = 1e-12
"""Of a transformed statistic: below it there is none."""


@dataclass(frozen=True)
class Histograms:
    """Counts of the values of `names` kinds on each day, in bins of their own edges.

    counts [days, names, bins]; edges [names, edges]; deviation [names], of the reference.
    """

    counts: Real[NDArray[np.generic], "days names bins"]
    edges: Float[NDArray[np.float64], "names edges"]
    deviation: Float[NDArray[np.float64], " names"]


def shift_statistics(
    reference: Real[NDArray[np.generic], "*batch names bins"],
    current: Real[NDArray[np.generic], "*batch names bins"],
    edges: Float[NDArray[np.float64], "names edges"],
    deviation: Float[NDArray[np.float64], " names"],
) -> Float[NDArray[np.float64], "*batch names 3"]:
    """PSI, Kolmogorov-Smirnov and Wasserstein distance of each name, in the order of `STATISTICS`; NaN: no values."""
    statistics = (
        population_stability_index(reference, current),
        kolmogorov_smirnov(reference, current),
        wasserstein(reference, current, edges, deviation),
    )
    return np.stack(statistics, axis=-1)


def calibrated_thresholds(
    reference: Histograms,
    windows: tuple[int, ...],
    *,
    rate: float,
    block_length: int,
    num_resamples: int,
    seed: int,
) -> Float[NDArray[np.float64], "windows names 3"]:
    """Thresholds of which healthy days pass any with probability `rate`; NaN where the reference has no values.

    `windows` are lengths in days; each ends on the same day. The same `seed` draws the same.
    """
    num_days, num_names, _ = reference.counts.shape
    rng = np.random.default_rng(seed)
    block_length = max(1, min(block_length, num_days // 2))
    judged = _weights(_draws(num_days, num_days, block_length, num_resamples, rng), num_days)
    days = _draws(num_days, max(windows), block_length, num_resamples, rng)
    weights = [_weights(days[:, -window:], num_days) for window in windows]
    scale = np.array([(1 + window / num_days) ** _SQUARED for window in windows])
    drawn = np.empty((len(windows), num_resamples, num_names, len(STATISTICS)))
    step = max(1, _CHUNK // (num_resamples * reference.counts.shape[2]))
    for first in range(0, num_names, step):
        names = slice(first, min(first + step, num_names))
        cells = reference.counts[:, names].astype(np.float64)
        compared_with = np.tensordot(judged, cells, axes=1)
        for position, weight in enumerate(weights):
            drawn[position, :, names] = shift_statistics(
                compared_with, np.tensordot(weight, cells, axes=1), reference.edges[names], reference.deviation[names]
            )
    drawn *= scale[:, None, None, :]
    effective = effective_days(reference.counts, 2 * block_length)
    fresh = np.array([num_days / (num_days + window) for window in windows])
    return _family_wise(drawn, np.maximum(effective * fresh[:, None] / 2, LEAST_DEGREES), rate)


def effective_days(
    counts: Real[NDArray[np.generic], "days names bins"], lags: int
) -> Float[NDArray[np.float64], " names"]:
    """As how many independent days these count for each name: V · variance / long-run variance, at least 2, at most V.

    The smaller one of where the values of a day are on the reference's scale of ranks, and how far from its middle.
    """
    num_days = len(counts)
    reference = counts.sum(axis=0, dtype=np.float64)
    total = np.maximum(reference.sum(axis=-1, keepdims=True), 1.0)
    rank = (np.cumsum(reference, axis=-1) - reference / 2) / total
    values = np.maximum(counts.sum(axis=-1, dtype=np.float64), 1.0)
    effective = np.full(counts.shape[1], float(num_days))
    if num_days < 2:
        return effective
    for position in (rank, np.abs(rank - 0.5)):
        daily = (np.einsum("dnb,nb->dn", counts.astype(np.float64), position) / values).T
        long_run = num_days * bartlett_variance_of_mean(np.ascontiguousarray(daily), min(lags, num_days // 4))
        ratio = np.divide(daily.var(axis=1, ddof=1), long_run, out=np.ones(len(daily)), where=long_run > 0)
        effective = np.minimum(effective, num_days * ratio)
    np.maximum(effective, 2.0, out=effective)
    return effective


def _family_wise(
    drawn: Float[NDArray[np.float64], "windows resamples names 3"],
    degrees: Float[NDArray[np.float64], "windows names"],
    rate: float,
) -> Float[NDArray[np.float64], "windows names 3"]:
    transformed = drawn**_POWERS
    known = np.isfinite(transformed).sum(axis=1) > 1
    mean, deviation = np.full(known.shape, np.nan), np.full(known.shape, np.nan)
    # A short window may hold no value of a name that is mostly missing.
    every = np.moveaxis(transformed, 1, -1)[known]
    mean[known], deviation[known] = np.nanmean(every, axis=-1), np.nanstd(every, axis=-1, ddof=1)
    varies = known & (deviation > _LEAST_SPREAD)
    standardised = np.divide(
        transformed - mean[:, None],
        deviation[:, None],
        out=np.full_like(transformed, -np.inf),
        where=varies[:, None] & np.isfinite(transformed),
    )
    largest = standardised.max(axis=(0, 2, 3))
    critical = float(gumbel_r(*_gumbel(largest)).isf(rate)) if varies.any() else 0.0
    exceeding = student_t.isf(norm.sf(critical), degrees)[..., None]
    thresholds: Float[NDArray[np.float64], "windows names 3"] = (mean + exceeding * deviation) ** (1 / _POWERS)
    np.clip(thresholds, LEAST, MOST, out=thresholds)
    return thresholds


def _gumbel(largest: Float[NDArray[np.float64], " resamples"]) -> tuple[float, float]:
    """Location and scale, by moments: what largest values are like, beyond the largest that was drawn (Gumbel 1958)."""
    scale = float(largest.std(ddof=1)) * math.sqrt(6) / math.pi
    return float(largest.mean()) - np.euler_gamma * scale, scale


def _draws(
    num_days: int, length: int, block_length: int, num_resamples: int, rng: np.random.Generator
) -> Int[NDArray[np.int64], "resamples days"]:
    """`stationary_indices`, of a length that need not be the series'."""
    times = -(-length // num_days)
    drawn = [
        stationary_indices(num_days, block_length=block_length, num_resamples=num_resamples, rng=rng)
        for _ in range(times)
    ]
    return np.concatenate(drawn, axis=1)[:, :length]


def _weights(
    days: Int[NDArray[np.int64], "resamples drawn"], num_days: int
) -> Float[NDArray[np.float64], "resamples days"]:
    """How often each day was drawn."""
    num_resamples = len(days)
    row = np.repeat(np.arange(num_resamples), days.shape[1])
    counted = np.bincount(row * num_days + days.ravel(), minlength=num_resamples * num_days)
    weights: Float[NDArray[np.float64], "resamples days"] = counted.reshape(num_resamples, num_days).astype(np.float64)
    return weights
