"""The days of a window as they look from its last day: each price by its age, and statistics of them.

A statistic takes the ages one after the other, in a fixed order, and depends on the days of its window alone, to the
bit, as those of `rolling` do. It is NaN where today's value is unknown, or fewer than `min_samples` of the window are.

Measured in the market's, the price of `age` days ago is multiplied by the market's growth since. A path of such prices
is that of an index of the stock over the market. It cannot be an index that accumulates from the panel's first day:
its bits would depend on where the panel begins.
"""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray

from atft_gat_fan.data.bars import MAX_GAP, Bars
from atft_gat_fan.data.rolling import Flat, min_samples
from atft_gat_fan.data.timelines import lag

CHUNK_SLOTS = 2**15
"""Slots taken through a window at a time: what the processor's cache holds."""
ROUNDING = 1e-12
"""Standard deviation, as a share of the price, that is no more than the rounding of equal prices."""

AtAge = Callable[[int], Flat]


class Trend(NamedTuple):
    """Of P[t-age] / P[t] - 1 over a window, each [slots]: mean, sample standard deviation, and the least-squares line
    on the days: slope a day, share of the variance (NaN where there is none), and today's residual.
    """

    mean: Flat
    std: Flat
    slope: Flat
    rsquare: Flat
    residual: Flat


class PricePaths:
    """Prices as they are, or, `to_market`, measured in the market's."""

    def __init__(self, bars: Bars, *, to_market: bool = False) -> None:
        self.bars = bars
        self._growth = bars.market_growth if to_market else None

    @cached_property
    def _days(self) -> Int64[ndarray, " slots"]:
        """The panel day of each row's slot; of other slots the one behind the last, whose growth is unknown."""
        timelines = self.bars.timelines
        days = np.full(timelines.size, timelines.num_days)
        days[timelines.slot] = timelines.day
        return days

    @cached_property
    def base(self) -> Flat:
        """What a change is counted from: the last price, at most MAX_GAP + 1 panel days ago."""
        if self._growth is None:
            return lag(self.bars.past_price, 1)
        base = np.full_like(self.bars.price, np.nan)
        for age in range(1, MAX_GAP + 2):
            missing = np.isnan(base)
            base[missing] = (lag(self.bars.price, age) * self._growth[age].take(self._days))[missing]
        return base

    @cached_property
    def changes(self) -> Flat:
        """Of the price since `base`, in its currency."""
        changes: Flat = self.bars.price - self.base
        return changes

    @cached_property
    def returns(self) -> Flat:
        returns: Flat = self.bars.price / self.base - 1
        return returns

    def trend(self, series: Flat, window: int) -> Trend:
        found = np.empty((len(Trend._fields), len(series)))
        for part, at in self._parts(series, window):
            found[:, part] = _trend(at, window)
        return Trend(*found)

    def highest(self, series: Flat, window: int) -> tuple[Flat, Flat]:
        """The highest value and its age in days, the oldest of equal ones."""
        found = np.empty((2, len(series)))
        for part, at in self._parts(series, window):
            found[:, part] = _highest(at, window, 1.0)
        return found[0], found[1]

    def lowest(self, series: Flat, window: int) -> tuple[Flat, Flat]:
        found = np.empty((2, len(series)))
        for part, at in self._parts(series, window):
            found[:, part] = _highest(at, window, -1.0)
        return -found[0], found[1]

    def rank(self, series: Flat, window: int) -> Flat:
        """Average rank of today's value among the known ones of the window, over their number: in (0, 1]."""
        found = np.empty(len(series))
        for part, at in self._parts(series, window):
            found[part] = _rank(at, window)
        return found

    def quantiles(self, series: Flat, window: int, shares: tuple[float, ...]) -> Float[ndarray, "shares slots"]:
        """Linearly interpolated between the known values."""
        found = np.empty((len(shares), len(series)))
        for part, at in self._parts(series, window):
            found[:, part] = _quantiles(at, window, part.stop - part.start, shares)
        return found

    def correlation(self, prices: Flat, other: Flat, window: int, *, of_logs: bool = False) -> Flat:
        """Pearson correlation of prices (or their logarithms) with another series, not measured in the market's."""
        found = np.empty(len(prices))
        others = self._parts(other, window, scaled=False)
        for (part, at), (_, other_at) in zip(self._parts(prices, window), others, strict=True):
            found[part] = _correlation(at, other_at, window, of_logs)
        return found

    def gains_and_losses(self, changes: Flat, window: int) -> tuple[Flat, Flat]:
        """Sums of the changes upwards and of those downwards, both positive."""
        found = np.empty((2, len(changes)))
        for part, at in self._parts(changes, window):
            found[:, part] = _gains_and_losses(at, window)
        return found[0], found[1]

    def _parts(self, series: Flat, window: int, *, scaled: bool = True) -> Iterator[tuple[slice, AtAge]]:
        """Slots some at a time, and the function that gives their values of `age` days ago."""
        padded = np.concatenate([np.full(window, np.nan), series])
        growth = self._growth if scaled else None

        def at_age(part: slice, age: int) -> Flat:
            values: Flat = padded[part.start + window - age : part.stop + window - age]
            return values if growth is None else values * growth[age].take(self._days[part])

        for begin in range(0, len(series), CHUNK_SLOTS):
            part = slice(begin, min(begin + CHUNK_SLOTS, len(series)))
            yield part, partial(at_age, part)


def _enough(count: Flat, window: int, today: Flat) -> Flat:
    """The count; NaN where it is too small, or today's value is unknown."""
    return np.where((count >= min_samples(window)) & np.isfinite(today), count, np.nan)


def _trend(at: AtAge, window: int) -> tuple[Flat, ...]:
    today = at(0)
    count, ages, squared_ages, total, squares, products = np.zeros((6, len(today)))
    for age in range(window):
        # Relative to today nothing is lost where values are large and vary little.
        change = at(age) / today - 1
        known = np.isfinite(change)
        change = np.where(known, change, 0.0)
        count += known
        ages += age * known
        squared_ages += age * age * known
        total += change
        squares += change * change
        products += age * change
    count = _enough(count, window, today)
    mean, mean_age = total / count, ages / count
    variation = np.maximum(squares - total * mean, 0.0)
    variation[variation <= count * ROUNDING**2] = 0.0
    covariation = products - ages * mean
    slope = -covariation / (squared_ages - ages * mean_age)
    rsquare = np.divide(-slope * covariation, variation, out=np.full_like(slope, np.nan), where=variation > 0)
    residual = -(mean + slope * mean_age)
    return mean, np.sqrt(variation / (count - 1)), slope, np.minimum(rsquare, 1.0), residual


def _highest(at: AtAge, window: int, sign: float) -> tuple[Flat, Flat]:
    today = at(0)
    best, best_age, count = np.full_like(today, -np.inf), np.zeros_like(today), np.zeros_like(today)
    for age in range(window):
        values = sign * at(age)
        count += np.isfinite(values)
        better = values >= best
        best[better], best_age[better] = values[better], age
    enough = np.isfinite(_enough(count, window, today))
    return np.where(enough, best, np.nan), np.where(enough, best_age, np.nan)


def _rank(at: AtAge, window: int) -> Flat:
    today = at(0)
    lower, equal, count = np.zeros((3, len(today)))
    for age in range(window):
        values = at(age)
        lower += values < today
        equal += values == today
        count += np.isfinite(values)
    rank: Flat = (lower + (equal + 1) / 2) / _enough(count, window, today)
    return rank


def _quantiles(at: AtAge, window: int, num_slots: int, shares: tuple[float, ...]) -> Float[ndarray, "shares slots"]:
    values = np.empty((num_slots, window))
    for age in range(window):
        values[:, age] = at(age)
    today = values[:, 0].copy()
    values.sort(axis=1)  # NaN last
    count = window - np.isnan(values).sum(axis=1)
    row, found = np.arange(num_slots), []
    for share in shares:
        position = share * np.maximum(count - 1, 0)
        lower = position.astype(np.int64)
        upper = np.minimum(lower + 1, window - 1)
        below = values[row, lower]
        # The value above an exact position is not part of it, and may be a missing one.
        part = position - lower
        found.append(below + np.where(part > 0, (values[row, upper] - below) * part, 0.0))
    return np.where(np.isfinite(_enough(count, window, today)), np.stack(found), np.nan)


def _correlation(at: AtAge, other_at: AtAge, window: int, of_logs: bool) -> Flat:
    today, other_today = at(0), other_at(0)
    count, total_x, total_y, square_x, square_y, product = np.zeros((6, len(today)))
    for age in range(window):
        x, y = at(age) / today - 1, other_at(age) - other_today
        both = np.isfinite(x) & np.isfinite(y)
        x, y = np.where(both, np.log1p(x) if of_logs else x, 0.0), np.where(both, y, 0.0)
        count += both
        total_x += x
        total_y += y
        square_x += x * x
        square_y += y * y
        product += x * y
    count = _enough(count, window, today + other_today)
    variation_x, variation_y = square_x - total_x**2 / count, square_y - total_y**2 / count
    varies = (variation_x > count * ROUNDING**2) & (variation_y > count * ROUNDING**2)
    scale = np.sqrt(np.where(varies, variation_x * variation_y, np.nan))
    return np.clip((product - total_x * total_y / count) / scale, -1.0, 1.0)


def _gains_and_losses(at: AtAge, window: int) -> tuple[Flat, Flat]:
    today = at(0)
    gains, losses, count = np.zeros((3, len(today)))
    for age in range(window):
        change = at(age)
        count += np.isfinite(change)
        gains += np.fmax(change, 0.0)
        losses += np.fmax(-change, 0.0)
    enough = np.isfinite(_enough(count, window, today))
    return np.where(enough, gains, np.nan), np.where(enough, losses, np.nan)
