"""Price and volume factors of a stock-day from that day and those before it; their standardisation within the day.

Names and shapes follow Qlib's Alpha158 (Yang et al. 2020) with returns the usual way round (`ROC_5` is P[t]/P[t-5] -
1), plus market beta, residual momentum and volatility, and Amihud (2002) illiquidity. Windows are panel days, not a
stock's own rows, so that `ROC_5` is the same week for every stock. A day without a row is missing in a window; a
price up to `MAX_GAP` panel days old stands in as the base of a return; a stock away for longer starts anew, because
what it was before a long suspension says nothing of its range, volume or volatility now. A day without trades (volume
0) has no volume: volume factors are null there. A value of day t depends on the panel days t - 65 .. t alone, to the
bit: not on what follows, nor on where the panel begins.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from atft_gat_fan.data.bars import LONGEST_WINDOW, Bars
from atft_gat_fan.data.rolling import (
    Flat,
    rolling_correlation,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_std,
)
from atft_gat_fan.data.timelines import lag

CLIP = 5.0


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


def volume_ratios(bars: Bars) -> Iterable[Flat]:
    """VMA_k: log of the volume over its mean of k days. VSTD_20: standard deviation of the log volume."""
    for window in VOLUME_WINDOWS:
        yield np.log(bars.volume / rolling_mean(bars.volume, window))
    yield rolling_std(np.log(bars.volume), 20)


def price_volume_correlations(bars: Bars) -> Iterable[Flat]:
    """CORR_k: correlation of log price and log volume over k days."""
    for window in CORRELATION_WINDOWS:
        yield rolling_correlation(np.log(bars.price), np.log(bars.volume), window)


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


@dataclass(frozen=True)
class Family:
    """Factors computed together: their names, the columns needed, and the function that yields them in that order."""

    names: tuple[str, ...]
    needs: frozenset[str]
    compute: Callable[[Bars], Iterable[Flat]]


ROC_DAYS = (1, 2, 3, 5, 10, 20, 60)
WINDOWS = (5, 20, 60)
VOLUME_WINDOWS = (5, 20)
CORRELATION_WINDOWS = (10, 20)
_PRICE, _VOLUME = frozenset({"close"}), frozenset({"close", "volume"})


def _named(prefix: str, windows: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{prefix}_{window}" for window in windows)


FAMILIES: tuple[Family, ...] = (
    Family(("KMID", "GAP"), _PRICE | {"open"}, body),
    Family(("KLEN", "KUP", "KLOW", "KSFT"), _PRICE | {"open", "high", "low"}, shadows),
    Family(_named("ROC", ROC_DAYS), _PRICE, rates_of_change),
    Family(_named("MA", WINDOWS), _PRICE, moving_averages),
    Family(_named("STD", WINDOWS), _PRICE, volatilities),
    Family(_named("RSV", WINDOWS), _PRICE, range_positions),
    Family((*_named("VMA", VOLUME_WINDOWS), "VSTD_20"), _VOLUME, volume_ratios),
    Family(_named("CORR", CORRELATION_WINDOWS), _VOLUME, price_volume_correlations),
    Family(("BETA_60", "RMOM_20", "RVOL_60"), _PRICE, market_model),
    Family(("AMIHUD_20", "DVOL_20"), _VOLUME, liquidity),
)
DERIVED_FEATURES: tuple[str, ...] = tuple(name for family in FAMILIES for name in family.names)


def derivable_features(columns: Iterable[str]) -> tuple[str, ...]:
    """The factors that these canonical columns (`open high low close volume`) allow, in their fixed order."""
    present = set(columns)
    return tuple(name for family in FAMILIES if family.needs <= present for name in family.names)


def columns_behind(names: Iterable[str]) -> tuple[str, ...]:
    """The canonical columns that these factors are made of, sorted."""
    wanted = set(names)
    return tuple(sorted(set().union(*(family.needs for family in FAMILIES if not wanted.isdisjoint(family.names)))))


def by_family(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The names in their families: those of one family are computed together."""
    wanted = set(names)
    of_families = (tuple(name for name in family.names if name in wanted) for family in FAMILIES)
    return [of_family for of_family in of_families if of_family]


def derive_features(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Columns `date, code, *names` (Float32, raw, null = unknown) for the rows of a canonical panel, in its order."""
    return compute_features(Bars(frame), names)


def compute_features(bars: Bars, names: Sequence[str]) -> pl.DataFrame:
    """The same, of prices whose intermediate series other families share."""
    wanted = set(names)
    columns: dict[str, pl.Series] = {}
    # Missing values are NaN here, and NaN in, NaN out is meant: no warnings for it.
    with np.errstate(invalid="ignore", divide="ignore"):
        for family in FAMILIES:
            if wanted.isdisjoint(family.names):
                continue
            for name, flat in zip(family.names, family.compute(bars), strict=True):
                if name in wanted:
                    values = bars.timelines.gather(flat).astype(np.float32)
                    columns[name] = pl.Series(name, values).fill_nan(None)
    return pl.DataFrame([bars.frame["date"], bars.frame["code"], *(columns[name] for name in names)])


def standardise_within_day(
    frame: pl.DataFrame, names: Sequence[str], method: Literal["zscore", "rank"]
) -> pl.DataFrame:
    """The named columns made comparable over the stocks present on the same day, Float32; null stays null.

    `zscore`: minus the mean, over the population standard deviation, in float64, clipped at ±5. `rank`: average ranks
    (r - 0.5) / n - 0.5, times sqrt(12), so of unit variance when n is large. A known value of a day with fewer than
    two of them, or with no spread, is 0. `frame` must be sorted by `date`.
    """
    if method == "rank":
        return frame.with_columns(_rank(name) for name in names)
    starts = np.flatnonzero(frame["date"].rle_id().diff().fill_null(1).to_numpy())
    lengths = np.diff(starts, append=frame.height)
    return frame.with_columns(pl.Series(name, _zscore(frame[name], starts, lengths)).fill_nan(None) for name in names)


def _rank(name: str) -> pl.Expr:
    rank, count = pl.col(name).rank("average").over("date"), pl.col(name).count().over("date")
    return (((rank - 0.5) / count - 0.5) * math.sqrt(12)).cast(pl.Float32).alias(name)


def _zscore(column: pl.Series, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    if not len(starts):
        return np.empty(0, dtype=np.float32)
    values = column.cast(pl.Float64).to_numpy()
    known = np.isfinite(values)

    def day_sum(of_rows: np.ndarray) -> np.ndarray:
        return np.repeat(np.add.reduceat(of_rows, starts), lengths)

    count = np.maximum(day_sum(known.astype(np.float64)), 1.0)
    deviation = np.where(known, values - day_sum(np.where(known, values, 0.0)) / count, 0.0)
    spread = np.sqrt(day_sum(deviation**2) / count)
    # Equal values leave deviations of rounding size, which must not be blown up to ±1.
    varies = spread > 1e-12 * np.sqrt(day_sum(np.where(known, values, 0.0) ** 2) / count)
    scores = np.clip(np.divide(deviation, spread, out=np.zeros_like(values), where=varies), -CLIP, CLIP)
    return np.where(known, scores, np.nan).astype(np.float32)
