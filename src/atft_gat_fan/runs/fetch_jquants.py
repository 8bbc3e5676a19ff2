"""What one call of `atft data fetch jquants` does: which days are missing, their quotes, whether older factors hold."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from rich.console import Console

from atft_gat_fan.data.fetched_months import FetchedMonths, month_of
from atft_gat_fan.data.sources.jquants import (
    FUNDS,
    LISTING,
    QUOTES,
    JQuantsClient,
    PlanRangeError,
    listing,
    quotes,
    trading_days,
)
from atft_gat_fan.runs.fetch_factors import compare_factors
from atft_gat_fan.runs.stages import Stages

TOKYO = ZoneInfo("Asia/Tokyo")
PUBLISHED_LATE = timedelta(days=7)
"""Where some stocks alone are fetched: days that recent, and without any quotes, are not published yet."""
UNPUBLISHED = 10
"""Trading days in a row without quotes of any stock, after which no later ones are asked for."""
NAMES = {
    "O": "Open",
    "H": "High",
    "L": "Low",
    "C": "Close",
    "Vo": "Volume",
    "Va": "TurnoverValue",
    "AdjFactor": "AdjustmentFactor",
    "S33": "sector33",
}


class Listed:
    """Sector and market of each stock, as of the month's first session or, where it was listed later, as of the day.

    A category is therefore never newer than the day it is put on, and at most a month older.
    """

    def __init__(self, client: JQuantsClient, first_session: date) -> None:
        self._client, self._first_session = client, first_session
        self._known = pl.DataFrame(schema=LISTING)

    def join(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows (`Date, Code`, …) with `S33` and `Mkt`; null where no listing has the stock."""
        days = [self._first_session, *rows["Date"].unique().sort()]
        for day in dict.fromkeys(days):
            if self._unknown(rows.filter(pl.col("Date") == day) if day != self._first_session else rows):
                new = listing(self._client, day)
                self._known = pl.concat([self._known, new]).unique("Code", keep="first", maintain_order=True)
        return rows.join(self._known, on="Code", how="left", maintain_order="left")

    def _unknown(self, rows: pl.DataFrame) -> bool:
        return not rows.join(self._known, on="Code", how="anti").is_empty()


class JQuantsFetch:
    """One call: which days are missing, their quotes month by month, and whether older split factors still hold."""

    def __init__(
        self, client: JQuantsClient, months: FetchedMonths, last: date | None, stages: Stages, console: Console
    ) -> None:
        self._client, self._months, self._last = client, months, last
        self._stages, self._console = stages, console
        self._today = datetime.now(TOKYO).date()
        self._num_days = 0
        self._newest: pl.DataFrame | None = None
        self._unpublished: list[date] = []
        self._given_up = False
        self._notes: list[str] = []

    def run(self) -> dict[str, Any]:
        lost = self._months.lost_months()
        through = self._months.through
        days = self._trading_days(lost)
        missing = [day for day in days if through is None or day > through or month_of(day) in lost]
        for name, of_month in groupby(missing, key=month_of):
            whole = [day for day in days if month_of(day) == name]
            if not self._fetch_month(name, whole[0], list(of_month), len(missing)):
                break
        if self._unpublished:
            self._note(f"no quotes yet from {self._unpublished[0]} on")
        if self._newest is not None and not self._newest.is_empty():
            self._stages("comparing split factors", 0.0)
            for note in compare_factors(self._client, self._months, self._newest, NAMES):
                self._note(note)
        return {
            "panel": str(self._months.folder),
            **self._months.facts(),
            "days fetched": self._num_days,
            "notes": self._notes,
        }

    def _trading_days(self, lost: Sequence[str]) -> list[date]:
        """From the beginning of the first month that is not finished on."""
        begins = [date.fromisoformat(f"{name}-01") for name in lost]
        if self._months.through is not None:
            begins.append(self._months.through.replace(day=1))
        begin, end = max(self._months.first, min(begins, default=self._months.first)), self._last or self._today
        if end < begin:
            return []
        try:
            return trading_days(self._client, begin, end)
        except PlanRangeError as plan:
            end = self._newest_of(plan, end)
            return trading_days(self._client, begin, end) if begin <= end else []

    def _newest_of(self, plan: PlanRangeError, day: date) -> date:
        """The newest day of the plan, where nobody asked for a later one by --to; raises otherwise."""
        if self._last is not None or plan.last is None or plan.last >= day:
            raise plan
        self._note(f"the plan has quotes up to {plan.last}")
        return plan.last

    def _fetch_month(self, name: str, first_session: date, days: list[date], num_missing: int) -> bool:
        """Whether all `days` of the month are there now; what came before a failure is kept."""
        listed = Listed(self._client, first_session)
        batches = [days] if self._months.codes is not None else [[day] for day in days]
        fetched: list[pl.DataFrame] = []
        through: date | None = None
        try:
            for batch in batches:
                self._stages(f"fetching {num_missing:,} days", self._num_days / num_missing)
                rows, complete = self._quotes(batch)
                if complete:
                    fetched.append(self._rows(listed, rows))  # may fail too: only then is the day complete
                    through = complete[-1]
                    self._num_days += len(complete)
                    self._newest = rows.filter(pl.col("Date") == through)
                    self._tell_of_holes(through)
                if self._given_up:
                    return False
            return True
        finally:
            if through is not None:
                self._months.add(name, pl.concat(fetched), through)

    def _quotes(self, batch: list[date]) -> tuple[pl.DataFrame, list[date]]:
        """Quotes of the batch, and those days of it that are complete; the others are asked for again another time."""
        try:
            rows = quotes(self._client, batch, self._months.codes)
        except PlanRangeError as plan:
            newest = self._newest_of(plan, batch[-1])
            self._given_up = True
            batch = [day for day in batch if day <= newest]
            rows = quotes(self._client, batch, self._months.codes) if batch else pl.DataFrame(schema=QUOTES)
        known = set(rows["Date"])
        # Some stocks may have no quotes for years; all stocks together have some on each day that is published.
        unknown = [day for day in batch if day not in known]
        if self._months.codes is not None:
            unknown = [
                day for day in unknown if self._today - day < PUBLISHED_LATE and day > max(known, default=date.min)
            ]
            unknown = [day for day in batch if unknown and day >= unknown[0]]
        self._unpublished += unknown
        self._given_up |= len(self._unpublished) >= UNPUBLISHED
        return rows, [day for day in batch if day not in unknown]

    def _tell_of_holes(self, through: date) -> None:
        """Days before one with quotes will have none any more."""
        for day in self._unpublished:
            if day < through:
                self._note(f"no quotes of {day}, though a trading day; to ask again, delete {month_of(day)}.parquet")
        self._unpublished = [day for day in self._unpublished if day > through]

    def _rows(self, listed: Listed, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of the panel, quoted prices still; funds left out unless they are asked for."""
        named = listed.join(rows)
        if self._months.codes is None and not self._months.funds:
            named = named.filter((pl.col("Mkt") != FUNDS).fill_null(True))
        return named.rename(NAMES)

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
