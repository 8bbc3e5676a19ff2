"""Yahoo Finance, by yfinance: the daily history of one ticker as a frame."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import polars as pl
import yfinance
import yfinance.data
from yfinance.exceptions import YFException, YFRateLimitError, YFTickerMissingError

SCHEMA = pl.Schema(
    {
        "Date": pl.Date,
        "Code": pl.String,
        "Open": pl.Float64,
        "High": pl.Float64,
        "Low": pl.Float64,
        "Close": pl.Float64,
        "AdjClose": pl.Float64,
        "Volume": pl.Float64,
        "Dividends": pl.Float64,
        "StockSplits": pl.Float64,
    }
)
"""Prices and volume adjusted for splits, as Yahoo has them; AdjClose for dividends too. In the stock's own currency."""
COLUMNS = {"Adj Close": "AdjClose", "Stock Splits": "StockSplits"}
PRICES = ("Open", "High", "Low", "Close", "AdjClose")

Wait = Callable[[float, str], None]
"""Lets that many seconds pass for that reason; may raise to stop."""


class NoPricesError(Exception):
    """Yahoo has no prices of the ticker on these days: delisted, renamed, misspelt, or not listed then."""


class UnreachableError(Exception):
    """Yahoo could not be reached, asks for fewer requests, or answers with what is no prices."""


@dataclass(frozen=True)
class Patience:
    """How often and how long to wait. Seconds double from try to try."""

    between_seconds: float = 1.0
    """Between two tickers."""
    limited_tries: int = 5
    limited_seconds: float = 30.0
    failed_tries: int = 4
    failed_seconds: float = 1.0


def history(ticker: str, first: date, last: date, patience: Patience, wait: Wait) -> pl.DataFrame:
    """Rows of SCHEMA from `first` to `last`, by date; prices that are not positive are null, null is missing.

    Raises NoPricesError and UnreachableError, the latter after as many tries as `patience` says.
    """
    limited = failed = 0
    while True:
        try:
            return _frame(ticker, _download(ticker, first, last), first, last)
        except YFTickerMissingError as error:
            raise NoPricesError(_one_line(error)) from error
        except YFRateLimitError as error:
            limited += 1
            if limited >= patience.limited_tries:
                raise UnreachableError(_one_line(error)) from error
            wait(patience.limited_seconds * 2 ** (limited - 1), "Yahoo asks for fewer requests")
        except (OSError, ValueError, LookupError, TypeError, AttributeError, YFException) as error:
            # Not only the network's: yfinance reads whatever comes without looking.
            failed += 1
            if failed >= patience.failed_tries:
                raise UnreachableError(_one_line(error)) from error
            wait(patience.failed_seconds * 2 ** (failed - 1), f"{ticker}: {_one_line(error)}")


def _download(ticker: str, first: date, last: date) -> Any:
    # As errors, not as log lines and an empty frame.
    yfinance.config.debug.hide_exceptions = False
    yfinance.data.YfData.cache_get.cache_clear()  # it keeps answers of past days, errors too
    return yfinance.Ticker(ticker).history(
        start=str(first), end=str(last + timedelta(days=1)), interval="1d", auto_adjust=False, actions=True, timeout=30
    )


def _frame(ticker: str, answer: Any, first: date, last: date) -> pl.DataFrame:
    if answer.empty:
        raise NoPricesError(f"no prices from {first} to {last}")
    # The day on the exchange's clock, which the index is in.
    rows = answer.rename(columns=COLUMNS).assign(Date=answer.index.date, Code=ticker).reset_index(drop=True)
    frame = pl.from_pandas(rows[list(SCHEMA)]).cast(SCHEMA)
    frame = frame.filter(pl.col("Date").is_between(first, last)).unique("Date", keep="last").sort("Date")
    positive = [pl.when(pl.col(name).is_finite() & (pl.col(name) > 0)).then(pl.col(name)) for name in PRICES]
    return frame.with_columns(*positive, pl.when(pl.col("Volume") >= 0).then(pl.col("Volume")))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
