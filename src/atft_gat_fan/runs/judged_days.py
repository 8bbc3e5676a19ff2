"""Tables of scores beside what a store knows of their days: what an evaluation is given."""

from collections.abc import Mapping

import numpy as np
import polars as pl
from jaxtyping import Int
from numpy.typing import NDArray

from atft_gat_fan.data.store import Store
from atft_gat_fan.evaluation.evaluate import EvaluationData
from atft_gat_fan.inference.score_table import scores_of


def period_of(days: Int[NDArray[np.int64], " days"]) -> slice:
    """From the first to the last of increasing positions."""
    return slice(int(days[0]), int(days[-1]) + 1)


def evaluation_data(
    store: Store,
    period: slice,
    tables: Mapping[str, pl.DataFrame],
    unavailable: Mapping[str, Mapping[str, str]] | None = None,
) -> EvaluationData:
    """The days of a period, scored by each named table; of other days in the tables nothing is taken.

    `unavailable`: baselines that could not run.
    """
    days, volume = store.days[period], store.column("dollar_volume", period)
    return EvaluationData(
        days=days,
        codes=store.codes,
        horizons=store.horizons,
        scores={name: scores_of(table, days, store.codes, store.horizons) for name, table in tables.items()},
        labels=store.column("labels", period),
        present=store.column("present", period),
        dollar_volume=volume if np.isfinite(volume).any() else None,
        unavailable=unavailable or {},
    )
