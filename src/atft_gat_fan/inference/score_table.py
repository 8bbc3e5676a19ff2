"""Scores as a table: one row a stock and day, as written to `predictions.parquet`, and back."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from atft_gat_fan.data.durable_files import replace_durably
from atft_gat_fan.errors import StorageError
from atft_gat_fan.untrusted import open_plain

Scores = Float[NDArray[np.float32], "days stocks horizons"]


def score_table(
    days: Shaped[NDArray[np.datetime64], " days"], codes: tuple[str, ...], horizons: tuple[int, ...], scores: Scores
) -> pl.DataFrame:
    """Columns `date, code, horizon_{h}d…, rank_{h}d…`, one row a scored stock-day, sorted by date and code.

    Rank 1 is the highest score of the day; equal scores share the better rank. Stocks without a score have no row.
    """
    day, stock = np.nonzero(np.isfinite(scores).all(axis=2))
    names = [f"horizon_{h}d" for h in horizons]
    frame = pl.DataFrame(
        {
            "date": days[day].astype("datetime64[D]"),
            "code": np.asarray(codes, dtype=object)[stock].tolist(),
            **{name: scores[day, stock, i] for i, name in enumerate(names)},
        },
        schema_overrides={"date": pl.Date, "code": pl.String},
    )
    return with_ranks(frame, horizons)


def with_ranks(frame: pl.DataFrame, horizons: Sequence[int]) -> pl.DataFrame:
    """`frame` with a `rank_{h}d` for each `horizon_{h}d`: 1 is the highest of its day, ties share the better."""
    return frame.with_columns(
        pl.col(f"horizon_{h}d").rank("min", descending=True).over("date").cast(pl.Int32).alias(f"rank_{h}d")
        for h in horizons
    )


def scores_of(
    table: pl.DataFrame,
    days: Shaped[NDArray[np.datetime64], " days"],
    codes: tuple[str, ...],
    horizons: tuple[int, ...],
) -> Scores:
    """The inverse of `score_table` on the given days and codes; NaN where the table has no row."""
    names = [f"horizon_{h}d" for h in horizons]
    grid = pl.DataFrame(
        {"date": days.astype("datetime64[D]"), "day": np.arange(len(days))}, schema_overrides={"date": pl.Date}
    )
    stocks = pl.DataFrame({"code": list(codes), "stock": np.arange(len(codes))}, schema_overrides={"code": pl.String})
    placed = table.join(grid, on="date").join(stocks, on="code")
    scores = np.full((len(days), len(codes), len(horizons)), np.nan, dtype=np.float32)
    scores[placed["day"].to_numpy(), placed["stock"].to_numpy()] = placed.select(names).to_numpy()
    return scores


def read_table(file: Path, horizons: tuple[int, ...], most_rows: int, more: tuple[str, ...] = ()) -> pl.DataFrame:
    """A table as `score_table` makes it, with `more` columns of text. Raises StorageError where there is none.

    `most_rows` a table of its days and stocks can have: a small file can declare any number of them.
    """
    expected = {
        "date": pl.Date,
        **dict.fromkeys(("code", *more), pl.String),
        **{f"horizon_{h}d": pl.Float32 for h in horizons},
    }
    try:
        with open(open_plain(file), "rb") as opened:
            schema = pl.read_parquet_schema(opened)
            found = {name: schema.get(name) for name in expected}
            if found != expected:
                name = next(name for name in expected if found[name] != expected[name])
                raise ValueError(f"column {name}: {found[name] or 'missing'}, expected {expected[name]}")
            opened.seek(0)
            rows = pq.read_metadata(opened).num_rows
            if not 0 <= rows <= most_rows:
                raise ValueError(f"{rows} rows where {most_rows} are the most")
            opened.seek(0)
            return pl.read_parquet(opened)
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"{file}: expected the scores of a run, found {error}; run `atft evaluate`") from error


def write_table(frame: pl.DataFrame, target: Path, metadata: dict[str, str] | None = None) -> None:
    """Write Parquet, with `metadata` in its footer, whole or not at all. Raises StorageError where it cannot be."""
    content = BytesIO()
    frame.write_parquet(content, metadata=metadata)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(target, content.getvalue())
    except OSError as error:
        raise StorageError(f"{target}: cannot write: {error.strerror}; free space or choose another file") from error
