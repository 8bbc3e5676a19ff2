"""The rows that the predictions of a few days depend on, taken out of a source of many years.

A conversion passes over its rows a dozen times; of a panel that gains one day a night, nearly all of them have been
looked at before. An excerpt is read once, and what is converted of it has the bits of the whole: features and
neighbours of a day depend on a bounded number of days before it, and a stock's category is that of the whole source.
"""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Shaped
from numpy import ndarray

from atft_gat_fan.config.schema import GraphConfig
from atft_gat_fan.data.bars import MAX_GAP, REACH
from atft_gat_fan.data.graph import refresh_days
from atft_gat_fan.data.panel import day_of
from atft_gat_fan.data.panel_checks import ROW, collect
from atft_gat_fan.data.panel_columns import DATE_TYPES
from atft_gat_fan.data.sources import Source
from atft_gat_fan.data.sources.base import fingerprint_bytes
from atft_gat_fan.data.store import first_predictable
from atft_gat_fan.errors import DataError, Problem, StorageError

DAY = "__day__"


def source_days(source: Source) -> Shaped[ndarray, " days"] | None:
    """The days that have rows, datetime64[D], increasing. None where no column holds dates: a conversion tells why."""
    day = _day_of(source)
    if day is None:
        return None
    days = collect(source.frame.select(day.alias(DAY)).unique().drop_nulls(), source)[DAY].sort()
    return days.to_numpy().astype("datetime64[D]")


def first_needed(days: Shaped[ndarray, " days"], first: int, window: int, graph: GraphConfig | None) -> int:
    """Position of the earliest of a panel's `days` that predictions of day `first` and later ones depend on.

    Those are the window and the days that its features reach back on; of the graph the lookback of the newest refresh
    up to `first`, and the prices that the returns of its first day may be taken of.
    """
    needed = first - first_predictable(window) - REACH
    if graph is not None:
        refreshes = refresh_days(days, graph.refresh_days)
        newest = int(refreshes[np.searchsorted(refreshes, first, side="right") - 1])
        needed = min(needed, newest - (graph.lookback - 1) - (MAX_GAP + 1))
    return max(0, needed)


def excerpt(source: Source, first: date, last: date, file: Path) -> Source:
    """The rows of the days `first` to `last`, written to `file` (Parquet), and those without a date, to be refused.

    Where the source has a static category, each stock's is its first known one of all of the source's days, as in a
    conversion of the whole. Raises DataError where the source cannot be read, StorageError where `file` cannot be
    written.
    """
    day = _day_of(source)
    assert day is not None, "expected a source of days"
    rows = source.frame.with_row_index(ROW).filter(day.is_between(first, last).fill_null(True))
    first_known = _first_known(source, day)
    if first_known is not None:
        code, static, _ = first_known.columns
        rows = rows.drop(static).join(first_known.select(code, static).lazy(), on=code, how="left")
    try:
        rows.sink_parquet(file, compression="lz4", statistics=False)
    except OSError as error:
        raise StorageError(f"cannot copy rows to {file}: {error}; free the disk or choose another folder") from error
    except pl.exceptions.PolarsError as error:
        what = f"expected readable data, reading stopped: {str(error).splitlines()[0]}"
        raise DataError(Problem(what, mend="write the file again"), source=source.name) from error
    copied = pl.scan_parquet(file)

    def place(row: int) -> str:
        return source.place(copied.select(ROW).slice(row, 1).collect().item())

    between = f"{first} to {last}"
    return replace(
        source,
        frame=copied.drop(ROW),
        identity=f"{source.identity}, {between}",
        fingerprint=fingerprint_bytes([source.fingerprint.encode(), between.encode()]),
        place=place,
        static_since=_since(source, first_known),
    )


def _day_of(source: Source) -> pl.Expr | None:
    schema, name = source.frame.collect_schema(), source.columns.date
    dtype = schema.get(name)
    return day_of(name, dtype) if dtype is not None and isinstance(dtype, DATE_TYPES) else None


def _first_known(source: Source, day: pl.Expr) -> pl.DataFrame | None:
    """Code, first known category and the day of it (`DAY`), of each stock of the source; None without categories."""
    schema, code, static = source.frame.collect_schema(), source.columns.code, source.columns.static
    if static is None or static not in schema or code not in schema:
        return None  # without codes a conversion refuses
    known = source.frame.select(code, static, day.alias(DAY)).drop_nulls()
    first = collect(known.group_by(code, static).agg(pl.col(DAY).min()), source)
    return first.sort(code, DAY).unique(code, keep="first", maintain_order=True)


def _since(source: Source, first_known: pl.DataFrame | None) -> dict[str, date] | None:
    if first_known is None:
        return None
    return dict(first_known.select(pl.col(source.columns.code).cast(pl.String), DAY).iter_rows())
