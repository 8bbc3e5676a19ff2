"""Forward returns: what the model learns to rank."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Int
from numpy import ndarray

from atft_gat_fan.data.bars import MAX_GAP
from atft_gat_fan.data.rolling import Flat
from atft_gat_fan.data.timelines import Timelines, lag


def label_name(horizon: int) -> str:
    """Canonical column of the forward return over `horizon` panel days."""
    return f"target_{horizon}d"


def derive_labels(
    frame: pl.DataFrame,
    horizons: Sequence[int],
    delisting_return: float | None,
    departures: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """`frame` with columns `target_{h}d` (Float32, fraction): P[t+h] / P[t] - 1, P the adjusted close.

    t+h is the h-th next panel day, not the stock's next row. Null where there is no price at t or at t+h, and so on
    the last h panel days. With `delisting_return` r, a stock that left the panel for good between t and t+h has
    P[last] / P[t] * (1 + r) - 1 instead, P[last] its last price: see `find_departures`, which says so of a
    whole panel; `departures` must be given where `frame` is only some of its days.

    `frame` is canonical (columns `date, code, adj_close`), in any row order.
    """
    timelines = Timelines.of(frame, blank=max(horizons))
    price = timelines.spread(frame["adj_close"])
    payable = price
    if delisting_return is not None:
        if departures is None:
            departures = find_departures(frame.lazy(), frame["date"].unique().sort()).collect()
        last = frame.select("date", "code").with_row_index().join(departures, on=["date", "code"], how="semi")
        payable = _pay_out(price, timelines.slot[last["index"].to_numpy()], delisting_return, max(horizons))
    columns = []
    for horizon in horizons:
        label = timelines.gather(lag(payable, -horizon) / price - 1)
        # What is paid out behind the panel's last day has not happened yet.
        label[timelines.day + horizon >= timelines.num_days] = np.nan
        with np.errstate(over="ignore"):
            columns.append(pl.Series(label_name(horizon), label.astype(np.float32)).fill_nan(None))
    return frame.with_columns(columns)


def find_departures(rows: pl.LazyFrame, days: pl.Series) -> pl.LazyFrame:
    """`date, code` of the last price of each stock that left the panel for good.

    It has when it is missing from more than `MAX_GAP` panel days up to the panel's last one: whether it returns
    later is the one thing a label takes from after t+h. `days` are the panel's, sorted.
    """
    last = rows.filter(pl.col("adj_close").is_not_null()).group_by("code").agg(pl.col("date").max())
    gone = pl.col("date") < days[-1 - MAX_GAP] if len(days) > MAX_GAP else pl.lit(False)
    return last.filter(gone).select("date", "code")


def _pay_out(price: Flat, last: Int[ndarray, " gone"], delisting_return: float, longest: int) -> Flat:
    """Prices, and behind each last one (a slot) that price times 1 + r in the next `longest` slots."""
    paid = price.copy()
    for behind in range(1, longest + 1):
        paid[last + behind] = price[last] * (1 + delisting_return)
    return paid
