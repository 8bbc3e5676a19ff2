"""Rank information coefficient: does the order of the scores agree with the order of the returns?

RankIC of a day is the Spearman correlation (ties averaged) between score and realised raw return over
the stocks where both are known; RankIC of a period is its mean over days, ICIR that mean over its
standard deviation (Grinold and Kahn 2000, ch. 6).
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray
from scipy.stats import rankdata

MIN_STOCKS = 3
"""Fewer valid stocks than this leave a day without a RankIC."""


def daily_rank_ic(
    scores: Shaped[NDArray[np.floating], "days stocks"],
    returns: Shaped[NDArray[np.floating], "days stocks"],
    mask: Bool[NDArray[np.bool_], "days stocks"] | None = None,
) -> Float[NDArray[np.float64], " days"]:
    """RankIC of each day, float64 [days].

    scores [days, stocks], unitless; returns [days, stocks], fractions. A stock is valid where both are finite
    and `mask`, if given, is true. A constant score has no order and scores 0; a day with fewer than three
    valid stocks, or with the same return for all of them, is NaN. Equals scipy.stats.spearmanr on each day.
    """
    scores, returns = np.asarray(scores), np.asarray(returns)
    valid = np.isfinite(scores) & np.isfinite(returns)
    if mask is not None:
        valid &= np.asarray(mask)
    score_rank, score_squares = _centred_ranks(scores, valid)
    return_rank, return_squares = _centred_ranks(returns, valid)
    covariance = np.einsum("dn,dn->d", score_rank, return_rank)
    scale = np.sqrt(score_squares * return_squares)
    rank_ic: NDArray[np.float64] = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
    rank_ic[(valid.sum(axis=1) < MIN_STOCKS) | (return_squares == 0)] = np.nan
    np.clip(rank_ic, -1.0, 1.0, out=rank_ic)
    return rank_ic


def mean(daily: Float[NDArray[np.float64], " days"]) -> float:
    """Mean over the days that have a value; NaN when none has."""
    known = daily[np.isfinite(daily)]
    return float(known.mean()) if known.size else math.nan


def icir(daily: Float[NDArray[np.float64], " days"]) -> float:
    """Mean of the daily RankIC over its standard deviation (n - 1), not annualised.

    NaN below two known days or without spread.
    """
    known = daily[np.isfinite(daily)]
    if known.size < 2:
        return math.nan
    spread = float(known.std(ddof=1))
    return float(known.mean()) / spread if spread > 0 else math.nan


def _centred_ranks(
    values: Shaped[NDArray[np.floating], "days stocks"], valid: Bool[NDArray[np.bool_], "days stocks"]
) -> tuple[Float[NDArray[np.float64], "days stocks"], Float[NDArray[np.float64], " days"]]:
    """Average ranks of the valid stocks minus their mean (0 elsewhere), and the sum of their squares on each day."""
    ranks = rankdata(np.where(valid, values, np.nan), axis=1, nan_policy="omit")
    # Average ranks of n values always have mean (n + 1) / 2: exact in binary, so ties of all give exactly 0.
    middle = (valid.sum(axis=1, keepdims=True) + 1) / 2
    centred = np.where(valid, ranks - middle, 0.0)
    return centred, np.einsum("dn,dn->d", centred, centred)
