"""What artificial markets are put together from: listings, volumes, price bars, day-wise scores, the long frame."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.special import ndtri
from scipy.stats import rankdata

from atft_gat_fan.config.schema import SyntheticConfig

FIRST_DAY = "2015-01-02"
DAILY_SCALE = 0.02
"""Standard deviation of an ordinary day's return."""


@dataclass(frozen=True)
class Market:
    """What happened: arrays [days, stocks], NaN where a stock is not listed; `sector` [stocks]."""

    days: ndarray
    open: Float[ndarray, "days stocks"]
    high: Float[ndarray, "days stocks"]
    low: Float[ndarray, "days stocks"]
    close: Float[ndarray, "days stocks"]
    volume: Float[ndarray, "days stocks"]
    sector: Int[ndarray, " stocks"]

    @property
    def codes(self) -> list[str]:
        return [f"S{stock:04d}" for stock in range(len(self.sector))]

    def panel(self, features: Mapping[str, Float[ndarray, "days stocks"]]) -> pl.DataFrame:
        """`Date, Code, Open, High, Low, Close, Volume, sector33` and the features, one row a listed stock and day."""
        prices = {"Open": self.open, "High": self.high, "Low": self.low, "Close": self.close, "Volume": self.volume}
        sector = pl.Series("sector33", np.tile(self.sector, len(self.days))).cast(pl.String)
        frame = self.long(prices).with_columns(sector).with_columns(self.long(features).drop("Date", "Code"))
        return frame.filter(pl.col("Close").is_not_nan()).with_columns(pl.col("Volume").cast(pl.Int64))

    def oracle(self, scores: Float[ndarray, "days stocks"]) -> pl.DataFrame:
        """`date, code, oracle_1d` of the listed stocks."""
        frame = self.long({"oracle_1d": scores}).rename({"Date": "date", "Code": "code"})
        return frame.filter(pl.col("oracle_1d").is_not_nan())

    def long(self, wide: Mapping[str, Float[ndarray, "days stocks"]]) -> pl.DataFrame:
        """`Date, Code` and the arrays as columns, one row a day and stock, day-major."""
        return pl.DataFrame(
            {
                "Date": np.repeat(self.days, len(self.sector)),
                "Code": self.codes * len(self.days),
                **{name: values.ravel() for name, values in wide.items()},
            }
        )


def with_bars(
    rng: np.random.Generator,
    log_close: Float[ndarray, "days stocks"],
    returns: Float[ndarray, "days stocks"],
    scale: Float[ndarray, "days 1"],
    volume: Float[ndarray, "days stocks"],
    sector: Int[ndarray, " stocks"],
) -> Market:
    """Opens, highs and lows around given closes: low <= open, close <= high."""
    T, N = log_close.shape
    overnight = 0.35 * returns + 0.3 * scale * rng.standard_normal((T, N))
    close, opened = np.exp(log_close), np.exp(log_close - returns + overnight)
    wicks = np.abs(rng.standard_normal((2, T, N))) * 0.4 * scale
    return Market(
        days=np.busday_offset(FIRST_DAY, np.arange(T), roll="forward"),
        open=opened,
        high=np.maximum(opened, close) * np.exp(wicks[0]),
        low=np.minimum(opened, close) * np.exp(-wicks[1]),
        close=close,
        volume=volume,
        sector=sector,
    )


def listings(config: SyntheticConfig, rng: np.random.Generator) -> Bool[ndarray, "days stocks"]:
    """A share `churn` of the stocks comes in the first 60 % of the days or goes in the last 60 %, half of them each."""
    T, N = config.num_days, config.num_stocks
    first, last = np.zeros(N, dtype=int), np.full(N, T - 1)
    churning = rng.permutation(N)[: round(config.churn * N)]
    late, early = churning[::2], churning[1::2]
    first[late] = rng.integers(0, max(int(0.6 * T), 1), size=len(late))
    last[early] = rng.integers(min(int(0.4 * T), T - 1), T, size=len(early))
    day = np.arange(T)[:, None]
    return (day >= first) & (day <= last)


def volumes(rng: np.random.Generator, T: int, N: int) -> Float[ndarray, "days stocks"]:
    """Whole and positive, around a level of each stock's own."""
    level = rng.normal(np.log(5e5), 1.0, size=N)
    drift = 0.4 * autoregressive(rng, T, N, persistence=0.9)
    return np.maximum(np.round(np.exp(level + drift + 0.4 * rng.standard_normal((T, N)))), 1.0)


def autoregressive(rng: np.random.Generator, T: int, N: int, *, persistence: float) -> Float[ndarray, "days stocks"]:
    """Unit-variance AR(1) along days, started in its stationary law."""
    shocks = rng.standard_normal((T, N))
    series = np.empty((T, N))
    series[0] = shocks[0]
    for day in range(1, T):
        series[day] = persistence * series[day - 1] + np.sqrt(1 - persistence**2) * shocks[day]
    return series


def zscore(values: Float[ndarray, " stocks"]) -> Float[ndarray, " stocks"]:
    """Standardised over the known values; unknown ones and a day without spread are 0, the average."""
    known = np.isfinite(values)
    result = np.zeros_like(values)
    if known.sum() >= 2 and (spread := values[known].std()) > 0:
        result[known] = (values[known] - values[known].mean()) / spread
    return result


def normal_scores(values: Float[ndarray, " stocks"]) -> Float[ndarray, " stocks"]:
    """Standard normal quantiles of the ranks (van der Waerden), ties averaged."""
    scores: Float[ndarray, " stocks"] = ndtri((rankdata(values) - 0.5) / len(values))
    return scores


def mean_of_others(values: Float[ndarray, " stocks"], group: Int[ndarray, " stocks"]) -> Float[ndarray, " stocks"]:
    """Mean over the other known members of each stock's group, NaN without any."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    total = np.bincount(group, weights=filled)[group] - filled
    count = np.bincount(group, weights=known)[group] - known
    mean = np.full_like(values, np.nan)
    mean[count > 0] = total[count > 0] / count[count > 0]
    return mean
