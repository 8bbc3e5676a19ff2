"""Where the noise of a paired comparison comes from: days common to all seeds, seeds, and both together.

The daily difference of seed s on day t is modelled as mean + seed[s] + day[t] + residual[s, t], day and residual
serially correlated. The variance of the grand mean is that of the day means, plus that of the seed means, less what
both count: two-way clustering (Cameron, Gelbach and Miller 2011) with a long-run variance along the days (Chiang,
Hansen and Sasaki 2024). Inference on the day means alone would speak of these trained networks, not of the
improvement.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from atft_gat_fan.statistics.hac import bartlett_variance_of_mean


@dataclass(frozen=True)
class PairedVariance:
    """Parts of the variance of the grand mean over `num_seeds` x `num_days`, in squared units of the differences.

    `of_days`: of the day means, residual included; `of_seeds`: of the seed means, residual included; `of_both`: the
    residual that the two count twice. One seed leaves the latter two 0: what other seeds would give is not known.
    """

    of_days: float
    of_seeds: float
    of_both: float
    num_seeds: int
    num_days: int
    lags: int

    @property
    def between_seeds(self) -> float:
        """Part of the seeds beyond what their days explain, at least 0."""
        return max(self.of_seeds - self.of_both, 0.0)

    @property
    def of_mean(self) -> float:
        """Variance of the grand mean."""
        return self.of_days + self.between_seeds


def complete_days(differences: Float[NDArray[np.float64], "seeds days"]) -> Float[NDArray[np.float64], "seeds known"]:
    """The days on which every seed has a finite difference, so that all seeds are compared on the same days."""
    return differences[:, np.isfinite(differences).all(axis=0)]


def paired_variance(known: Float[NDArray[np.float64], "seeds days"], lags: int) -> PairedVariance:
    """Parts of the variance of the mean of finite `known`, with `lags` days of serial correlation (Bartlett weights).

    Raises ValueError for fewer than two days or no seed.
    """
    num_seeds, num_days = known.shape
    if num_seeds < 1 or num_days < 2:
        raise ValueError(f"expected at least 1 seed x 2 days, got {num_seeds} x {num_days}")
    day_means = known.mean(axis=0)
    of_days = float(bartlett_variance_of_mean(day_means, lags))
    if num_seeds == 1:
        return PairedVariance(of_days, 0.0, 0.0, num_seeds, num_days, lags)
    seed_means = known.mean(axis=1)
    residual = known - day_means - seed_means[:, None] + known.mean()
    # The day means took one of `num_seeds` degrees from each day's residuals.
    of_both = float(bartlett_variance_of_mean(residual, lags).sum()) / (num_seeds * (num_seeds - 1))
    return PairedVariance(of_days, float(seed_means.var(ddof=1)) / num_seeds, of_both, num_seeds, num_days, lags)


def effective_degrees(parts: PairedVariance) -> float:
    """Degrees of freedom of `parts.of_mean` as an estimate (Satterthwaite 1946); infinite where there is no spread.

    A Bartlett variance with L lags over n days has about 3n / 2L degrees, a variance between S seeds S - 1.
    """
    degrees_of_days = max(1.0, min(parts.num_days - 1, 1.5 * parts.num_days / (parts.lags + 1)))
    doubt = parts.of_days**2 / degrees_of_days
    if parts.between_seeds > 0:
        doubt += parts.of_seeds**2 / (parts.num_seeds - 1)
        doubt += parts.of_both**2 / ((parts.num_seeds - 1) * degrees_of_days)
    return parts.of_mean**2 / doubt if doubt > 0 else math.inf
