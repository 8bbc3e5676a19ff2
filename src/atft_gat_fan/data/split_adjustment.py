"""Prices and volumes adjusted for splits forward from the first day, so that no later split changes what is written.

Vendors adjust backward: the newest price is as quoted and history is rewritten at each split, so that the level of an
old price tells of splits that had yet to come, and everything computed from it must be computed again. Forward, a
price of day t is its quote divided by the product of the split factors up to t: it depends on days <= t alone.
Returns, and price times volume, are the same either way.
"""

from collections.abc import Mapping

import polars as pl

from atft_gat_fan.errors import DataError, Problem

PRICES = ("Open", "High", "Low", "Close")


def adjust_forward(quotes: pl.DataFrame, before: Mapping[str, float]) -> pl.DataFrame:
    """The same rows by date and code, `Open High Low Close` divided and `Volume` multiplied by the running factor.

    `quotes` has those columns as quoted, `Date`, `Code`, and `AdjustmentFactor`: of a split 1:2 it is 0.5 on the first
    day on which the price is halved (ex-date), 1 or null on other days. `before` is each stock's running factor before
    these rows, 1 where it has none. Added is `AdjustmentClose`, the adjusted close once more. Null stays null.

    Raises DataError for a factor that is not positive and finite.
    """
    factor = pl.col("AdjustmentFactor").fill_null(1.0)
    if not (wrong := quotes.filter((factor <= 0) | ~factor.is_finite())).is_empty():
        raise DataError(
            Problem(
                f"expected positive split factors, found {wrong['AdjustmentFactor'][0]}",
                where=f"{wrong['Date'][0]} {wrong['Code'][0]}",
            )
        )
    start = pl.col("Code").replace_strict(dict(before), default=1.0, return_dtype=pl.Float64)
    # Multiplied day by day from the start on, so that the bits do not depend on how many days come at once.
    first = pl.int_range(pl.len()).over("Code") == 0
    running = (factor * pl.when(first).then(start).otherwise(1.0)).cum_prod().over("Code")
    return (
        quotes.sort("Date", "Code")
        .with_columns(running.alias("__running__"), factor.alias("AdjustmentFactor"))
        .with_columns(
            *(pl.col(name) / pl.col("__running__") for name in PRICES), pl.col("Volume") * pl.col("__running__")
        )
        .with_columns(pl.col("Close").alias("AdjustmentClose"))
        .drop("__running__")
    )


def running_factors(factors: pl.DataFrame) -> dict[str, float]:
    """Each stock's product of `AdjustmentFactor` (rows `Date, Code, AdjustmentFactor`), in the order of the days."""
    running: dict[str, float] = {}
    for code, factor in factors.sort("Date", "Code").select("Code", "AdjustmentFactor").iter_rows():
        running[code] = running.get(code, 1.0) * factor
    return running
