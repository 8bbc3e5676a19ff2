"""The default price and volume factors of a stock-day, from that day and those before it.

Names and shapes follow Qlib's Alpha158 (Yang et al. 2020) with returns the usual way round (`ROC_5` is P[t]/P[t-5] -
1), plus market beta, residual momentum and volatility, and Amihud (2002) illiquidity. Windows are panel days, not a
stock's own rows, so that `ROC_5` is the same week for every stock. A day without a row is missing in a window; a
price up to `MAX_GAP` panel days old stands in as the base of a return; a stock away for longer starts anew, because
what it was before a long suspension says nothing of its range, volume or volatility now. A day without trades (volume
0) has no volume and is missing in a window: `VMA_*` is null there, and `VSTD_20`, `CORR_*`, `AMIHUD_20` and `DVOL_20`
are those of the window's other days. A value of day t depends on the panel days t - 65 .. t alone, to the bit: not on
what follows, nor on where the panel begins.
"""

from collections.abc import Iterable

import numpy as np

from atft_gat_fan.data.bars import LONGEST_WINDOW, Bars
from atft_gat_fan.data.feature_family import Family, named
from atft_gat_fan.data.price_paths import PricePaths
from atft_gat_fan.data.rolling import (
    Flat,
    rolling_correlation,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_std,
)
from atft_gat_fan.data.timelines import lag


def body(bars: Bars) -> Iterable[Flat]:
    """KMID: close against open. GAP: open against the last close."""
    yield bars.price / bars.open - 1
    yield bars.open / lag(bars.past_price, 1) - 1


def shadows(bars: Bars) -> Iterable[Flat]:
    """KLEN: range; KUP, KLOW: upper, lower shadow; KSFT: where the close lies in the range; all over the open."""
    yield (bars.high - bars.low) / bars.open
    yield (bars.high - np.maximum(bars.open, bars.price)) / bars.open
    yield (np.minimum(bars.open, bars.price) - bars.low) / bars.open
    yield (2 * bars.price - bars.high - bars.low) / bars.open


def rates_of_change(bars: Bars) -> Iterable[Flat]:
    """ROC_k: return over k days."""
    for days in ROC_DAYS:
        yield bars.price / lag(bars.past_price, days) - 1


def moving_averages(bars: Bars) -> Iterable[Flat]:
    """MA_k: mean price of k days over the price."""
    for window in WINDOWS:
        yield rolling_mean(bars.price, window) / bars.price


def volatilities(bars: Bars) -> Iterable[Flat]:
    """STD_k: standard deviation of the daily returns of k days."""
    for window in WINDOWS:
        yield rolling_std(bars.returns, window)


def range_positions(bars: Bars) -> Iterable[Flat]:
    """RSV_k: where the price lies between the lowest (0) and highest (1) of k days; missing where those are equal."""
    for window in WINDOWS:
        low, high = rolling_min(bars.lowest, window), rolling_max(bars.highest, window)
        yield np.divide(bars.price - low, high - low, out=np.full_like(low, np.nan), where=high > low)


def moving_averages_to_market(bars: Bars) -> Iterable[Flat]:
    """MA_k of the price measured in the market's (`PricePaths`)."""
    for window in WINDOWS:
        yield PricePaths(bars, to_market=True).trend(bars.price, window).mean + 1


def volatilities_to_market(bars: Bars) -> Iterable[Flat]:
    """STD_k of the returns of such prices."""
    returns = PricePaths(bars, to_market=True).returns
    for window in WINDOWS:
        yield rolling_std(returns, window)


def range_positions_to_market(bars: Bars) -> Iterable[Flat]:
    """RSV_k of such prices."""
    paths = PricePaths(bars, to_market=True)
    for window in WINDOWS:
        low, high = paths.lowest(bars.lowest, window)[0], paths.highest(bars.highest, window)[0]
        yield np.divide(bars.price - low, high - low, out=np.full_like(low, np.nan), where=high > low)


def volume_ratios(bars: Bars) -> Iterable[Flat]:
    """VMA_k: log of the volume over its mean of k days. VSTD_20: standard deviation of the log volume."""
    for window in VOLUME_WINDOWS:
        yield np.log(bars.volume / rolling_mean(bars.volume, window))
    yield rolling_std(np.log(bars.volume), 20)


def price_volume_correlations(bars: Bars) -> Iterable[Flat]:
    """CORR_k: correlation of log price and log volume over k days."""
    for window in CORRELATION_WINDOWS:
        yield rolling_correlation(np.log(bars.price), np.log(bars.volume), window)


def price_volume_correlations_to_market(bars: Bars) -> Iterable[Flat]:
    """CORR_k of the price measured in the market's."""
    paths, log_volume = PricePaths(bars, to_market=True), np.log(bars.volume)
    for window in CORRELATION_WINDOWS:
        yield paths.correlation(bars.price, log_volume, window, of_logs=True)


def market_model(bars: Bars) -> Iterable[Flat]:
    """BETA_60: slope of the returns on the market's. RMOM_20, RVOL_60: mean and deviation of what beta leaves over."""
    yield bars.beta
    yield rolling_mean(bars.returns, 20) - bars.beta * rolling_mean(bars.market, 20)
    total = rolling_std(bars.returns, LONGEST_WINDOW)
    explained = bars.beta * rolling_std(bars.market, LONGEST_WINDOW)
    yield np.sqrt(np.maximum(total**2 - explained**2, 0.0))


def liquidity(bars: Bars) -> Iterable[Flat]:
    """AMIHUD_20: log mean of |return| / dollar volume (Amihud 2002). DVOL_20: log mean dollar volume."""
    impact = rolling_mean(np.abs(bars.returns) / bars.dollar_volume, 20)
    yield np.log(np.where(impact > 0, impact, np.nan))
    yield np.log(rolling_mean(bars.dollar_volume, 20))


ROC_DAYS = (1, 2, 3, 5, 10, 20, 60)
WINDOWS = (5, 20, 60)
VOLUME_WINDOWS = (5, 20)
CORRELATION_WINDOWS = (10, 20)
_PRICE, _VOLUME = frozenset({"close"}), frozenset({"close", "volume"})


DERIVED_FAMILIES: tuple[Family, ...] = (
    Family(("KMID", "GAP"), _PRICE | {"open"}, body),
    Family(("KLEN", "KUP", "KLOW", "KSFT"), _PRICE | {"open", "high", "low"}, shadows),
    Family(named("ROC", ROC_DAYS), _PRICE, rates_of_change),
    Family(named("MA", WINDOWS), _PRICE, moving_averages, moving_averages_to_market),
    Family(named("STD", WINDOWS), _PRICE, volatilities, volatilities_to_market),
    Family(named("RSV", WINDOWS), _PRICE, range_positions, range_positions_to_market),
    Family((*named("VMA", VOLUME_WINDOWS), "VSTD_20"), _VOLUME, volume_ratios),
    Family(
        named("CORR", CORRELATION_WINDOWS),
        _VOLUME,
        price_volume_correlations,
        price_volume_correlations_to_market,
    ),
    Family(("BETA_60", "RMOM_20", "RVOL_60"), _PRICE, market_model),
    Family(("AMIHUD_20", "DVOL_20"), _VOLUME, liquidity),
)
