"""Correlations of many series at once, each over the days that both have a value, by matrix products."""

import numpy as np
from jaxtyping import Bool, Float32, Float64

NO_VARIATION = 1e-12
"""Share of a sum of squares below which what is left after taking the mean out is rounding."""


def pairwise_correlation(
    values: Float32[np.ndarray, "days stocks"], weights: Float64[np.ndarray, " days"], min_periods: int
) -> Float64[np.ndarray, "stocks stocks2"]:
    """Weighted Pearson correlation of each pair of columns over their common days; NaN in `values` = no value.

    NaN where there are fewer than `min_periods` common days, or one of the two does not vary on them.
    """
    known = ~np.isnan(values)
    values = values.astype(np.float64)
    mass = weights @ known
    mean = (weights @ np.where(known, values, 0.0)) / np.where(mass > 0, mass, 1.0)
    # Centred by each column's own mean first: what the products below then cancel is small.
    scaled = np.where(known, values - mean, 0.0) * np.sqrt(weights)[:, None]
    total = weights @ np.where(known, values, 0.0) ** 2
    scaled[:, np.square(scaled).sum(axis=0) <= NO_VARIATION * total] = 0.0
    if known.all():
        return _complete(scaled) if len(values) >= min_periods else np.full((values.shape[1],) * 2, np.nan)
    return _pairwise_complete(scaled, known, weights, min_periods)


def _complete(scaled: Float64[np.ndarray, "days stocks"]) -> Float64[np.ndarray, "stocks stocks2"]:
    """Every pair has all days: one product is enough."""
    squares = np.square(scaled).sum(axis=0)
    unit = scaled / np.sqrt(np.where(squares > 0, squares, np.nan))
    return unit.T @ unit


def _pairwise_complete(
    scaled: Float64[np.ndarray, "days stocks"],
    known: Bool[np.ndarray, "days stocks"],
    weights: Float64[np.ndarray, " days"],
    min_periods: int,
) -> Float64[np.ndarray, "stocks stocks2"]:
    """Row i, column j of each sum below is of stock i over the days it has in common with stock j."""
    present = known.astype(np.float64)
    root = present * np.sqrt(weights)[:, None]
    common = present.T @ present
    mass = root.T @ root
    mass[mass == 0] = np.nan
    sums = scaled.T @ root
    squares = np.square(scaled).T @ present
    variation = squares - sums**2 / mass
    variation[variation <= NO_VARIATION * squares] = np.nan
    covariation = scaled.T @ scaled - sums * sums.T / mass
    correlation: np.ndarray = covariation / np.sqrt(variation * variation.T)
    correlation[common < min_periods] = np.nan
    return correlation
