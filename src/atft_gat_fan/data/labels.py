"""Forward returns: what the model learns to rank."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from atft_gat_fan.data.bars import MAX_GAP
from atft_gat_fan.data.rolling import Flat
from atft_gat_fan.data.timelines import Timelines, lag


def label_name(horizon: int) -> str:
    """Canonical column of the forward return over `horizon` panel days."""
    return f"target_{horizon}d"


def derive_labels(frame: pl.DataFrame, horizons: Sequence[int], delisting_return: float | None) -> pl.DataFrame:
    """`frame` with columns `target_{h}d` (Float32, fraction): P[t+h] / P[t] - 1, P the adjusted close.

    t+h is the h-th next panel day, not the stock's next row. Null where there is no price at t or at t+h, and so on
    the last h panel days. With `delisting_return` r, a stock that left the panel for good between t and t+h has
    P[last] / P[t] * (1 + r) - 1 instead, P[last] its last price. A stock has left for good when it is missing from
    more than `MAX_GAP` panel days up to the panel's last one: whether it returns later is the one thing a label takes
    from after t+h.

    `frame` is canonical (columns `date, code, adj_close`), in any row order.
    """
    timelines = Timelines.of(frame, blank=max(horizons))
    price = timelines.spread(frame["adj_close"])
    payable = price if delisting_return is None else _pay_out(price, timelines, delisting_return, max(horizons))
    columns = []
    for horizon in horizons:
        label = timelines.gather(lag(payable, -horizon) / price - 1)
        # What is paid out behind the panel's last day has not happened yet.
        label[timelines.day + horizon >= timelines.num_days] = np.nan
        columns.append(pl.Series(label_name(horizon), label.astype(np.float32)).fill_nan(None))
    return frame.with_columns(columns)


def _pay_out(price: Flat, timelines: Timelines, delisting_return: float, longest: int) -> Flat:
    """Prices, and behind each stock that has left for good its last price times 1 + r in the next `longest` slots."""
    priced = np.flatnonzero(np.isfinite(timelines.gather(price)))
    by_slot = priced[np.argsort(timelines.slot[priced])]
    last = by_slot[np.append(np.diff(timelines.listing[by_slot]) != 0, True)] if len(by_slot) else by_slot
    gone = timelines.slot[last[timelines.day[last] < timelines.num_days - 1 - MAX_GAP]]
    paid = price.copy()
    for behind in range(1, longest + 1):
        paid[gone + behind] = price[gone] * (1 + delisting_return)
    return paid
