"""RankIC of each day over all stocks, over those that can be traded, and without the day that bounces."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from atft_gat_fan.data.liquidity import liquid_half
from atft_gat_fan.metrics.rank_ic import daily_rank_ic

ALL, SKIP1, LIQUID, ILLIQUID = "all", "skip1", "liquid", "illiquid"
CUTS = (ALL, SKIP1, LIQUID, ILLIQUID)
"""Of the stocks and days that a RankIC is of: `skip1` leaves the first day out of the label, the halves are by the
day's dollar volume."""

Daily = Mapping[str, Float[NDArray[np.float64], "days horizons"]]


def daily_by_cut(
    scores: Float[NDArray[np.floating], "days stocks horizons"],
    labels: Float[NDArray[np.floating], "days stocks horizons"],
    present: Bool[NDArray[np.bool_], "days stocks"],
    dollar_volume: Float[NDArray[np.floating], "days stocks"] | None,
    cuts: Sequence[str] = CUTS,
) -> Daily:
    """RankIC [days, horizons] by cut, in the order of `cuts`, NaN = unknown.

    `scores` in any unit, NaN where a stock cannot be scored; `labels` raw forward returns, NaN = unknown;
    `dollar_volume` 20-day median, NaN = unknown: such a stock is in neither half. The days follow each other in the
    panel: the skip-1 label of a day is the label of the next one, which the last day does not have. Without any volume
    the halves are left out.
    """
    masks = {ALL: present}
    if dollar_volume is not None and (known := present & np.isfinite(dollar_volume)).any():
        liquid = liquid_half(dollar_volume, present)
        masks |= {LIQUID: liquid, ILLIQUID: known & ~liquid}
    found = {}
    for cut in cuts:
        if cut == SKIP1:
            skipped = _by_horizon(scores[:-1], labels[1:], present[:-1])
            found[cut] = np.concatenate([skipped, np.full((1, scores.shape[2]), np.nan)])[: len(scores)]
        elif cut in masks:
            found[cut] = _by_horizon(scores, labels, masks[cut])
    return found


def _by_horizon(
    scores: NDArray[np.floating], labels: NDArray[np.floating], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    horizons = range(scores.shape[2])
    return np.stack([daily_rank_ic(scores[..., h], labels[..., h], mask) for h in horizons], axis=1)
