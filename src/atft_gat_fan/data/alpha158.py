"""The feature set Alpha158 of Qlib (Yang et al. 2020, arXiv:2009.11189), from daily prices and volumes.

Definitions: `Alpha158DL.get_feature_config` in qlib/contrib/data/loader.py, operators in qlib/data/ops.py. Of a stock
with a row, a price and trades on every panel day of the window these are its values, its 1e-12 under the line and its
ROC (past price over today's) included. Elsewhere the rules of this package hold (`features`): windows are panel
days, not a stock's own rows; a day without a row, price or trades is missing in a window, which needs two thirds of its
days; a price or volume up to `MAX_GAP` panel days old stands in as the base of a change; a stock away for longer starts
anew. Features of a path of prices are null on a day without a price, those of volumes on one without trades. Highs
and lows that are missing, or not beyond the close, are the close, in MAX, MIN, IMAX, IMIN, IMXD and RSV.

KMID, KLEN, KUP, KLOW and KSFT are those of `derived_features`, which are the same.
"""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from atft_gat_fan.data.bars import MAX_GAP, Bars
from atft_gat_fan.data.feature_family import Family, named
from atft_gat_fan.data.price_paths import PricePaths
from atft_gat_fan.data.rolling import Flat, rolling_correlation, rolling_mean, rolling_std
from atft_gat_fan.data.timelines import lag, last_known

WINDOWS = (5, 10, 20, 30, 60)
EPSILON = 1e-12


def shape_in_range(bars: Bars) -> Iterable[Flat]:
    """KMID2, KUP2, KLOW2, KSFT2: the bar's body, shadows and place of the close, over its range.

    A bar without range has 0, and null where its open or close lies outside.
    """
    opened, high, low = (bars.quoted(name) for name in ("open", "high", "low"))
    close, extent = bars.close, high - low
    for part in (
        close - opened,
        high - np.maximum(opened, close),
        np.minimum(opened, close) - low,
        2 * close - high - low,
    ):
        yield np.where((extent == 0) & (part != 0), np.nan, part / (extent + EPSILON))


def prices_of_the_day(bars: Bars) -> Iterable[Flat]:
    """OPEN0, HIGH0, LOW0: each over the close."""
    for name in ("open", "high", "low"):
        yield bars.quoted(name) / bars.close


def average_price_of_the_day(bars: Bars) -> Iterable[Flat]:
    """VWAP0: the day's volume-weighted average price over the close."""
    yield bars.quoted("vwap") / bars.close


def past_prices(bars: Bars) -> Iterable[Flat]:
    """ROC: the price d days ago over today's."""
    for days in WINDOWS:
        yield lag(bars.past_price, days) / bars.price


def trends(paths: PricePaths, window: int) -> Iterable[Flat]:
    """MA, STD: mean and sample deviation of the prices, over today's. BETA, RSQR, RESI: their least-squares line on
    the days: slope a day over today's price, R², and today's residual over today's price.
    """
    trend = paths.trend(paths.bars.price, window)
    yield trend.mean + 1
    yield trend.std
    yield trend.slope
    yield trend.rsquare
    yield trend.residual


def extremes(paths: PricePaths, window: int) -> Iterable[Flat]:
    """MAX, MIN: highest high and lowest low, over today's price. RSV: where the price lies between them. IMAX, IMIN:
    the day of each, the window's first being 1, over d; the first of equal ones. IMXD: that of the high less that of
    the low.
    """
    price = paths.bars.price
    priced = np.where(np.isfinite(price), 1.0, np.nan)
    (high, high_age), (low, low_age) = (
        paths.highest(paths.bars.highest, window),
        paths.lowest(paths.bars.lowest, window),
    )
    yield high / price
    yield low / price
    yield (price - low) / (high - low + EPSILON)
    yield (window - high_age) / window * priced
    yield (window - low_age) / window * priced
    yield (low_age - high_age) / window * priced


def distribution(paths: PricePaths, window: int) -> Iterable[Flat]:
    """QTLU, QTLD: quantiles 0.8 and 0.2 of the prices, over today's. RANK: today's rank over the number of prices."""
    price = paths.bars.price
    for quantile in paths.quantiles(price, window, (0.8, 0.2)):
        yield quantile / price
    yield paths.rank(price, window)


def signs(paths: PricePaths, window: int) -> Iterable[Flat]:
    """CNTP, CNTN: share of days on which the price rose, or fell. CNTD: their difference."""
    changes = paths.changes
    known = np.where(np.isfinite(changes), 1.0, np.nan)
    rose, fell = (rolling_mean(moved * known, window) * known for moved in (changes > 0, changes < 0))
    yield rose
    yield fell
    yield rose - fell


def gains(paths: PricePaths, window: int) -> Iterable[Flat]:
    """SUMP, SUMN: sum of the price's gains, or losses, over that of both. SUMD: their difference."""
    yield from _shares(*paths.gains_and_losses(paths.changes, window))


def price_and_volume(paths: PricePaths, window: int) -> Iterable[Flat]:
    """CORR: correlation of the prices with log(volume + 1). CORD: of the returns with log(V[t] / V[t-1] + 1). WVMA:
    sample deviation of |return| * volume over its mean.
    """
    bars, returns = paths.bars, paths.returns
    yield paths.correlation(bars.price, np.log(bars.volume + 1), window)
    turned = np.log(bars.volume / _volume_before(bars) + 1)
    yield rolling_correlation(returns, turned, window) * np.where(np.isfinite(returns + turned), 1.0, np.nan)
    moved = np.abs(returns) * bars.volume
    known = np.where(np.isfinite(moved), 1.0, np.nan)
    yield rolling_std(moved, window, of_sample=True) / (rolling_mean(moved, window) + EPSILON) * known


def volumes(bars: Bars, window: int) -> Iterable[Flat]:
    """VMA, VSTD: mean and sample deviation of the volume, over today's. VSUMP, VSUMN: sum of its increases, or
    decreases, over that of both. VSUMD: their difference.
    """
    volume = bars.volume
    yield rolling_mean(volume, window) / (volume + EPSILON)
    yield rolling_std(volume, window, of_sample=True) / (volume + EPSILON)
    changes = volume - _volume_before(bars)
    yield from _shares(*PricePaths(bars).gains_and_losses(changes, window))


def _volume_before(bars: Bars) -> Flat:
    return lag(last_known(bars.volume, MAX_GAP), 1)


def _shares(up: Flat, down: Flat) -> Iterable[Flat]:
    both = up + down + EPSILON
    yield up / both
    yield down / both
    yield (up - down) / both


def _families(
    prefixes: tuple[str, ...], columns: set[str], statistics: Callable[[PricePaths, int], Iterable[Flat]]
) -> Iterable[Family]:
    """One a window, as they are and measured in the market's: few enough features that little memory holds them."""

    def compute(window: int, to_market: bool, bars: Bars) -> Iterable[Flat]:
        return statistics(PricePaths(bars, to_market=to_market), window)

    for window in WINDOWS:
        names = tuple(f"{prefix}{window}" for prefix in prefixes)
        yield Family(
            names, frozenset(columns), partial(compute, window, False), to_market=partial(compute, window, True)
        )


def _volume_families() -> Iterable[Family]:
    def compute(window: int, bars: Bars) -> Iterable[Flat]:
        return volumes(bars, window)

    for window in WINDOWS:
        names = tuple(f"{prefix}{window}" for prefix in ("VMA", "VSTD", "VSUMP", "VSUMN", "VSUMD"))
        yield Family(names, frozenset({"close", "volume"}), partial(compute, window))


_BAR = frozenset({"open", "high", "low", "close"})

ALPHA158_FAMILIES: tuple[Family, ...] = (
    Family(("KMID2", "KUP2", "KLOW2", "KSFT2"), _BAR, shape_in_range),
    Family(("OPEN0", "HIGH0", "LOW0"), _BAR, prices_of_the_day),
    Family(("VWAP0",), frozenset({"close", "vwap"}), average_price_of_the_day),
    Family(named("ROC", WINDOWS, ""), frozenset({"close"}), past_prices),
    *_families(("MA", "STD", "BETA", "RSQR", "RESI"), {"close"}, trends),
    *_families(("MAX", "MIN", "RSV", "IMAX", "IMIN", "IMXD"), {"high", "low", "close"}, extremes),
    *_families(("QTLU", "QTLD", "RANK"), {"close"}, distribution),
    *_families(("CNTP", "CNTN", "CNTD"), {"close"}, signs),
    *_families(("SUMP", "SUMN", "SUMD"), {"close"}, gains),
    *_families(("CORR", "CORD", "WVMA"), {"close", "volume"}, price_and_volume),
    *_volume_families(),
)
