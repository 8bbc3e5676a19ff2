"""What is looked at of a day: distributions of features and scores, numbers of the whole day, realised RankIC.

The same of the reference days and of those that are monitored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from atft_gat_fan.metrics.rank_ic import daily_rank_ic
from atft_gat_fan.monitoring.daily_histograms import DailyHistograms, Rows
from atft_gat_fan.monitoring.result import Family

RANK_CORRELATION = "rank_correlation"
SCORED_SHARE, NAN_SHARE, GRAPH_DEGREE = "scored_share", "nan_share", "graph_degree"


@dataclass(frozen=True, eq=False)
class Observations:
    """Of consecutive days, T of them; NaN where a number is not known.

    `numbers` [T] by name: `rank_correlation_1d` … (with the scores of the day before), `scored_share`, `nan_share`,
    `graph_degree`. `rank_ic` [T] by horizon, NaN before the label has matured. `unavailable` and `missing_numbers` say
    why a family or a number is not there.
    """

    days: tuple[str, ...]
    stocks: Int[NDArray[np.int64], " days"]
    families: Mapping[Family, DailyHistograms]
    numbers: Mapping[str, Float[NDArray[np.float64], " days"]]
    rank_ic: Mapping[str, Float[NDArray[np.float64], " days"]]
    unavailable: Mapping[Family, str] = field(default_factory=dict)
    missing_numbers: Mapping[str, str] = field(default_factory=dict)


def score_rows(scores: Float[NDArray[np.floating], "days stocks horizons"]) -> Rows:
    """The scored stock-days, for histograms."""
    day, stock = np.nonzero(np.isfinite(scores).all(axis=2))
    return day, scores[day, stock]


def rank_correlations(
    scores: Float[NDArray[np.floating], "days stocks horizons"], horizons: tuple[int, ...]
) -> dict[str, Float[NDArray[np.float64], " days"]]:
    """Spearman correlation of each day's scores with those of the day before, over the stocks of both.

    Not known (NaN) of the first day, below three stocks, and where yesterday's scores were all the same; 0 where
    today's are.
    """
    correlations = {}
    for position, horizon in enumerate(horizons):
        of_horizon = scores[..., position]
        correlation = daily_rank_ic(of_horizon[1:], of_horizon[:-1]) if len(scores) > 1 else np.empty(0)
        correlations[f"{RANK_CORRELATION}_{horizon}d"] = np.concatenate([[np.nan], correlation])[: len(scores)]
    return correlations
