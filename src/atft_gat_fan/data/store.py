"""The Arrow store: a panel on disk, day-major and memory-mapped, so that the days of a batch are one view.

A store is a folder of Arrow IPC files (shards) and a manifest. A shard is one record batch whose columns are lists of
all its stocks of a day, so that a column's buffer *is* the array `[days, n, F]`. Each shard owns a fixed number of
days, counted from the panel's first, repeats the `max_window - 1` days before them, and holds the stocks present on
one of those: stocks that have left or are yet to come cost nothing, and what is appended moves no boundary.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from atft_gat_fan.data.store_reader import Store, first_predictable
from atft_gat_fan.data.store_shard import Block, Layout
from atft_gat_fan.data.store_writer import SHARD_DAYS, StoreWriter
from atft_gat_fan.errors import DataError, Problem

__all__ = ["Block", "Store", "first_predictable", "write_store"]

MAX_EXAMPLES = 5


def write_store(
    path: Path,
    frame: pl.DataFrame,
    *,
    feature_names: Sequence[str],
    horizons: Sequence[int],
    static: Mapping[str, str] | None,
    metadata: Mapping[str, Any],
    fingerprint: str,
    max_window: int = 64,
    shard_days: int = SHARD_DAYS,
) -> Store:
    """Writes a frame that fits in memory as a store at `path`, replacing one that is there, and opens it.

    `frame` has one row a stock and day: `date`, `code`, the features, `target_{h}d` for each horizon, `returns_1d` and
    `dollar_volume`; null or NaN = missing. `static` gives codes their category. `metadata` is kept as it is (JSON).
    `max_window` is the longest span (window + days - 1) that can be read across the `shard_days` of a file.
    Raises DataError for a frame that cannot be stored, StorageError when the disk refuses.
    """
    layout = Layout(tuple(feature_names), tuple(horizons))
    facts = json.loads(json.dumps(metadata, allow_nan=False))
    rows = _arrange(frame, layout)
    days = rows.days.to_numpy().astype("datetime64[D]")
    # A key of its own: what is in memory is written again from the start rather than resumed.
    with StoreWriter(
        path, key=token_hex(), days=days, layout=layout, max_window=max_window, shard_days=shard_days
    ) as writer:
        for span in writer.spans:
            begin, end = np.searchsorted(rows.day_of, [span.first_held, span.stop])
            held, stocks = np.unique(rows.stock_of[begin:end], return_inverse=True)
            cells = (rows.day_of[begin:end] - span.first_held) * len(held) + stocks
            with writer.shard(span, [rows.codes[stock] for stock in held], inputs="") as block:
                for kind, names in layout.values.items():
                    values = rows.frame[begin:end].select(pl.col(names).fill_null(np.nan)).to_numpy()
                    getattr(block, kind).reshape(-1, len(names))[cells] = values
                block.present.reshape(-1)[cells] = True
        return writer.finish(static=static, metadata=facts, fingerprint=fingerprint)


@dataclass(frozen=True)
class _Rows:
    """The rows of a panel in (day, code) order, each with its positions in `days` and `codes`."""

    frame: pl.DataFrame
    days: pl.Series
    codes: tuple[str, ...]
    day_of: Int[np.ndarray, " rows"]
    stock_of: Int[np.ndarray, " rows"]


def _arrange(frame: pl.DataFrame, layout: Layout) -> _Rows:
    """Checks `frame` and finds the place of each of its rows; any row order, values become float32 with null as null.

    Raises DataError on no rows, missing columns, two rows of one (date, code), and infinite values: all at once.
    """
    names = [name for group in layout.values.values() for name in group]
    missing = [name for name in ("date", "code", *names) if name not in frame.columns]
    if missing:
        raise DataError(Problem(f"expected columns {missing}, found {frame.columns}"))
    if frame.is_empty():
        raise DataError(Problem("expected rows, found none", mend="widen data.start and data.end"))
    frame = frame.select("date", "code", pl.col(names).cast(pl.Float32)).sort("date", "code")
    assert not any(frame.select("date", "code").null_count().row(0)), "the panel refuses null dates and codes"
    days, codes = frame["date"].unique().sort(), tuple(frame["code"].unique().sort())
    problems = _duplicates(frame) + _infinities(frame, names)
    if problems:
        raise DataError(problems)
    return _Rows(
        frame,
        days,
        codes,
        day_of=days.search_sorted(frame["date"]).to_numpy().astype(np.int64),
        stock_of=frame["code"].cast(pl.Enum(codes)).to_physical().to_numpy().astype(np.int64),
    )


def _duplicates(frame: pl.DataFrame) -> list[Problem]:
    same = (pl.col("date") == pl.col("date").shift(-1)) & (pl.col("code") == pl.col("code").shift(-1))
    repeated = frame.select(same.fill_null(False)).to_series().to_numpy().nonzero()[0]
    if not len(repeated):
        return []
    return [Problem(f"{len(repeated)} rows repeat the (date, code) of another", where=_examples(frame, repeated))]


def _infinities(frame: pl.DataFrame, names: Sequence[str]) -> list[Problem]:
    infinite = frame.select(pl.col(names).is_infinite().any())
    return [
        Problem(
            f"column {name}: expected finite float32 values or null, found infinite ones",
            where=_examples(frame, frame[name].is_infinite().fill_null(False).to_numpy().nonzero()[0]),
        )
        for name in names
        if infinite[name].item()
    ]


def _examples(frame: pl.DataFrame, rows: Int[np.ndarray, " rows"]) -> str:
    examples = frame[rows[:MAX_EXAMPLES]].select("date", "code").iter_rows()
    return ", ".join(f"{date} {code}" for date, code in examples) + (", …" if len(rows) > MAX_EXAMPLES else "")
