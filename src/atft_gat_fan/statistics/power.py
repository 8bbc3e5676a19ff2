"""What a paired comparison could have seen, and how many days and seeds it would take to see more."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import t as student_t

from atft_gat_fan.statistics.bootstrap import MIN_DAYS, mean_block_length
from atft_gat_fan.statistics.components import PairedVariance, complete_days, effective_degrees, paired_variance

MAX_SEEDS = 10_000
MAX_DAYS = 1_000_000
"""Beyond these the answer is infinity: nobody will train or wait so long."""


@dataclass(frozen=True)
class Needed:
    """Seeds with the days at hand, days with the seeds at hand, for an effect; infinite where no number is enough.

    Seeds NaN where there was one, which tells nothing of others; both NaN where there were too few days.
    """

    seeds: float
    days: float


def minimum_detectable_effect(
    differences: Float[NDArray[np.float64], "seeds days"],
    horizon: int,
    *,
    level: float = 0.05,
    power: float = 0.8,
) -> float:
    """Smallest mean difference that a two-sided test at `level` finds with probability `power`, in its units.

    (t[1 - level / 2] + t[power]) standard errors (Bloom 1995), t with Satterthwaite's degrees. For Holm over k tests
    give level / k, the hardest step. Non-finite days as in `paired_interval`; too few days give NaN.
    Raises ValueError for a level or power outside (0, 1).
    """
    parts = _parts(differences, horizon)
    return _detectable(parts, level, power) if parts else math.nan


def needed(
    differences: Float[NDArray[np.float64], "seeds days"],
    horizon: int,
    effect: float,
    *,
    level: float = 0.05,
    power: float = 0.8,
) -> Needed:
    """Seeds, or days, that bring the minimum detectable effect down to `effect`, the noise being as in `differences`.

    Raises ValueError for an effect <= 0.
    """
    if not effect > 0:
        raise ValueError(f"expected effect > 0, got {effect}")
    parts = _parts(differences, horizon)
    if parts is None:
        return Needed(math.nan, math.nan)
    seeds = math.nan
    if parts.num_seeds > 1:
        seeds = _smallest(
            lambda count: _detectable(_resized(parts, count, parts.num_days), level, power) <= effect, 2, MAX_SEEDS
        )
    days = _smallest(
        lambda count: _detectable(_resized(parts, parts.num_seeds, count), level, power) <= effect, MIN_DAYS, MAX_DAYS
    )
    return Needed(seeds, days)


def _parts(differences: Float[NDArray[np.float64], "seeds days"], horizon: int) -> PairedVariance | None:
    known = complete_days(differences)
    num_seeds, num_days = known.shape
    if not num_seeds or num_days < MIN_DAYS:
        return None
    return paired_variance(known, lags=min(mean_block_length(horizon), num_days // 2))


def _detectable(parts: PairedVariance, level: float, power: float) -> float:
    if not (0 < level < 1 and 0 < power < 1):
        raise ValueError(f"expected level and power between 0 and 1, got {level} and {power}")
    degrees = effective_degrees(parts)
    return float(student_t.ppf(1 - level / 2, degrees) + student_t.ppf(power, degrees)) * math.sqrt(parts.of_mean)


def _resized(parts: PairedVariance, num_seeds: int, num_days: int) -> PairedVariance:
    """The parts that another number of seeds and days would have."""
    of_both = parts.of_both * (parts.num_seeds / num_seeds) * (parts.num_days / num_days)
    return replace(
        parts,
        of_days=max(parts.of_days - parts.of_both, 0.0) * (parts.num_days / num_days) + of_both,
        of_seeds=parts.between_seeds * (parts.num_seeds / num_seeds) + of_both,
        of_both=of_both,
        num_seeds=num_seeds,
        num_days=num_days,
    )


def _smallest(enough: Callable[[int], bool], least: int, most: int) -> float:
    """Smallest count from `least` to `most` that is enough, more never being worse; infinite where `most` is not."""
    if not enough(most):
        return math.inf
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle + 1, most)
    return float(least)
