"""From a source to the canonical panel: checked, renamed, masked; read as a stream, never held as a whole."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray

from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.bars import REACH
from atft_gat_fan.data.features import set_of
from atft_gat_fan.data.labels import find_departures, label_name
from atft_gat_fan.data.panel_checks import FOUND_DATE, ROW, collect, count_days, find_oddities, find_problems
from atft_gat_fan.data.panel_columns import PRICES, TRAILING_RETURN, Roles, resolve_roles
from atft_gat_fan.data.sources import Source, open_source
from atft_gat_fan.errors import DataError, Problem

STORE_SPAN = 64
"""Days a store is prepared to give as one view, unless a longer window is configured."""


@dataclass(frozen=True)
class Panel:
    """A panel that can be used.

    `rows`, each (date, code) once, in no order: `date` (Date), `code` (String); with prices `close`, `adj_close`
    (what returns are taken of) and whichever of `open high low volume vwap` exist (Float64); the user's `features`
    (Float32 or Float64); `target_{h}d` for each horizon of `label_columns`, and `returns_1d` (Float32, fractions)
    where the panel brings them. Null is missing; there is no NaN and no infinity.

    `days` and `codes` are sorted. `parts` are the columns that mean something: prices, labels, returns. `features` is
    empty when they are to be derived from prices. `label_columns` maps a horizon to the source's column. `static` is
    each stock's first known category (a later one was not known before), None where the panel has none, and
    `static_since` the day that it is known from. `departures`
    (`date, code`) are the last prices of stocks that left for good, which only `data.delisting_return` asks for.
    """

    rows: pl.LazyFrame
    days: tuple[date, ...]
    codes: tuple[str, ...]
    rows_per_day: Int64[ndarray, " days"]
    parts: tuple[str, ...]
    has_prices: bool
    features: tuple[str, ...]
    label_columns: dict[int, str]
    static: dict[str, str] | None
    static_since: dict[str, date] | None
    departures: pl.DataFrame | None
    warnings: tuple[str, ...]
    facts: dict[str, Any]
    source: Source


@dataclass(frozen=True)
class PanelReport:
    """What `atft data check` tells of a source: it is usable when there are no problems."""

    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Opened:
    roles: Roles
    rows: pl.LazyFrame
    """Canonical rows of the days asked for, with ROW and FOUND_DATE."""
    days: pl.DataFrame
    """`date` and `stocks`, the number of its rows; sorted."""


def longest_span(config: DataConfig) -> int:
    """Days that a store of this configuration gives as one view (window and batch together)."""
    return max(STORE_SPAN, 2 * config.window)


def warm_up_days(config: DataConfig) -> int:
    """Panel days kept before `data.start`, so that its features and window are those of the whole panel."""
    return REACH + longest_span(config) - 1


def open_panel(
    config: DataConfig, source: Source, progress: Callable[[float], None], *, need_labels: bool = True
) -> Panel:
    """Check `source`, that of `config`, and say how to read it; memory does not grow with its rows.

    Days after `data.end` are left out; of those before `data.start` only the last `warm_up_days` are kept; of the
    stocks those that `data.codes` asks for. Rows outside are not checked. Where a validity mask is false or missing,
    the column it names is missing. Where high < low, both are.

    Raises DataError with every problem of the source: missing or duplicate keys, dates that are none, numbers written
    as text, infinite values, prices not above 0, missing columns and (with `need_labels`) horizons, no rows.
    """
    opened, problems = _open(config, source, progress, need_labels)
    if opened is None or problems:
        raise DataError(problems, source=config.source)
    roles, rows, days = opened.roles, opened.rows, opened.days
    codes, categories = _codes(rows, source), _categories(rows, roles, source)
    oddities = find_oddities(rows, days, codes, categories, roles, source, partial(progress, 1.0))
    first_known = None if categories is None else _first_known(categories)
    pays_out = config.delisting_return is not None and roles.has_prices
    if {"high", "low"} <= roles.prices.keys():
        crossed = pl.col("high") < pl.col("low")
        rows = rows.with_columns(pl.when(~crossed.fill_null(False)).then(pl.col("high", "low")))
    rows = rows.drop(ROW, FOUND_DATE, "static", strict=False)
    features = set(roles.features) - {*PRICES, "volume", TRAILING_RETURN}
    return Panel(
        rows=rows,
        days=tuple(days["date"]),
        codes=codes,
        rows_per_day=days["stocks"].to_numpy().astype(np.int64),
        parts=tuple(name for name in rows.collect_schema().names()[2:] if name not in features),
        has_prices=roles.has_prices,
        features=roles.features,
        label_columns=dict(roles.labels),
        static=None if first_known is None else dict(first_known.select("code", "static").iter_rows()),
        static_since=_static_since(first_known, source),
        departures=collect(find_departures(rows, days["date"]), source) if pays_out else None,
        warnings=(*roles.warnings, *oddities),
        facts=_facts(days, codes, roles, config),
        source=source,
    )


def check_panel(config: DataConfig, progress: Callable[[float], None], source: Source | None = None) -> PanelReport:
    """The same checks, reported instead of raised. `source`, where it is open already, spares opening it once more.

    Raises DataError only where the source cannot be opened or read at all.
    """
    source = open_source(config) if source is None else source
    opened, problems = _open(config, source, progress, need_labels=True)
    if opened is None:
        return PanelReport(tuple(problems), (), {})
    roles, rows, days = opened.roles, opened.rows, opened.days
    codes, oddities = _codes(rows, source), []
    if not problems:
        categories = _categories(rows, roles, source)
        oddities = find_oddities(rows, days, codes, categories, roles, source, partial(progress, 1.0))
    return PanelReport(tuple(problems), (*roles.warnings, *oddities), _facts(days, codes, roles, config))


def _open(
    config: DataConfig, source: Source, progress: Callable[[float], None], need_labels: bool
) -> tuple[_Opened | None, list[Problem]]:
    """The source's canonical rows and all its problems; no rows when they cannot be told apart by date and code."""
    schema = source.frame.collect_schema()
    roles = resolve_roles(schema, source.columns, config, need_labels=need_labels)
    problems = [*roles.problems, *_numbers_as_text(schema, roles, source)]
    if config.features == "auto":
        roles.warnings += _features_as_text(schema, roles, source)
    if roles.date is None or roles.code is None:
        return None, problems
    rows = _canonical(source.frame, schema, roles)
    if config.codes is not None:
        codes, unknown = _fitting(config.codes, _codes(rows, source))
        if unknown:
            return None, [*problems, *unknown]
        rows = rows.filter(pl.col("code").is_in(codes).fill_null(True))  # those without a code, to be refused
    rows = _in_range(rows, config, source)
    days = count_days(rows, source)
    problems += find_problems(rows, days, roles, source, progress)
    problems += _no_rows(rows, config, source)
    return _Opened(roles, rows, days), problems


def _kind(dtype: pl.DataType) -> str:
    return "text" if dtype == pl.String else str(dtype)


def _numbers_as_text(schema: pl.Schema, roles: Roles, source: Source) -> list[Problem]:
    problems = []
    for name in roles.numeric():
        if schema[name].is_numeric():
            continue
        first = collect(source.frame.select(pl.col(name).drop_nulls().first().cast(pl.String)), source).item()
        problems.append(
            Problem(
                f"expected numbers, found {_kind(schema[name])}, such as {first!r}",
                where=f"column {name}",
                mend="write the column as numbers",
            )
        )
    return problems


def _features_as_text(schema: pl.Schema, roles: Roles, source: Source) -> list[str]:
    """Text columns that read as numbers, which `auto` does not take: most likely features written wrongly."""
    parts = {roles.date, roles.code, roles.static, *roles.numeric()}
    texts = [name for name, dtype in schema.items() if dtype == pl.String and name not in parts]
    if not texts:
        return []
    first = collect(source.frame.select(pl.col(texts).drop_nulls().first()), source)
    numbers = first.select(pl.all().cast(pl.Float64, strict=False).is_not_null()).row(0, named=True)
    return [
        f"{name} holds numbers as text ({first[name].item()!r}): not taken as a feature"
        for name in texts
        if numbers[name]
    ]


def _canonical(frame: pl.LazyFrame, schema: pl.Schema, roles: Roles) -> pl.LazyFrame:
    """Canonical names and types, masks applied, NaN as null. Text where numbers belong (a problem) is left out."""
    assert roles.date is not None
    assert roles.code is not None

    def number(name: str, dtype: pl.DataType | type[pl.DataType]) -> pl.Expr:
        value = pl.col(name).cast(dtype).fill_nan(None)
        mask = roles.masks.get(name)
        return value if mask is None else pl.when(pl.col(mask).cast(pl.Boolean)).then(value)

    columns = {part: number(name, pl.Float64) for part, name in roles.prices.items() if schema[name].is_numeric()}
    columns |= {
        label_name(h): number(name, pl.Float32) for h, name in roles.labels.items() if schema[name].is_numeric()
    }
    if roles.trailing_return is not None and schema[roles.trailing_return].is_numeric():
        columns[TRAILING_RETURN] = number(roles.trailing_return, pl.Float32)
    if roles.static is not None:
        columns["static"] = pl.col(roles.static).cast(pl.String)
    for name in roles.features:
        if name not in columns and schema[name].is_numeric():
            columns[name] = number(name, pl.Float32 if schema[name] == pl.Float32 else pl.Float64)
    return frame.with_row_index(ROW).select(
        day_of(roles.date, schema[roles.date]).alias("date"),
        pl.col(roles.code).cast(pl.String).alias("code"),
        *(expression.alias(name) for name, expression in columns.items()),
        ROW,
        pl.col(roles.date).cast(pl.String).alias(FOUND_DATE),
    )


def day_of(name: str, dtype: pl.DataType) -> pl.Expr:
    """The date; of a timestamp or ISO text its day; null where there is none."""
    if dtype == pl.String:
        iso = pl.col(name).str.extract(r"^\s*(\d{4}-\d{2}-\d{2})([T ].*)?$", 1)
        return iso.str.to_date("%Y-%m-%d", strict=False)
    if isinstance(dtype, pl.Datetime):
        # The day on the exchange's clock: a cast alone would give the day in UTC.
        return pl.col(name).dt.replace_time_zone(None).cast(pl.Date)
    return pl.col(name).cast(pl.Date)


def _fitting(patterns: tuple[str, ...], codes: tuple[str, ...]) -> tuple[list[str], list[Problem]]:
    """The stocks that a name or glob of `data.codes` fits, and what fits none."""
    chosen: dict[str, None] = {}
    problems = []
    for pattern in patterns:
        fitting = [code for code in codes if fnmatchcase(code, pattern)]
        chosen |= dict.fromkeys(fitting)
        if not fitting:
            near = get_close_matches(pattern, codes, n=1) or codes[:1]
            problems.append(
                Problem(
                    f"expected stocks that fit {pattern!r}, found none of {len(codes)}"
                    + (f", such as {near[0]}" if near else ""),
                    where="data.codes",
                    mend="correct the name or glob, or leave it out",
                )
            )
    return list(chosen), problems


def _in_range(rows: pl.LazyFrame, config: DataConfig, source: Source) -> pl.LazyFrame:
    """Rows up to `data.end` and from the warm-up before `data.start`; rows without a date stay, to be refused."""
    if config.end is not None:
        rows = rows.filter((pl.col("date") <= config.end).fill_null(True))
    if config.start is not None:
        before = collect(rows.select(pl.col("date").filter(pl.col("date") < config.start).unique().sort()), source)
        warm_up = before["date"].tail(warm_up_days(config))
        first = warm_up[0] if len(warm_up) else config.start
        rows = rows.filter((pl.col("date") >= first).fill_null(True))
    return rows


def _no_rows(rows: pl.LazyFrame, config: DataConfig, source: Source) -> list[Problem]:
    within = rows if config.start is None else rows.filter((pl.col("date") >= config.start).fill_null(True))
    if not collect(within.head(1).select("code"), source).is_empty():
        return []
    days = [] if config.start is None else [f"from {config.start}"]
    days += [] if config.end is None else [f"to {config.end}"]
    if not days:
        return [Problem("expected rows, found none", mend="point data.source at a panel with rows")]
    return [Problem(f"expected rows {' '.join(days)}, found none", mend="correct data.start and data.end")]


def _categories(rows: pl.LazyFrame, roles: Roles, source: Source) -> pl.DataFrame | None:
    """Every known `code, static` pair with its first `date`; None where the panel has no category."""
    if roles.static is None:
        return None
    known = rows.filter(pl.col("static").is_not_null())
    return collect(known.group_by("code", "static").agg(pl.col("date").min()), source)


def _first_known(categories: pl.DataFrame) -> pl.DataFrame:
    return categories.sort("code", "date").unique("code", keep="first", maintain_order=True)


def _static_since(first_known: pl.DataFrame | None, source: Source) -> dict[str, date] | None:
    """The day that each stock's category is known from; of an excerpt the source knows it."""
    if first_known is None:
        return None
    since = dict(first_known.select("code", "date").iter_rows())
    return since if source.static_since is None else {code: source.static_since[code] for code in since}


def _codes(rows: pl.LazyFrame, source: Source) -> tuple[str, ...]:
    return tuple(collect(rows.select("code").unique().drop_nulls(), source)["code"].sort())


def _facts(days: pl.DataFrame, codes: tuple[str, ...], roles: Roles, config: DataConfig) -> dict[str, Any]:
    return {
        "rows": int(days["stocks"].sum()),
        "stocks": len(codes),
        "days": days.height,
        "first_day": None if days.is_empty() else str(days["date"][0]),
        "last_day": None if days.is_empty() else str(days["date"][-1]),
        "prices": [part for part in (*PRICES, "volume", "vwap") if part in roles.prices],
        "features": list(roles.features) or set_of(config.features),
        "labels": {f"{horizon}d": name for horizon, name in roles.labels.items()},
        "static": roles.static,
    }
