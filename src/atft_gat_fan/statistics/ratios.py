"""How much slower is the variant? The median of paired ratios, which one stalled timing does not move."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import quantile_test


@dataclass(frozen=True)
class MedianRatio:
    """Median of the ratios with the bounds of its interval; NaN bounds where too few pairs can carry the level."""

    ratio: float
    low: float
    high: float
    pairs: int


def median_ratio_interval(
    variant: Float[NDArray[np.float64], " pairs"],
    baseline: Float[NDArray[np.float64], " pairs"],
    *,
    level: float = 0.95,
) -> MedianRatio:
    """Median of variant / baseline, exact distribution-free interval from order statistics (Conover 1999, 3.2).

    Pairs are timings taken side by side (for an ABBA block the sum of each arm's two); pairs that are not both finite
    and above 0 are left out. Six pairs carry 95 %. Taken over log ratios, so that exchanging the arms gives the
    reciprocal.
    Raises ValueError for unequal lengths.
    """
    if variant.shape != baseline.shape:
        raise ValueError(f"expected pairs, got {variant.size} variant and {baseline.size} baseline values")
    known = np.isfinite(variant) & np.isfinite(baseline) & (variant > 0) & (baseline > 0)
    logs = np.log(variant[known]) - np.log(baseline[known])
    if not logs.size:
        return MedianRatio(math.nan, math.nan, math.nan, 0)
    bounds = quantile_test(logs, p=0.5).confidence_interval(level)
    ratio, low, high = (float(np.exp(value)) for value in (np.median(logs), bounds.low, bounds.high))
    return MedianRatio(ratio, low, high, logs.size)
