"""J-Quants, the Tokyo Stock Exchange's own data service, by its official client (API V2): requests to frames.

Every request of the client goes through `JQuantsClient._get`, which paces it, tries again what may pass, and turns the
rest into a message. The client's own retries would answer "too many requests" with more requests at once.
"""

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import jquantsapi
import polars as pl

from atft_gat_fan.errors import ConfigError, StorageError

PER_MINUTE = {"free": 5, "light": 60, "standard": 120, "premium": 500}
"""Requests a minute that each plan allows (https://jpx-jquants.com/en/spec/rate-limits)."""
SESSION_KINDS = {"1", "2"}
"""Divisions of the trading calendar on which stocks are traded: full and half days. 3 is for derivatives alone."""
FUNDS = "0109"
"""Market "Others": exchange-traded funds, REITs and the like."""

QUOTES = pl.Schema(
    {
        "Date": pl.Date,
        "Code": pl.String,
        "O": pl.Float64,
        "H": pl.Float64,
        "L": pl.Float64,
        "C": pl.Float64,
        "Vo": pl.Float64,
        "Va": pl.Float64,
        "AdjFactor": pl.Float64,
        "AdjC": pl.Float64,
    }
)
"""What is taken of a daily quote: as quoted on the day, the day's split factor, and the vendor's adjusted close."""
LISTING = pl.Schema({"Code": pl.String, "S33": pl.String, "Mkt": pl.String})

Wait = Callable[[float, str], None]
"""Lets that many seconds pass for that reason; may raise to stop."""


@dataclass(frozen=True)
class Patience:
    """How often and how long to wait. Seconds double from try to try."""

    per_minute: float
    limited_tries: int = 8
    """Tries of a request that is refused as one too many; after flagrant excess the service is shut for 5 minutes."""
    limited_seconds: float = 5.0
    failed_tries: int = 5
    """Tries of one that fails: no connection, no answer, an answer that breaks off, a server's error."""
    failed_seconds: float = 1.0
    most_seconds: float = 900.0
    """Longest wait that a service may ask for."""


class PlanRangeError(ConfigError):
    """Days that the plan does not cover; `first` and `last` are the days it does, None where there is no bound."""

    def __init__(self, first: date | None, last: date | None) -> None:
        self.first, self.last = first, last
        days = f"{first or ''} to {last or 'today'}".strip()
        super().__init__(
            f"your J-Quants plan covers the days {days}, others were asked for; change --from and --to, or the plan"
        )


class JQuantsClient(jquantsapi.ClientV2):  # type: ignore[misc] # the client is not typed
    """The official client, made patient. Raises ConfigError where no key is found or one that cannot be a key."""

    def __init__(self, api_key: str | None, patience: Patience, wait: Wait) -> None:
        try:
            super().__init__(api_key=api_key)
        except ValueError as error:  # no key anywhere, or a configuration file of the client that is not TOML
            raise ConfigError(
                "expected an API key of J-Quants in the environment variable JQUANTS_API_KEY or in "
                "~/.jquants-api/jquants-api.toml, found none; make one at https://jpx-jquants.com/dashboard/api-keys"
            ) from error
        if not re.fullmatch(r"[\x21-\x7e]+", self._api_key):
            # Sent all the same, it would be shown in the error of the library that sends it.
            raise ConfigError("expected an API key of visible ASCII characters in JQUANTS_API_KEY, found others in it")
        self._patience, self._wait = patience, wait
        self._interval = 60.0 / patience.per_minute
        self._next = 0.0

    def _request_session(self, *_: object, **__: object) -> Any:
        # Nothing that was sent is tried again below us: `_get` does that, with pauses.
        return super()._request_session(status_forcelist=[], allowed_methods=["OPTIONS"])

    def _get(self, url: str, params: dict[str, Any] | None = None) -> Any:
        failures = limited = 0
        while True:
            self._pace()
            try:
                response = super()._get(url, params=params)
                self._refuse_malformed(response, params or {})
                return response
            except OSError as error:  # all errors of requests are
                status, said = self._answer(error)
                if status == 429:
                    limited += 1
                    self._interval = min(2 * self._interval, 60.0 / PER_MINUTE["free"])
                    self._wait_for_turn(error, limited, said)
                    continue
                self._refuse_hopeless(status, said, error)
                failures += 1
                if failures >= self._patience.failed_tries:
                    raise StorageError(
                        f"J-Quants could not be reached or answered with an error {failures} times: {said}; "
                        "start the same command again later, what is fetched is kept"
                    ) from error
                self._wait(self._patience.failed_seconds * 2 ** (failures - 1), f"J-Quants failed ({said})")

    def _pace(self) -> None:
        early = self._next - time.monotonic()
        if early > 0:
            self._wait(early, "")
        self._next = time.monotonic() + self._interval

    def _answer(self, error: OSError) -> tuple[int | None, str]:
        """Status and message of the service, or None and what went wrong; never the key."""
        response = getattr(error, "response", None)
        if response is None:
            return None, self._without_key(f"{type(error).__name__}: {error}")
        try:
            said = str(response.json()["message"])
        except (ValueError, KeyError, TypeError):
            said = response.text
        return response.status_code, self._without_key(f"{response.status_code} {' '.join(said.split())[:300]}")

    def _without_key(self, text: str) -> str:
        return text.replace(self._api_key, "***")

    def _wait_for_turn(self, error: OSError, limited: int, said: str) -> None:
        patience = self._patience
        seconds = patience.limited_seconds * 2 ** (limited - 1)
        asked = _retry_after(str(error.response.headers.get("Retry-After", "")))  # type: ignore[attr-defined]
        if asked is not None:
            seconds = asked
        if limited >= patience.limited_tries or seconds > patience.most_seconds:
            raise StorageError(
                f"J-Quants refuses requests as too many ({said}), after {limited} of them; it asks to wait "
                f"{seconds:.0f} s; start the same command again later, with the --plan that you have"
            ) from error
        self._wait(seconds, "J-Quants asks for fewer requests")

    def _refuse_hopeless(self, status: int | None, said: str, error: OSError) -> None:
        """Raise for what will not be different next time."""
        if status is None or status >= 500 or status < 400:
            return
        if covered := re.search(r"covers the following dates:\s*(\S*)\s*~\s*([\d-]*)", said):
            raise PlanRangeError(_day(covered[1]), _day(covered[2])) from error
        if status in (401, 403):
            raise ConfigError(
                f"J-Quants refuses the API key, or the plan does not allow this: {said}; see "
                "https://jpx-jquants.com/dashboard/api-keys for the key and whether the subscription is active"
            ) from error
        raise StorageError(f"J-Quants refuses the request: {said}") from error

    def _refuse_malformed(self, response: Any, params: dict[str, Any]) -> None:
        """An answer without a list of rows would count as one of no rows, and a repeated page never end."""
        payload = response.json()  # of requests, whose error for no JSON is an OSError too
        if not isinstance(payload, dict) or not isinstance(payload.get("data"), list):
            raise OSError("expected an answer with the rows in `data`, found none")
        page = payload.get("pagination_key")
        if page and page == params.get("pagination_key"):
            raise OSError("expected the next page, found the same again")


def trading_days(client: JQuantsClient, first: date, last: date) -> list[date]:
    """Days from `first` to `last` on which stocks are traded in Tokyo, sorted."""
    answer = client.get_mkt_calendar(from_yyyymmdd=str(first), to_yyyymmdd=str(last))
    calendar = _frame(answer, pl.Schema({"Date": pl.Date, "HolDiv": pl.String}), "the trading calendar")
    days = calendar.filter(pl.col("HolDiv").is_in(SESSION_KINDS))["Date"].unique().sort()
    return [day for day in days if first <= day <= last]


def quotes(client: JQuantsClient, days: Sequence[date], codes: Sequence[str] | None) -> pl.DataFrame:
    """Rows of QUOTES of the sorted `days`, by date and code; of all stocks, or of `codes`. Null is missing.

    As few requests as that takes: one a day, or one a stock. Raises StorageError for rows of other days or two of one.
    """
    if codes is not None and len(codes) <= len(days):
        span = {"from_yyyymmdd": str(days[0]), "to_yyyymmdd": str(days[-1])}
        answers = [client.get_eq_bars_daily(code=code, **span) for code in codes]
    else:
        answers = [client.get_eq_bars_daily(date_yyyymmdd=str(day)) for day in days]
    rows = pl.concat([_frame(answer, QUOTES, "daily quotes") for answer in answers])
    strays = rows.filter(~pl.col("Date").is_in(list(days)) | pl.col("Date").is_null() | pl.col("Code").is_null())
    if codes is not None:
        rows = rows.filter(pl.col("Code").is_in(list(codes)))
    if not strays.is_empty() or rows.select("Date", "Code").is_duplicated().any():
        raise StorageError(
            f"J-Quants answered with quotes of other days, or two of a stock and day, when asked for {days[0]} to "
            f"{days[-1]}; start the same command again, and tell J-Quants if it stays"
        )
    return rows.sort("Date", "Code")


def listing(client: JQuantsClient, day: date) -> pl.DataFrame:
    """Rows of LISTING: the stocks listed as of `day`, those delisted since among them, with sector and market then."""
    return _frame(client.get_eq_master(date=str(day)), LISTING, f"the listing of {day}").unique("Code", keep="first")


def _frame(answer: Any, schema: pl.Schema, what: str) -> pl.DataFrame:
    """The columns of `schema` of a pandas frame of the client, numbers not finite as null."""
    if answer.empty:
        return pl.DataFrame(schema=schema)
    if missing := [name for name in schema if name not in answer.columns]:
        raise StorageError(
            f"expected {what} of J-Quants to have {', '.join(schema)}, found no {', '.join(missing)}; "
            "is the API of another version than the client?"
        )
    try:
        frame = pl.from_pandas(answer[list(schema)]).cast(schema)
    except pl.exceptions.PolarsError as error:
        raise StorageError(f"expected {what} of J-Quants as documented, found: {error}") from error
    numbers = [name for name, dtype in schema.items() if dtype == pl.Float64]
    return frame.with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in numbers)


def _retry_after(text: str) -> float | None:
    """Seconds of a Retry-After header: a number or a date (RFC 9110, 10.2.3); None where it says nothing usable."""
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return float(text)
    try:
        seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
