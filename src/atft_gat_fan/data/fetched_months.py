"""The panel that is fetched from J-Quants: a piece a month, adjusted forward, and how far it goes."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from atft_gat_fan.data.fetched_panel import FetchedPanel
from atft_gat_fan.data.split_adjustment import adjust_forward, running_factors

SCHEMA = pl.Schema(
    {
        "Date": pl.Date,
        "Code": pl.String,
        "Open": pl.Float64,
        "High": pl.Float64,
        "Low": pl.Float64,
        "Close": pl.Float64,
        "Volume": pl.Float64,
        "AdjustmentClose": pl.Float64,
        "AdjustmentFactor": pl.Float64,
        "TurnoverValue": pl.Float64,
        "sector33": pl.String,
    }
)
"""Of a piece, by date and code. Prices and volume are adjusted (`split_adjustment`); TurnoverValue is in yen."""
FACTORS = ("Date", "Code", "AdjustmentFactor")


def month_of(day: date) -> str:
    """Name of the piece that has this day."""
    return f"{day:%Y-%m}"


class FetchedMonths:
    """The pieces of `panel` and its state: `first` and `through` are the days asked for and got, both included."""

    def __init__(self, panel: FetchedPanel, state: Mapping[str, Any]) -> None:
        self._panel, self._state = panel, dict(state)
        self.folder = panel.folder
        self.first = date.fromisoformat(state["first"])
        self.codes: list[str] | None = state["codes"]
        self.funds: bool = state["funds"]

    @staticmethod
    def begin(panel: FetchedPanel, first: date, codes: Sequence[str] | None, funds: bool) -> "FetchedMonths":
        """A panel of no months yet, remembered as such."""
        state = {"first": str(first), "through": None, "codes": codes and list(codes), "funds": funds}
        months = FetchedMonths(panel, {**state, "months": {}, "unexplained": {}})
        panel.write_state(months._state)
        return months

    @property
    def through(self) -> date | None:
        """The last day that is complete, and all sessions before it; None where there is none."""
        text: str | None = self._state["through"]
        return None if text is None else date.fromisoformat(text)

    @property
    def names(self) -> list[str]:
        """Months that have rows, in order."""
        return sorted(name for name, rows in self._state["months"].items() if rows)

    @property
    def unexplained(self) -> dict[str, float]:
        """By code, the vendor's adjusted close over what its factors say, where asking again did not help."""
        return dict(self._state["unexplained"])

    def lost_months(self) -> list[str]:
        """Months whose file has been taken away."""
        return [name for name in self.names if not self._panel.has(name)]

    def read(self, name: str) -> pl.DataFrame:
        """The finished rows of a month; one that was being written when its process was killed may have more."""
        return self._panel.read(name, SCHEMA).filter(pl.col("Date") <= self.through)

    def add(self, name: str, quoted: pl.DataFrame, through: date) -> None:
        """Put quotes of days that this month does not have yet behind those it has; it is complete to `through`.

        `quoted` has the columns of SCHEMA, AdjustmentClose aside, with prices and volume as quoted.
        """
        old = self.through
        begin = pl.DataFrame(schema=SCHEMA) if old is None or not self._has(name) else self.read(name)
        first = through if quoted.is_empty() else quoted.select(pl.col("Date").min()).item()
        running = running_factors(self.factors(lambda rows: rows.filter(pl.col("Date") < first)))
        rows = pl.concat([begin, adjust_forward(quoted, running).select(SCHEMA.names())]).sort("Date", "Code")
        if not rows.is_empty():
            self._panel.write(name, rows)
        self._state["months"][name] = rows.height
        self._state["through"] = str(through if old is None else max(through, old))
        self._panel.write_state(self._state)

    def factors(self, select: Callable[[pl.LazyFrame], pl.LazyFrame]) -> pl.DataFrame:
        """Those of the selected finished rows (`Date, Code, AdjustmentFactor`) whose factor is not 1."""
        return self.query(lambda rows: select(rows.select(FACTORS).filter(pl.col("AdjustmentFactor") != 1.0)))

    def query(self, select: Callable[[pl.LazyFrame], pl.LazyFrame]) -> pl.DataFrame:
        """A query over all finished rows."""
        names = [name for name in self.names if self._panel.has(name)]
        if not names:
            return select(pl.LazyFrame(schema=SCHEMA)).collect()
        return self._panel.query(names, lambda rows: select(rows.filter(pl.col("Date") <= self.through)))

    def replace(self, quoted: pl.DataFrame, code: str) -> None:
        """Put these quotes of one stock in place of its rows from their first day on, the sectors kept.

        From the newest month back: until the piece with the factor that changed is written, that change can still be
        seen by comparing again.
        """
        first = quoted.select(pl.col("Date").min()).item()
        mine = pl.col("Code") == code
        running = running_factors(self.factors(lambda rows: rows.filter(mine, pl.col("Date") < first)))
        adjusted = adjust_forward(quoted, running)
        for name in reversed([name for name in self.names if self._panel.has(name) and name >= month_of(first)]):
            rows = self.read(name)
            old = rows.filter(mine, pl.col("Date") >= first)
            new = old.select("Date", "sector33").join(adjusted, on="Date", how="left").select(SCHEMA.names())
            self._panel.write(
                name, pl.concat([rows.join(old, on=["Date", "Code"], how="anti"), new]).sort("Date", "Code")
            )

    def remember_unexplained(self, ratios: Mapping[str, float]) -> None:
        self._state["unexplained"] = dict(ratios)
        self._panel.write_state(self._state)

    def facts(self) -> dict[str, Any]:
        """What the panel holds now."""
        found = self.query(
            lambda rows: rows.select(
                pl.len().alias("rows"),
                pl.col("Code").n_unique().alias("stocks"),
                pl.col("Date").n_unique().alias("days"),
                pl.col("Date").min().alias("first"),
                pl.col("Date").max().alias("last"),
            )
        ).row(0, named=True)
        return {name: str(value) if isinstance(value, date) else value for name, value in found.items()}

    def _has(self, name: str) -> bool:
        return bool(self._state["months"].get(name)) and self._panel.has(name)
