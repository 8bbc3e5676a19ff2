"""Values of a day made comparable: over all its stocks, or over those of one category."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Float32, Int64
from numpy import ndarray

CLIP = 5.0
FEWEST_IN_CATEGORY = 3
"""Known values that a category must have on a day: of two, each says only which is the larger."""


def standardise_within_day(
    frame: pl.DataFrame, names: Sequence[str], method: Literal["zscore", "rank"]
) -> pl.DataFrame:
    """The named columns made comparable over the stocks present on the same day, Float32; null stays null.

    `zscore`: minus the mean, over the population standard deviation, in float64, clipped at ±5. `rank`: average ranks
    (r - 0.5) / n - 0.5, times sqrt(12), so of unit variance when n is large; equal values get the same. A known value
    of a day with fewer than two of them, or with no spread, is 0. NaN and infinite values are unknown ones. `frame`
    must be sorted by `date`.
    """
    if method == "rank":
        return frame.with_columns(_rank(name, "date") for name in names)
    starts = np.flatnonzero(frame["date"].rle_id().diff().fill_null(1).to_numpy())
    lengths = np.diff(starts, append=frame.height)
    return frame.with_columns(pl.Series(name, _zscore(frame[name], starts, lengths)).fill_nan(None) for name in names)


def standardise_within_category(
    frame: pl.DataFrame,
    names: Sequence[str],
    method: Literal["zscore", "rank"],
    category: Int64[ndarray, " rows"],
) -> pl.DataFrame:
    """The same over the stocks of the same day and category; null where that is unknown (negative), or has fewer than
    `FEWEST_IN_CATEGORY` known values on the day.
    """
    day = frame["date"].rle_id().to_numpy()
    order = np.lexsort((category, day))
    group = np.cumsum(_changes(day[order]) | _changes(category[order]))
    starts = np.flatnonzero(_changes(group))
    lengths = np.diff(starts, append=frame.height)
    inside = category[order] >= 0
    grouped = frame.select(names)[order].with_columns(pl.Series("__group__", group))
    ranks = grouped.select(_rank(name, "__group__") for name in names) if method == "rank" else None
    columns = []
    for name in names:
        of_group = _zscore(grouped[name], starts, lengths) if ranks is None else _floats(ranks[name])
        known = np.isfinite(of_group)
        enough = np.repeat(_sums(known.astype(np.float64), starts), lengths) >= FEWEST_IN_CATEGORY
        values = np.empty(frame.height, np.float32)
        values[order] = np.where(enough & inside, of_group, np.nan)
        columns.append(pl.Series(name, values).fill_nan(None))
    return frame.with_columns(columns)


def _rank(name: str, group: str) -> pl.Expr:
    values = pl.when(pl.col(name).is_finite()).then(pl.col(name))
    rank, count = values.rank("average").over(group), values.count().over(group)
    return (((rank - 0.5) / count - 0.5) * math.sqrt(12)).cast(pl.Float32).alias(name)


def _changes(values: ndarray) -> Bool[ndarray, " rows"]:
    """Where a value differs from the one before; the first does."""
    changes = np.ones(len(values), np.bool_)
    changes[1:] = values[1:] != values[:-1]
    return changes


def _floats(column: pl.Series) -> Float32[ndarray, " rows"]:
    return column.fill_null(float("nan")).to_numpy()


def _sums(of_rows: Float[ndarray, " rows"], starts: Int64[ndarray, " groups"]) -> Float[ndarray, " groups"]:
    sums: Float[ndarray, " groups"] = np.add.reduceat(of_rows, starts) if len(starts) else np.empty(0)
    return sums


def _zscore(
    column: pl.Series, starts: Int64[ndarray, " groups"], lengths: Int64[ndarray, " groups"]
) -> Float32[ndarray, " rows"]:
    """Of rows whose groups stand side by side."""
    values = column.cast(pl.Float64).to_numpy()
    known = np.isfinite(values)

    def group_sum(of_rows: Float[ndarray, " rows"]) -> Float[ndarray, " rows"]:
        return np.repeat(_sums(of_rows, starts), lengths)

    count = np.maximum(group_sum(known.astype(np.float64)), 1.0)
    deviation = np.where(known, values - group_sum(np.where(known, values, 0.0)) / count, 0.0)
    spread = np.sqrt(group_sum(deviation**2) / count)
    # Equal values leave deviations of rounding size, which must not be blown up to ±1.
    varies = spread > 1e-12 * np.sqrt(group_sum(np.where(known, values, 0.0) ** 2) / count)
    scores = np.clip(np.divide(deviation, spread, out=np.zeros_like(values), where=varies), -CLIP, CLIP)
    return np.where(known, scores, np.nan).astype(np.float32)
