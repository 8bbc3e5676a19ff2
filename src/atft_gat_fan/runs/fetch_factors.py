"""Do the split factors of a fetched panel still hold? Where not, a stock's history is fetched again.

A split after the last fetch needs none of this: it comes with its day. This is for a factor that the vendor corrects
afterwards. Its adjusted close of the first day, set against that of the newest one, is the product of all factors
between: one request shows every stock whose product is another than ours.
"""

from collections.abc import Iterator
from datetime import date
from functools import partial

import polars as pl

from atft_gat_fan.data.fetched_months import FetchedMonths
from atft_gat_fan.data.sources.jquants import JQuantsClient, PlanRangeError, quotes
from atft_gat_fan.data.split_adjustment import running_factors

TOLERANCE = 0.01
"""Relative; no split is that small. To it comes what the vendor's rounding can be:"""
ROUNDED = 0.05
"""Yen: adjusted prices are rounded to tenths."""
MOST_STOCKS = 100
"""Histories fetched again in one call."""


def compare_factors(
    client: JQuantsClient, months: FetchedMonths, newest: pl.DataFrame, names: dict[str, str]
) -> Iterator[str]:
    """Compare and mend; yields what to tell the user.

    `newest` are quotes (`sources.jquants.QUOTES`) of the newest fetched day, `names` the panel's names of its columns.
    """
    first = _first_day(client, months)
    if first is None:
        return
    day, oldest = first
    suspects = _suspects(months, day, oldest, newest)
    known = months.unexplained
    changed = {code: off for code, off in suspects.items() if abs(off / known.get(code, 1.0) - 1) > TOLERANCE}
    days = list(months.query(lambda rows: rows.select("Date").unique().sort("Date"))["Date"]) if changed else []
    unexplained = {code: off for code, off in known.items() if code in suspects}
    for code, off in list(changed.items())[:MOST_STOCKS]:
        fresh = quotes(client, [one for one in days if one >= day], [code])
        stored = months.factors(partial(_of_stock, code=code, since=day))
        told = fresh.select("Date", pl.col("AdjFactor").fill_null(1.0)).filter(pl.col("AdjFactor") != 1.0)
        if list(told.iter_rows()) == list(stored.sort("Date").select("Date", "AdjustmentFactor").iter_rows()):
            unexplained[code] = off
            yield f"{code}: the adjusted closes of J-Quants do not follow from its split factors, which are used"
        else:
            months.replace(fresh.rename(names, strict=False), code)
            yield f"{code}: J-Quants has changed a split factor; its history is fetched and adjusted again"
    if unexplained != known:
        months.remember_unexplained(unexplained)


def _of_stock(rows: pl.LazyFrame, code: str, since: date) -> pl.LazyFrame:
    return rows.filter(pl.col("Code") == code, pl.col("Date") >= since)


def _first_day(client: JQuantsClient, months: FetchedMonths) -> tuple[date, pl.DataFrame] | None:
    """The first stored day that the plan still covers, and its quotes as they are now; None where there is none."""

    def first_from(bound: date) -> date | None:
        days = months.query(lambda rows: rows.filter(pl.col("Date") >= bound).select(pl.col("Date").min()))
        day: date | None = days.item()
        return day

    day = first_from(months.first)
    try:
        return None if day is None else (day, quotes(client, [day], months.codes))
    except PlanRangeError as plan:
        day = None if plan.first is None else first_from(plan.first)
        return None if day is None else (day, quotes(client, [day], months.codes))


def _suspects(months: FetchedMonths, day: date, oldest: pl.DataFrame, newest: pl.DataFrame) -> dict[str, float]:
    """By code, the vendor's adjusted close of `day` over what our factors make of it, where that is not rounding."""
    last = newest["Date"].max()
    between = months.factors(lambda rows: rows.filter(pl.col("Date") > day, pl.col("Date") <= last))
    ours = running_factors(between)
    pairs = oldest.join(newest.select("Code", C2="C", AdjC2="AdjC"), on="Code")
    found = {}
    for row in pairs.drop_nulls(["C", "AdjC", "C2", "AdjC2"]).iter_rows(named=True):
        if min(row["C"], row["AdjC"], row["C2"], row["AdjC2"]) <= 0:
            continue
        expected = row["C"] * ours.get(row["Code"], 1.0) * row["AdjC2"] / row["C2"]
        off = row["AdjC"] / expected
        if abs(off - 1) > TOLERANCE + ROUNDED / row["AdjC"] + ROUNDED / row["AdjC2"]:
            found[row["Code"]] = off
    return found
