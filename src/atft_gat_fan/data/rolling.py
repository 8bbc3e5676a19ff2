"""Trailing windows over a flat array of panel days, exact to the bit wherever the array begins.

Running sums (add the newest, subtract the oldest) carry rounding from all the past: the same day gets other bits when
the panel starts earlier or is converted in pieces. Here each window is summed anew by doubling, in a fixed order: a
window of 60 is those of 32, 16, 8 and 4 days side by side, each the sum of two halves. A result depends on the days
of its window alone, and costs about log2(window) passes.

NaN is missing. A statistic of fewer than `min_samples` known values is NaN.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from atft_gat_fan.data.timelines import lag

Flat = Float[ndarray, " slots"]


def min_samples(window: int) -> int:
    """Known values a window needs: two thirds of its days, at least 3."""
    return max(3, -(-2 * window // 3))


def rolling_mean(values: Flat, window: int) -> Flat:
    known = np.isfinite(values)
    count = _count(known, window)
    mean: Flat = _windows(np.where(known, values, 0.0), window, np.add, 0.0) / count
    return mean


def rolling_max(values: Flat, window: int) -> Flat:
    known = np.isfinite(values)
    highest = _windows(np.where(known, values, -np.inf), window, np.maximum, -np.inf)
    highest[np.isnan(_count(known, window))] = np.nan
    return highest


def rolling_min(values: Flat, window: int) -> Flat:
    return -rolling_max(-values, window)


def rolling_std(values: Flat, window: int, *, of_sample: bool = False) -> Flat:
    """Population standard deviation of the known values; exactly 0 where they do not vary.

    `of_sample`: over their number - 1.
    """
    variance = _second_moments(values, values, window)[0]
    if of_sample:
        count = _count(np.isfinite(values), window)
        variance = variance * count / (count - 1)
    deviation: Flat = np.sqrt(variance)
    return deviation


def rolling_correlation(x: Flat, y: Flat, window: int) -> Flat:
    """Pearson correlation over the days on which both are known; NaN where one does not vary."""
    variance_x, variance_y, covariance = _second_moments(x, y, window)
    correlation: Flat = np.clip(_over_positive(covariance, np.sqrt(variance_x * variance_y)), -1.0, 1.0)
    return correlation


def rolling_slope(y: Flat, x: Flat, window: int) -> Flat:
    """Least-squares slope of y on x over the days on which both are known; NaN where x does not vary."""
    variance, _, covariance = _second_moments(x, y, window)
    return _over_positive(covariance, variance)


def _over_positive(numerator: Flat, denominator: Flat) -> Flat:
    quotient: Flat = np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
    return quotient


def _count(known: Bool[ndarray, " slots"], window: int) -> Flat:
    """Known values of each window; NaN where there are too few."""
    count = _windows(known.astype(np.float64), window, np.add, 0.0)
    count[count < min_samples(window)] = np.nan
    return count


def _second_moments(x: Flat, y: Flat, window: int) -> tuple[Flat, Flat, Flat]:
    """Population variance of x and of y and their covariance, over the days on which both are known.

    Each is 0 where it is no more than the rounding of the products it is a difference of.
    """
    same, both = x is y, np.isfinite(x) & np.isfinite(y)
    x, y = np.where(both, x, 0.0), np.where(both, y, 0.0)
    count = _count(both, window)

    def mean(values: Flat) -> Flat:
        mean: Flat = _windows(values, window, np.add, 0.0) / count
        return mean

    def moment(product: Flat, mean_a: Flat, mean_b: Flat, scale: Flat) -> Flat:
        value = product - mean_a * mean_b
        return np.where(np.abs(value) <= 1e-13 * scale, 0.0, value)

    mean_x, square_x = mean(x), mean(x * x)
    if same:
        variance = moment(square_x, mean_x, mean_x, square_x)
        return variance, variance, variance
    mean_y, square_y = mean(y), mean(y * y)
    return (
        moment(square_x, mean_x, mean_x, square_x),
        moment(square_y, mean_y, mean_y, square_y),
        moment(mean(x * y), mean_x, mean_y, np.sqrt(square_x * square_y)),
    )


def _windows(values: Flat, window: int, combine: Callable[..., Flat], neutral: float) -> Flat:
    """`combine` over the last `window` values of each slot; before the array `neutral`."""
    span, doubled = 1, values  # doubled[t] combines the `span` values up to t
    result, done = np.full_like(values, neutral), 0  # result[t] combines the `done` values up to t
    while True:
        if window & span:
            result, done = combine(result, lag(doubled, done, neutral)), done + span
        if done == window:
            return result
        doubled, span = combine(doubled, lag(doubled, span, neutral)), span * 2
