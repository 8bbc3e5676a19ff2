"""What is wrong with the rows of a panel, where, and what to do; and what is merely odd."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
    try:
        return rows.collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            Problem(
                f"expected readable data, reading stopped: {str(error).splitlines()[0]}", mend="write the file again"
            ),
            source=source.name,
        ) from error


def find_problems(rows: pl.LazyFrame, roles: Roles, source: Source) -> list[Problem]:
    """Every kind of violation in the canonical rows (`date, code, …, ROW, FOUND_DATE`), with its first examples."""
    names = rows.collect_schema().names()
    checks = [check for check in _checks(roles) if set(check.violated.meta.root_names()) <= set(names)]
    counts = collect(
        rows.select(pl.len().alias("rows"), *(check.violated.sum().alias(str(i)) for i, check in enumerate(checks))),
        source,
    )
    if counts["rows"].item() == 0:
        return []
    problems = []
    for i, check in enumerate(checks):
        if count := counts[str(i)].item():
            found = check.found.cast(pl.String).alias("found")
            examples = collect(
                rows.filter(check.violated).head(NUM_EXAMPLES).select(ROW, "date", "code", found), source
            )
            values = ", ".join(
                "nothing" if value is None else value for value in examples["found"].unique(maintain_order=True)
            )
            problems.append(
                Problem(
                    f"expected {check.expected}, found {values} on {_rows(count)}",
                    where=f"column {check.column}: {_where(examples, source)}",
                    mend=check.mend,
                )
            )
    return problems + _duplicates(rows, roles, source)


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
            pl.col(column).is_infinite(),
            "finite values",
            name,
            pl.col(column),
            "leave the value empty where it is unknown",
        )


def _duplicates(rows: pl.LazyFrame, roles: Roles, source: Source) -> list[Problem]:
    keyed = rows.filter(pl.col("date").is_not_null(), pl.col("code").is_not_null())
    repeated = collect(
        keyed.group_by("date", "code").agg(pl.len().alias("count"), pl.col(ROW).min()).filter(pl.col("count") > 1),
        source,
    )
    if repeated.is_empty():
        return []
    first = repeated.sort(ROW).head(NUM_EXAMPLES)
    return [
        Problem(
            f"expected one row a stock and day, found duplicates: {_rows(int(repeated['count'].sum()))} not alone",
            where=f"columns {roles.date}, {roles.code}: {_where(first, source)}",
            mend="keep one row of each",
        )
    ]


def find_oddities(rows: pl.LazyFrame, roles: Roles, source: Source) -> list[str]:
    """What is counted and told, not refused; reads canonical rows."""
    oddities = list(_oddities(roles))
    labels = {f"target_{horizon}d": name for horizon, name in roles.labels.items()}
    found = collect(
        rows.select(
            "date",
            "code",
            *labels,
            *(condition.fill_null(False).alias(str(i)) for i, (_, condition) in enumerate(oddities)),
        ).select(
            pl.len().alias("rows"),
            *(pl.col(label).abs().median() for label in labels),
            *(pl.col(str(i)).sum() for i in range(len(oddities))),
            *(
                pl.concat_str("date", "code", separator=" ").filter(pl.col(str(i))).min().alias(f"first {i}")
                for i in range(len(oddities))
            ),
        ),
        source,
    ).row(0, named=True)
    told = [
        f"{what} on {_rows(found[str(i)])} ({_share(found[str(i)] / found['rows'])}), first {found[f'first {i}']}"
        for i, (what, _) in enumerate(oddities)
        if found[str(i)]
    ]
    told += [
        f"{name} has a median size of {found[label]:.2f}: percents? Returns are fractions, 0.01 is one percent"
        for label, name in labels.items()
        if found[label] is not None and found[label] > PERCENT
    ]
    return [*told, *_changing_categories(rows, roles, source), *_thin_days(rows, source)]


def _changing_categories(rows: pl.LazyFrame, roles: Roles, source: Source) -> list[str]:
    if roles.static is None:
        return []
    categories = rows.group_by("code").agg(pl.col("static").drop_nulls().n_unique().alias("count"))
    changing = collect(categories.filter(pl.col("count") > 1).sort("code"), source)
    if changing.is_empty():
        return []
    return [
        f"{roles.static} changes for {changing.height:,} stocks, such as {changing['code'][0]}: the first one is used"
    ]


def _thin_days(rows: pl.LazyFrame, source: Source) -> list[str]:
    """Days that hold far fewer stocks than the month before them: an incomplete delivery more often than a holiday."""
    counts = collect(rows.group_by("date").agg(pl.len().alias("stocks")).sort("date"), source)
    usual = pl.col("stocks").rolling_median(21, min_samples=1)
    thin = counts.with_columns(usual=usual).filter(pl.col("stocks") < THIN * pl.col("usual"))
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
    if roles.has_prices:
        before = pl.col("adj_close").shift(1).over("code", order_by="date")
        jumps = (pl.col("adj_close") / before - 1).abs() > JUMP
        yield f"{roles.prices['adj_close']} jumps more than {JUMP:.0%} (a missed split?)", jumps


def summarise(rows: pl.LazyFrame, source: Source) -> dict[str, Any]:
    """Rows, stocks, days, first and last day (ISO text) of canonical rows; None where there are none."""
    return collect(
        rows.select(
            pl.len().alias("rows"),
            pl.col("code").n_unique().alias("stocks"),
            pl.col("date").n_unique().alias("days"),
            pl.col("date").min().dt.to_string().alias("first_day"),
            pl.col("date").max().dt.to_string().alias("last_day"),
        ),
        source,
    ).row(0, named=True)


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
