"""What is known of a trading day in advance: weekday, season, and the sessions around it."""

from difflib import get_close_matches

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from atft_gat_fan.errors import ConfigError

CALENDAR_COVARIATES: tuple[str, ...] = (
    "weekday_sin",
    "weekday_cos",
    "year_sin",
    "year_cos",
    "days_since_session",
    "days_to_session",
    "month_end",
    "quarter_end",
)
DAY = np.timedelta64(1, "D")
MARGIN = 40 * DAY
"""Sessions looked up around the panel: more than any closure and the rest of a month."""


def calendar_covariates(days: ndarray, exchange: str | None) -> Float[ndarray, "days covariates"]:
    """Covariates [T, C], float32, of size about one, in the order of `CALENDAR_COVARIATES`.

    `days` is datetime64[D], in any order. Each row is a function of its date and the exchange's published schedule
    alone (ISO 10383 code such as XNYS; None: weekdays), never of which days a panel holds, so it is known
    in advance: position in the week and in the year on a circle; calendar days beyond one since the last session
    and until the next, halved and at most 5; whether the day is the last session of its month or quarter.

    The next session, and so the month's last, is looked up in the schedule without ad hoc closures: the library lists
    storms and days of mourning there, which nobody knew the evening before (for some exchanges holidays too, of which
    those two then say less). Dates outside the schedule that the library knows count weekdays as sessions.

    Raises ConfigError for an exchange it does not know, with near names.
    """
    days = np.asarray(days, dtype="datetime64[D]")
    if not len(days):
        return np.empty((0, len(CALENDAR_COVARIATES)), dtype=np.float32)
    held, planned = _schedule(days.min() - MARGIN, days.max() + MARGIN, exchange)
    since = days - held[np.searchsorted(held, days) - 1]
    following = planned[np.searchsorted(planned, days, side="right")]
    month_end = following.astype("datetime64[M]") != days.astype("datetime64[M]")
    week = 2 * np.pi * ((days.astype(np.int64) + 3) % 7) / 7  # 1970-01-01 was a Thursday
    year = 2 * np.pi * (days - days.astype("datetime64[Y]")).astype(np.int64) / 366
    return np.stack(
        [
            np.sin(week),
            np.cos(week),
            np.sin(year),
            np.cos(year),
            _closed(since),
            _closed(following - days),
            month_end,
            month_end & (days.astype("datetime64[M]").astype(np.int64) % 3 == 2),
        ],
        axis=1,
    ).astype(np.float32)


def missing_sessions(days: ndarray, exchange: str) -> ndarray:
    """Sessions of the exchange between the first and the last of `days` that are none of them, sorted.

    Both are datetime64[D]. Raises ConfigError as `calendar_covariates`.
    """
    days = np.asarray(days, dtype="datetime64[D]")
    if not len(days):
        return days
    # The library knows no exchange over a day or two: it is asked for a longer time.
    held, _ = _schedule(days.min() - MARGIN, days.max() + MARGIN, exchange)
    within = held[(held >= days.min()) & (held <= days.max())]
    return np.setdiff1d(within, days)


def _closed(distance: ndarray) -> Float[ndarray, " days"]:
    return np.minimum((distance / DAY - 1) / 2, 5.0)


def _schedule(first: np.datetime64, last: np.datetime64, exchange: str | None) -> tuple[ndarray, ndarray]:
    """Sessions from first to last as held, and as planned: ad hoc closures of weekdays count as sessions. Sorted."""
    span = np.arange(first, last + DAY)
    weekdays = span[np.is_busday(span)]
    if exchange is None:
        return weekdays, weekdays
    sessions, closures, known_first, known_last = _published(first, last, exchange)
    unknown = weekdays[(weekdays < known_first) | (weekdays > known_last)]
    held = np.union1d(sessions, unknown)
    return held, np.union1d(held, np.intersect1d(closures, weekdays))


def _published(
    first: np.datetime64, last: np.datetime64, exchange: str
) -> tuple[ndarray, ndarray, np.datetime64, np.datetime64]:
    """Sessions and ad hoc closures between first and last, and the dates between which the library knows them."""
    import exchange_calendars  # costs 0.8 s with pandas; only needed when an exchange is named

    names = exchange_calendars.get_calendar_names(include_aliases=True)
    if exchange not in names:
        near = get_close_matches(exchange.upper(), names, n=3) or ["XNYS", "XTKS", "XLON"]
        raise ConfigError(
            f"data.exchange: expected an exchange code, got {exchange!r}; near: {', '.join(near)} (null: weekdays)"
        )
    known_first, known_last = first, last
    try:
        calendar = exchange_calendars.get_calendar(exchange, start=str(first), end=str(last))
    except ValueError:  # some dates lie outside what the library knows of the exchange
        bounds = type(exchange_calendars.get_calendar(exchange))
        if bounds.bound_min() is not None:
            known_first = max(first, np.datetime64(bounds.bound_min().date()))
        if bounds.bound_max() is not None:
            known_last = min(last, np.datetime64(bounds.bound_max().date()))
        if known_first >= known_last:
            nothing = np.empty(0, dtype="datetime64[D]")
            return nothing, nothing, last + DAY, last
        calendar = exchange_calendars.get_calendar(exchange, start=str(known_first), end=str(known_last))
    return (
        calendar.sessions.to_numpy().astype("datetime64[D]"),
        np.array([np.datetime64(closure, "D") for closure in calendar.adhoc_holidays], dtype="datetime64[D]"),
        known_first,
        known_last,
    )
