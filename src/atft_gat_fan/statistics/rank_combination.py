"""Two rankings of a day's stocks as one: the weighted mean of their ranks, and a weight with what chose it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import rankdata

EQUAL = 0.5


@dataclass(frozen=True)
class ChosenWeight:
    """Weight of the first ranking; the second has the rest.

    `low` and `high` bound the middle 95 % of the weights that the same rule chooses on resampled days; `best` is the
    weight of the highest mean; `means` [grid] are what was compared. NaN, `weight` aside, where too few days are known.
    """

    weight: float
    low: float
    high: float
    best: float
    num_days: int
    means: Float[NDArray[np.float64], " grid"]


def scaled_ranks(
    scores: Float[NDArray[np.floating], "stocks horizons"],
) -> Float[NDArray[np.float32], "stocks horizons"]:
    """Ranks of one day's stocks within each horizon, from 0 to 1 (the highest); ties averaged.

    Scores are finite. A stock that is alone has 0.5. Float32 keeps the order and the ties of up to 2²³ stocks.
    """
    others = len(scores) - 1
    if others < 1:
        return np.full(scores.shape, EQUAL, np.float32)
    ranks: Float[NDArray[np.float32], "stocks horizons"] = ((np.asarray(rankdata(scores, axis=0)) - 1) / others).astype(
        np.float32
    )
    return ranks


def combined_ranks(
    one: Float[NDArray[np.float32], "*stocks horizons"],
    other: Float[NDArray[np.float32], "*stocks horizons"],
    weights: Float[NDArray[np.float64], " horizons"],
) -> Float[NDArray[np.float32], "*stocks horizons"]:
    """`weights` times the first scaled ranks plus the rest times the second; NaN where either is."""
    return (weights * one + (1.0 - weights) * other).astype(np.float32)


def weight_grid(size: int) -> Float[NDArray[np.float64], " grid"]:
    """`size` weights from 0 to 1, ½ among them. Raises ValueError unless `size` is odd and at least 3."""
    if size < 3 or not size % 2:
        raise ValueError(f"expected an odd number of weights of at least 3, so that ½ is one of them, got {size}")
    grid: Float[NDArray[np.float64], " grid"] = np.arange(size) / (size - 1)
    return grid
