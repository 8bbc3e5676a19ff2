"""What is wrong with the rows of a panel, where, and what to do; and what is merely odd."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import polars as pl

from atft_gat_fan.data.panel_columns import TRAILING_RETURN, Roles
from atft_gat_fan.data.sources import Source
from atft_gat_fan.errors import DataError, Problem

NUM_EXAMPLES = 3
ROW = "__row__"
FOUND_DATE = "__date__"
JUMP = 0.5
THIN = 0.8
PERCENT = 0.2
"""A median absolute return above this is not a fraction."""
COLUMNS_AT_ONCE = 16
"""Columns that one query reads: Polars has about a dozen row groups in memory at a time, all columns of them."""
BAND_ROWS = 2_000_000
"""Rows held in memory where a check needs a stock's rows in order."""


class Band(NamedTuple):
    """Consecutive days of a panel, both included."""

    first: date
    last: date


def bands(days: pl.DataFrame) -> list[Band]:
    """The panel's days, in order, in stretches of about BAND_ROWS rows at most (a single day may hold more).

    `days` is sorted: `date`, `stocks` (rows of that day).
    """
    position = (days["stocks"].cum_sum() - 1) // BAND_ROWS
    stretches = days.group_by(position.alias("band"), maintain_order=True).agg(
        first=pl.col("date").first(), last=pl.col("date").last()
    )
    return [Band(*row) for row in stretches.select("first", "last").iter_rows()]


def count_days(rows: pl.LazyFrame, source: Source) -> pl.DataFrame:
    """`date` and how many rows it has (`stocks`), sorted; rows without a date aside."""
    return collect(
        rows.group_by("date").agg(pl.len().alias("stocks")).filter(pl.col("date").is_not_null()), source
    ).sort("date")


@dataclass(frozen=True)
class Check:
    """Rows on which `violated` holds are refused."""

    violated: pl.Expr
    expected: str
    column: str
    found: pl.Expr
    mend: str


def collect(rows: pl.LazyFrame, source: Source) -> pl.DataFrame:
    """Run a query; a source that cannot be read to its end is bad data."""
    with _readable(source):
        return rows.collect(engine="streaming")


def stream(rows: pl.LazyFrame, source: Source, chunk_size: int) -> Iterator[pl.DataFrame]:
    """The rows of a query, some at a time, in no order."""
    with _readable(source):
        batches = rows.collect_batches(chunk_size=chunk_size, maintain_order=False, engine="streaming")
    while True:
        with _readable(source):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


@contextmanager
def _readable(source: Source) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            Problem(
                f"expected readable data, reading stopped: {str(error).splitlines()[0]}", mend="write the file again"
            ),
            source=source.name,
        ) from error


def find_problems(
    rows: pl.LazyFrame, days: pl.DataFrame, roles: Roles, source: Source, progress: Callable[[float], None]
) -> list[Problem]:
    """Every kind of violation in the canonical rows (`date, code, …, ROW, FOUND_DATE`), with its first examples.

    `days` are those of `count_days`; `progress` is told the share of the columns that is read.
    """
    names = set(rows.collect_schema().names())
    checks = [check for check in _checks(roles) if set(check.violated.meta.root_names()) <= names]
    problems = []
    for position in range(0, len(checks), COLUMNS_AT_ONCE):
        some = checks[position : position + COLUMNS_AT_ONCE]
        counts = collect(rows.select(check.violated.sum().alias(str(i)) for i, check in enumerate(some)), source)
        problems += [
            _violation(rows, check, count, source) for check, count in zip(some, counts.row(0), strict=True) if count
        ]
        progress(min(1.0, (position + COLUMNS_AT_ONCE) / len(checks)))
    return problems + _duplicates(rows, days, roles, source, progress)


def _violation(rows: pl.LazyFrame, check: Check, count: int, source: Source) -> Problem:
    found = check.found.cast(pl.String).alias("found")
    examples = collect(rows.filter(check.violated).head(NUM_EXAMPLES).select(ROW, "date", "code", found), source)
    values = ", ".join("nothing" if value is None else value for value in examples["found"].unique(maintain_order=True))
    return Problem(
        f"expected {check.expected}, found {values} on {_rows(count)}",
        where=f"column {check.column}: {_where(examples, source)}",
        mend=check.mend,
    )


def _checks(roles: Roles) -> Iterator[Check]:
    date, code = str(roles.date), str(roles.code)
    yield Check(
        pl.col("date").is_null(),
        "a date (2015-12-31)",
        date,
        pl.col(FOUND_DATE),
        "mend or drop the rows",
    )
    yield Check(pl.col("code").is_null(), "a code", code, pl.col("code"), "mend or drop the rows")
    for part, name in roles.prices.items():
        value = pl.col(part)
        if part == "adj_close" and name == roles.prices["close"]:
            continue
        low = value < 0 if part == "volume" else value <= 0
        yield Check(
            low | value.is_infinite(),
            "volumes neither negative nor infinite" if part == "volume" else "positive prices, not infinite",
            name,
            value,
            "correct them, or leave the value empty where it is unknown",
        )
    numbers = {f"target_{horizon}d": name for horizon, name in roles.labels.items()}
    numbers |= {name: name for name in roles.features if name not in roles.prices}
    if roles.trailing_return is not None:
        numbers[TRAILING_RETURN] = roles.trailing_return
    for column, name in numbers.items():
        yield Check(
            # As it is stored: a large float64 is an infinite float32.
            pl.col(column).cast(pl.Float32).is_infinite(),
            "finite float32 values",
            name,
            pl.col(column),
            "leave the value empty where it is unknown",
        )


def _duplicates(
    rows: pl.LazyFrame, days: pl.DataFrame, roles: Roles, source: Source, progress: Callable[[float], None]
) -> list[Problem]:
    count, examples = 0, []
    keyed = rows.select("date", "code", ROW).filter(pl.col("code").is_not_null())
    for band in bands(days):
        progress(1.0)
        repeated = collect(
            keyed.filter(pl.col("date").is_between(*band))
            .group_by("date", "code")
            .agg(pl.len().alias("count"), pl.col(ROW).min())
            .filter(pl.col("count") > 1),
            source,
        )
        count += int(repeated["count"].sum())
        examples.append(repeated.sort(ROW).head(NUM_EXAMPLES))
    if not count:
        return []
    first = pl.concat(examples).sort(ROW).head(NUM_EXAMPLES)
    return [
        Problem(
            f"expected one row a stock and day, found duplicates: {_rows(count)} not alone",
            where=f"columns {roles.date}, {roles.code}: {_where(first, source)}",
            mend="keep one row of each",
        )
    ]


def find_oddities(
    rows: pl.LazyFrame,
    days: pl.DataFrame,
    codes: tuple[str, ...],
    categories: pl.DataFrame | None,
    roles: Roles,
    source: Source,
    alive: Callable[[], None],
) -> list[str]:
    """What is counted and told, not refused; reads canonical rows without problems.

    `days` are those of `count_days`, `codes` all of the panel, `categories` the known `code, static` pairs. `alive`,
    called between two reads, may raise to stop it.
    """
    num_rows = int(days["stocks"].sum())
    oddities = list(_oddities(roles))
    labels = {f"target_{horizon}d": name for horizon, name in roles.labels.items()}
    alive()
    found = collect(
        rows.select(
            pl.len(),  # so that there is a row even where there is nothing to count
            *(pl.col(label).count().alias(f"known {label}") for label in labels),
            *((pl.col(label).abs() > PERCENT).sum().alias(label) for label in labels),
            *(condition.sum().alias(str(i)) for i, (_, condition) in enumerate(oddities)),
            *(_first_key(condition).alias(f"first {i}") for i, (_, condition) in enumerate(oddities)),
        ),
        source,
    ).row(0, named=True)
    told = [
        _told(what, found[str(i)], num_rows, found[f"first {i}"])
        for i, (what, _) in enumerate(oddities)
        if found[str(i)]
    ]
    if roles.has_prices:
        told += _jumps(rows, days, codes, roles, source, alive)
    told += [
        f"{name} has a median size of more than {PERCENT}: percents? Returns are fractions, 0.01 is one percent"
        for label, name in labels.items()
        if found[label] > found[f"known {label}"] / 2
    ]
    return [*told, *_changing_categories(categories, roles), *_thin_days(days)]


def _told(what: str, count: int, num_rows: int, first: str) -> str:
    return f"{what} on {_rows(count)} ({_share(count / num_rows)}), first {first}"


def _first_key(condition: pl.Expr) -> pl.Expr:
    return pl.concat_str("date", "code", separator=" ").filter(condition).min()


def _jumps(
    rows: pl.LazyFrame,
    days: pl.DataFrame,
    codes: tuple[str, ...],
    roles: Roles,
    source: Source,
    alive: Callable[[], None],
) -> list[str]:
    """A price far from that of the stock's row before, however long ago; one band of days in memory at a time."""
    # Sorting numbers takes a fraction of sorting text.
    prices = rows.select("date", pl.col("code").cast(pl.Enum(codes)), "adj_close")
    before = pl.when(pl.col("code") == pl.col("code").shift(1)).then(pl.col("adj_close").shift(1))
    jumped = ((pl.col("adj_close") / before - 1).abs() > JUMP).fill_null(False)
    count, firsts = 0, []
    latest = collect(prices.head(0), source)
    for band in bands(days):
        alive()
        own = collect(prices.filter(pl.col("date").is_between(*band)), source)
        # The newest row of each stock stands before the band's own.
        known = pl.concat([latest, own]).sort("code", "date")
        found = known.filter(jumped & (pl.col("date") >= band.first))
        if not found.is_empty():
            count += found.height
            firsts.append(found.select(_first_key(pl.lit(True))).item())
        latest = known.unique("code", keep="last", maintain_order=True)
    if not count:
        return []
    what = f"{roles.prices['adj_close']} jumps more than {JUMP:.0%} (a missed split?)"
    return [_told(what, count, int(days["stocks"].sum()), min(firsts))]


def _changing_categories(categories: pl.DataFrame | None, roles: Roles) -> list[str]:
    if categories is None:
        return []
    changing = categories.filter(pl.col("code").is_duplicated())["code"].unique().sort()
    if changing.is_empty():
        return []
    return [f"{roles.static} changes for {len(changing):,} stocks, such as {changing[0]}: the first one is used"]


def _thin_days(days: pl.DataFrame) -> list[str]:
    """Days that hold far fewer stocks than the month before them: an incomplete delivery more often than a holiday."""
    usual = pl.col("stocks").rolling_median(21, min_samples=1)
    thin = days.with_columns(usual=usual).filter(pl.col("stocks") < THIN * pl.col("usual"))
    if thin.is_empty():
        return []
    day, stocks, median = thin.row(-1)
    return [
        f"fewer than {THIN:.0%} of the usual stocks on {thin.height:,} day{'s' if thin.height > 1 else ''}, "
        f"last {day} ({stocks:,}, usually {median:,.0f}): incomplete?"
    ]


def _oddities(roles: Roles) -> Iterator[tuple[str, pl.Expr]]:
    if {"high", "low"} <= roles.prices.keys():
        yield "high below low (both taken as missing)", pl.col("high") < pl.col("low")
    for part, name in roles.prices.items():
        if part != "adj_close" or name != roles.prices["close"]:
            yield f"no {name}", pl.col(part).is_null()
    if "volume" in roles.prices:
        yield f"{roles.prices['volume']} 0 (volume factors are missing there)", pl.col("volume") == 0


def _share(share: float) -> str:
    return f"{share:.2%}" if share >= 0.0001 else "< 0.01%"


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count > 1 else ''}"


def _where(examples: pl.DataFrame, source: Source) -> str:
    places = []
    for row in examples.iter_rows(named=True):
        place = source.place(row[ROW])
        places.append(f"{row['date'] or '?'} {row['code'] or '?'}" + (f" ({place})" if place else ""))
    return "; ".join(places)
