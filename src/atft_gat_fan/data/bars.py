"""Prices and volumes of a panel on their timelines, and the daily series every part of the system shares."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy import ndarray

from atft_gat_fan.data.rolling import Flat, rolling_slope
from atft_gat_fan.data.timelines import Timelines, lag, last_known

LONGEST_WINDOW = 60
MAX_GAP = 5
"""Panel days a stock may be away and still continue its history."""
REACH = LONGEST_WINDOW + MAX_GAP
"""Panel days before t that a factor of day t can depend on."""
LIQUIDITY_WINDOW = 20


@dataclass(frozen=True)
class Bars:
    """The panel's prices and volumes on their timelines; open, high and low adjusted like `price`. NaN is missing."""

    frame: pl.DataFrame

    @cached_property
    def timelines(self) -> Timelines:
        return Timelines.of(self.frame, blank=REACH + 1, max_gap=MAX_GAP)

    def quoted(self, column: str) -> Flat:
        """A price of the day that is not adjusted: beside others of the same day it need not be."""
        return self.timelines.spread(self.frame[column])

    def _adjusted(self, column: str) -> Flat:
        adjusted: Flat = self.quoted(column) * (self.price / self.close)
        return adjusted

    @cached_property
    def close(self) -> Flat:
        """The close as quoted; `price` is the adjusted one."""
        return self.timelines.spread(self.frame["close"])

    @cached_property
    def price(self) -> Flat:
        return self.timelines.spread(self.frame["adj_close"])

    @cached_property
    def open(self) -> Flat:
        return self._adjusted("open")

    @cached_property
    def high(self) -> Flat:
        return self._adjusted("high")

    @cached_property
    def low(self) -> Flat:
        return self._adjusted("low")

    @cached_property
    def highest(self) -> Flat:
        """The high, or the price where that is higher or the high is missing."""
        return np.fmax(self.high, self.price) if "high" in self.frame.columns else self.price

    @cached_property
    def lowest(self) -> Flat:
        return np.fmin(self.low, self.price) if "low" in self.frame.columns else self.price

    @cached_property
    def volume(self) -> Flat:
        volume = self.timelines.spread(self.frame["volume"])
        return np.where(volume > 0, volume, np.nan)

    @cached_property
    def dollar_volume(self) -> Flat:
        dollar_volume: Flat = self.close * self.volume
        return dollar_volume

    @cached_property
    def past_price(self) -> Flat:
        return last_known(self.price, MAX_GAP)

    @cached_property
    def returns(self) -> Flat:
        """Return since the last price, at most MAX_GAP + 1 panel days ago."""
        returns: Flat = self.price / lag(self.past_price, 1) - 1
        return returns

    @cached_property
    def market(self) -> Flat:
        """Equally weighted mean return of the day, on the stock's own days."""
        return np.where(np.isfinite(self.returns), self.timelines.day_mean(self.returns), np.nan)

    @cached_property
    def market_growth(self) -> Float[ndarray, "ages columns"]:
        """Growth of the market from `age` days before a day to that day, for ages 0 .. LONGEST_WINDOW.

        The product of 1 + the equally weighted mean return of each of those days, of the stocks that have a price on
        it and on the panel day before: so it depends on the days from `age` before on. NaN where such a day has none,
        and in the last column, which is no day.
        """
        days = self.timelines.num_days
        ratio = np.full(days + 1, np.nan)
        ratio[:days] = 1 + self.timelines.day_means(self.price / lag(self.price, 1) - 1)
        growth = np.ones((LONGEST_WINDOW + 1, days + 1))
        for age in range(1, LONGEST_WINDOW + 1):
            growth[age] = growth[age - 1] * lag(ratio, age - 1)
        growth[:, days] = np.nan
        return growth

    @cached_property
    def beta(self) -> Flat:
        return rolling_slope(self.returns, self.market, LONGEST_WINDOW)


def trailing_returns(bars: Bars) -> pl.Series:
    """`returns_1d` (Float32, fraction) of the rows of `bars`: P[t] over the last price, at most 6 panel days ago, - 1.

    Infinite where float32 does not reach; so are dollar volumes and derived labels, for a conversion to refuse.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        returns = bars.timelines.gather(bars.returns).astype(np.float32)
    return pl.Series("returns_1d", returns).fill_nan(None)


def median_dollar_volume(bars: Bars) -> pl.Series:
    """`dollar_volume` (Float32): median of close * volume over the last 20 panel days, at least half of them known.

    Days without trades count as 0: that is what illiquid means.
    """
    frame, timelines = bars.frame, bars.timelines
    # The blanks before a listing are longer than the window, so no window reaches into another stock.
    traded = pl.Series(timelines.spread(frame["close"] * frame["volume"])).fill_nan(None)
    median = traded.rolling_median(LIQUIDITY_WINDOW, min_samples=LIQUIDITY_WINDOW // 2)
    with np.errstate(over="ignore"):
        values = timelines.gather(median.to_numpy()).astype(np.float32)
    return pl.Series("dollar_volume", values).fill_nan(None)
