"""Does a variant beat its baseline, trained in pairs with the same seeds and tested on the same days?

Studentised bootstrap over day-blocks x seeds. Days are drawn in blocks of random length (stationary bootstrap, Politis
and Romano 1994) and the Newey-West variance is taken anew in each draw, which makes the test second-order correct
(Götze and Künsch 1996) and accounts for the noise of that variance (Gonçalves and Vogelsang 2011). The seeds' effects
are redrawn as normal with the variance estimated between seeds, and that variance with its seeds - 1 degrees (parametric
bootstrap of a random effect, van der Leeden, Meijer and Busing 2008): three seeds drawn with replacement are one and the
same in a ninth of the draws, and drawing days and seeds both counts the residual of a seed on a day three times (Owen
2007).
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

    Days on which any seed's difference is not finite are left out in all seeds. With one seed the interval speaks of
    that training alone. The same `seed` draws the same. Raises ValueError for a level outside (0, 1).
    """
    _check_level(level)
    pivot = _bootstrap(differences, horizon, seed, num_resamples)
    half = pivot.quantile(level) * pivot.standard_error
    num_seeds, num_days = complete_days(differences).shape
    return PairedInterval(
        mean=pivot.mean,
        low=pivot.mean - half,
        high=pivot.mean + half,
        p=pivot.exceedance(pivot.mean),
        standard_error=pivot.standard_error,
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
    pivot = _bootstrap(differences, horizon, seed, num_resamples)
    distance = margin - abs(pivot.mean)
    one_sided = pivot.exceedance(distance) / 2
    half = pivot.quantile(1 - 2 * level) * pivot.standard_error
    return Equivalence(
        equivalent=bool(half < distance),
        p=one_sided if distance > 0 or math.isnan(distance) else 1 - one_sided,
        low=pivot.mean - half,
        high=pivot.mean + half,
        margin=margin,
    )


@dataclass(frozen=True, eq=False)
class _Pivot:
    """The estimate, and |estimate - truth| / standard error as drawn, ascending; empty: too few days."""

    mean: float
    standard_error: float
    draws: Float[NDArray[np.float64], " resamples"]

    def quantile(self, level: float) -> float:
        """The draw that `exceedance` calls just not significant at 1 - level."""
        if not self.draws.size:
            return math.nan
        rank = math.floor((1 - level) * (self.draws.size + 1) + 1e-9)
        return float(self.draws[-rank]) if rank else math.inf

    def exceedance(self, distance: float) -> float:
        """Share of draws as far from the truth as `distance`, the observed one counted among them."""
        if not self.draws.size:
            return math.nan
        if distance == 0:
            return 1.0
        studentised = abs(distance) / self.standard_error if self.standard_error > 0 else math.inf
        as_far = self.draws.size - int(np.searchsorted(self.draws, studentised))
        return (1 + as_far) / (1 + self.draws.size)


def _bootstrap(
    differences: Float[NDArray[np.float64], "seeds days"], horizon: int, seed: int, num_resamples: int
) -> _Pivot:
    known = complete_days(differences)
    num_days = known.shape[1]
    mean = float(known.mean()) if known.size else math.nan
    if num_days < MIN_DAYS or not known.size:
        return _Pivot(mean, math.nan, np.empty(0))
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
    return _Pivot(mean, math.sqrt(parts.of_mean), np.sort(np.abs(np.concatenate(draws))))


def _draw(
    centred: Float[NDArray[np.float64], " days"],
    parts: PairedVariance,
    block_length: int,
    count: int,
    rng: np.random.Generator,
) -> Float[NDArray[np.float64], " resamples"]:
    days = centred[stationary_indices(centred.size, block_length=block_length, num_resamples=count, rng=rng)]
    deviation = days.mean(axis=1)
    variance = bartlett_variance_of_mean(days, parts.lags)
    if parts.num_seeds > 1:
        degrees = parts.num_seeds - 1
        deviation = deviation + math.sqrt(parts.between_seeds) * rng.standard_normal(count)
        of_seeds = (parts.between_seeds + parts.of_both) * rng.chisquare(degrees, count) / degrees
        variance = variance + np.maximum(of_seeds - parts.of_both, 0.0)
    studentised: Float[NDArray[np.float64], " resamples"] = np.zeros(count)
    np.divide(deviation, np.sqrt(variance), out=studentised, where=variance > 0)
    return studentised


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
