"""Does the model still tell stocks apart? Cross-sectional spread of the scores, and days on which there is none."""

import math

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray

RELATIVE_RESOLUTION = 1e-6
"""A spread below this share of the scores' size is rounding of float32 (8 units in the last place), not opinion."""


def daily_dispersion(
    scores: Shaped[NDArray[np.floating], "days stocks"],
    mask: Bool[NDArray[np.bool_], "days stocks"] | None = None,
) -> Float[NDArray[np.float64], " days"]:
    """Standard deviation (n) of the finite scores of each day, in score units; NaN below two stocks."""
    return _moments(scores, mask)[0]


def collapse_share(
    scores: Shaped[NDArray[np.floating], "days stocks"],
    mask: Bool[NDArray[np.bool_], "days stocks"] | None = None,
) -> float:
    """Share of the days with at least two scores whose scores are all the same up to float32 rounding.

    NaN where no day has two scores.
    """
    spread, size = _moments(scores, mask)
    known = np.isfinite(spread)
    if not known.any():
        return math.nan
    return float((spread[known] <= RELATIVE_RESOLUTION * size[known]).mean())


def _moments(
    scores: Shaped[NDArray[np.floating], "days stocks"], mask: Bool[NDArray[np.bool_], "days stocks"] | None
) -> tuple[Float[NDArray[np.float64], " days"], Float[NDArray[np.float64], " days"]]:
    """Standard deviation and largest absolute score of each day, NaN below two stocks."""
    scores = np.asarray(scores)
    valid = np.isfinite(scores) if mask is None else np.isfinite(scores) & mask
    count = valid.sum(axis=1)
    divisor = np.maximum(count, 1)
    known = np.where(valid, scores, 0.0).astype(np.float64)
    mean = known.sum(axis=1) / divisor
    deviation = np.where(valid, known - mean[:, None], 0.0)
    spread = np.sqrt(np.einsum("dn,dn->d", deviation, deviation) / divisor)
    size = np.abs(known).max(axis=1, initial=0.0)
    return np.where(count >= 2, spread, np.nan), np.where(count >= 2, size, np.nan)
