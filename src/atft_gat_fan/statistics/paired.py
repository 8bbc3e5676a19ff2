"""Does a variant beat its baseline, trained in pairs with the same seeds and tested on the same days?

A draw of the error of the mean is the sum of two. Days: the stationary bootstrap of the day means (Politis and Romano
1994), studentised by the Newey-West variance of the draw itself, which makes it second-order correct (Götze and Künsch
1996) and accounts for the noise of that variance (Gonçalves and Vogelsang 2011). Seeds: a normal effect whose variance
is drawn as well, the observed one between seeds having seeds - 1 degrees (generalised inference on variance components,
Tsui and Weerahandi 1989; Hannig, Iyer and Patterson 2006).

Seeds are not drawn with replacement: three of them are one and the same in a ninth of the draws, their spread comes
out a third too small, and the residual of a seed on a day counts three times (Owen 2007), so that true nulls are
rejected too often where seeds differ and too seldom where they do not. This never rejects more often than it says; less
often with fewer than about five seeds that do not differ, which so few cannot tell.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from atft_gat_fan.statistics.bootstrap import MIN_DAYS, Interval, mean_block_length, stationary_indices
from atft_gat_fan.statistics.components import PairedVariance, complete_days, paired_variance
from atft_gat_fan.statistics.hac import bartlett_variance_of_mean

NUM_RESAMPLES = 5000
"""Enough that Holm's smallest step over ten improvements, p = 0.005, is known to 0.001."""

_CHUNK = 2_000_000


@dataclass(frozen=True)
class PairedInterval(Interval):
    """Mean difference, its symmetric interval, and the two-sided p of the null that it is 0.

    The interval of level 1 - a leaves 0 out exactly where p <= a. NaN, the mean aside, below `MIN_DAYS` days.
    """

    p: float
    standard_error: float
    num_seeds: int
    num_days: int


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests at level a: `p` of the null that the mean is outside +-`margin`, and the 1 - 2a interval.

    `equivalent`: p <= a, which is the same as the interval lying inside the margin (Schuirmann 1987).
    """

    equivalent: bool
    p: float
    low: float
    high: float
    margin: float


def paired_interval(
    differences: Float[NDArray[np.float64], "seeds days"],
    horizon: int,
    seed: int,
    *,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
) -> PairedInterval:
    """Interval and p of the mean over seeds and days of variant - baseline, on h-day labels.

    Days on which any seed's difference is not finite are left out in all seeds: give a training that diverged the
    RankIC 0 of a constant prediction, lest it take every day with it. With one seed the interval speaks of that
    training alone. The same `seed` draws the same. Raises ValueError for a level outside (0, 1).
    """
    _check_level(level)
    drawn = _bootstrap(differences, horizon, seed, num_resamples)
    half = drawn.quantile(level)
    num_seeds, num_days = complete_days(differences).shape
    return PairedInterval(
        mean=drawn.mean,
        low=drawn.mean - half,
        high=drawn.mean + half,
        p=drawn.exceedance(abs(drawn.mean)),
        standard_error=drawn.standard_error,
        num_seeds=num_seeds,
        num_days=num_days,
    )


def equivalence(
    differences: Float[NDArray[np.float64], "seeds days"],
    horizon: int,
    seed: int,
    *,
    margin: float = 0.003,
    level: float = 0.05,
    num_resamples: int = NUM_RESAMPLES,
) -> Equivalence:
    """Is the mean of variant - baseline inside +-margin, from the draws of `paired_interval`? Too few days: not shown.

    Raises ValueError for a margin <= 0 or a level outside (0, 0.5).
    """
    if not margin > 0:
        raise ValueError(f"expected margin > 0, got {margin}")
    _check_level(2 * level)
    drawn = _bootstrap(differences, horizon, seed, num_resamples)
    distance = margin - abs(drawn.mean)
    one_sided = drawn.exceedance(abs(distance)) / 2
    half = drawn.quantile(1 - 2 * level)
    return Equivalence(
        equivalent=bool(half < distance),
        p=one_sided if distance > 0 or math.isnan(distance) else 1 - one_sided,
        low=drawn.mean - half,
        high=drawn.mean + half,
        margin=margin,
    )


@dataclass(frozen=True, eq=False)
class _Bootstrapped:
    """The estimate, its standard error, and |estimate - truth| as drawn, ascending; empty: too few days."""

    mean: float
    standard_error: float
    errors: Float[NDArray[np.float64], " resamples"]

    def quantile(self, level: float) -> float:
        """The error that `exceedance` calls just not significant at 1 - level."""
        if not self.errors.size:
            return math.nan
        rank = math.floor((1 - level) * (self.errors.size + 1) + 1e-9)
        return float(self.errors[-rank]) if rank else math.inf

    def exceedance(self, distance: float) -> float:
        """Share of draws as far from the truth as `distance` > 0, the observed one counted among them."""
        if not self.errors.size:
            return math.nan
        as_far = self.errors.size - int(np.searchsorted(self.errors, distance))
        return (1 + as_far) / (1 + self.errors.size)


def _bootstrap(
    differences: Float[NDArray[np.float64], "seeds days"], horizon: int, seed: int, num_resamples: int
) -> _Bootstrapped:
    known = complete_days(differences)
    num_days = known.shape[1]
    mean = float(known.mean()) if known.size else math.nan
    if num_days < MIN_DAYS or not known.size:
        return _Bootstrapped(mean, math.nan, np.empty(0))
    block_length = min(mean_block_length(horizon), num_days // 2)
    parts = paired_variance(known, lags=block_length)
    centred = known.mean(axis=0) - mean
    rng = np.random.default_rng(seed)
    draws = []
    left = num_resamples
    while left:
        count = min(left, max(1, _CHUNK // num_days))
        draws.append(_draw(centred, parts, block_length, count, rng))
        left -= count
    return _Bootstrapped(mean, math.sqrt(parts.of_mean), np.sort(np.abs(np.concatenate(draws))))


def _draw(
    centred: Float[NDArray[np.float64], " days"],
    parts: PairedVariance,
    block_length: int,
    count: int,
    rng: np.random.Generator,
) -> Float[NDArray[np.float64], " resamples"]:
    days = centred[stationary_indices(centred.size, block_length=block_length, num_resamples=count, rng=rng)]
    variance = bartlett_variance_of_mean(days, parts.lags)
    studentised: Float[NDArray[np.float64], " resamples"] = np.zeros(count)
    np.divide(days.mean(axis=1), np.sqrt(variance), out=studentised, where=variance > 0)
    # Only |error| is asked for and the seeds' part is symmetric, so a draw may count as its mirror image: the same for
    # variant - baseline and baseline - variant.
    error = math.sqrt(parts.of_days) * np.abs(studentised)
    if parts.num_seeds > 1:
        degrees = parts.num_seeds - 1
        of_seeds = parts.of_seeds * degrees / rng.chisquare(degrees, count)
        error += np.sqrt(np.maximum(of_seeds - parts.of_both, 0.0)) * rng.standard_normal(count)
    return error


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
