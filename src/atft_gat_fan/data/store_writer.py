"""From a long frame to the day-major files of a store: dense, one record batch a file, one column a kind of value."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from jaxtyping import Int

from atft_gat_fan.data.durable_files import fsync_folder
from atft_gat_fan.data.store_manifest import MANIFEST, Shard
from atft_gat_fan.data.store_shard import Layout
from atft_gat_fan.errors import DataError, Problem, StorageError

MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Rows:
    """The rows of a panel in (day, code) order, each with its cell in the dense `[days, stocks]` grid."""

    frame: pl.DataFrame
    days: pl.Series
    codes: tuple[str, ...]
    cells: Int[np.ndarray, " rows"]

    @property
    def num_stocks(self) -> int:
        return len(self.codes)


def arrange(frame: pl.DataFrame, layout: Layout) -> Rows:
    """Checks `frame` and finds the place of each of its rows; any row order, values become float32 with null as null.

    Raises DataError on no rows, missing columns, two rows of one (date, code), and infinite values: all at once.
    """
    names = [name for group in layout.values.values() for name in group]
    missing = [name for name in ("date", "code", *names) if name not in frame.columns]
    if missing:
        raise DataError(Problem(f"expected columns {missing}, found {frame.columns}"))
    if frame.is_empty():
        raise DataError(Problem("expected rows, found none", mend="widen data.start and data.end"))
    frame = frame.select("date", "code", pl.col(names).cast(pl.Float32))
    assert not any(frame.select("date", "code").null_count().row(0)), "the panel refuses null dates and codes"
    days = frame["date"].unique().sort()
    codes = tuple(frame["code"].unique().sort())
    cells = days.search_sorted(frame["date"]).to_numpy().astype(np.int64) * len(codes)
    cells += frame["code"].cast(pl.Enum(codes)).to_physical().to_numpy()
    if (np.diff(cells) <= 0).any():
        order = np.argsort(cells, kind="stable")
        frame, cells = frame[order], cells[order]
    problems = _duplicates(frame, cells) + _infinities(frame, names)
    if problems:
        raise DataError(problems)
    return Rows(frame, days, codes, cells)


def _duplicates(frame: pl.DataFrame, cells: Int[np.ndarray, " rows"]) -> list[Problem]:
    repeated = np.flatnonzero(np.diff(cells) == 0)
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


def write_shards(folder: Path, rows: Rows, layout: Layout, *, max_window: int, shard_days: int) -> tuple[Shard, ...]:
    """Writes the files of a store, each durable on return; one shard at a time is in memory."""
    schema = layout.schema(rows.num_stocks)
    shards = []
    for first in range(0, len(rows.days), shard_days):
        held, stop = max(0, first - max_window + 1), min(first + shard_days, len(rows.days))
        path = folder / f"days-{first:06d}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_batch(_dense(rows, layout, schema, held, stop))
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            nbytes = file.tell()
        shards.append(
            Shard(file=path.name, era=0, first_held=held, first=first, stop=stop, nbytes=nbytes, sha256=sha256)
        )
    return tuple(shards)


def _dense(rows: Rows, layout: Layout, schema: pa.Schema, held: int, stop: int) -> pa.RecordBatch:
    """Days held..stop-1 of every stock, NaN where there is no row or no value."""
    num_cells = (stop - held) * rows.num_stocks
    begin, end = np.searchsorted(rows.cells, [held * rows.num_stocks, stop * rows.num_stocks])
    frame, cells = rows.frame[begin:end], rows.cells[begin:end] - held * rows.num_stocks
    columns = {}
    for kind, names in layout.values.items():
        dense = np.full((num_cells, len(names)), np.nan, np.float32)
        dense[cells] = frame.select(pl.col(names).fill_null(np.nan)).to_numpy(order="c")
        columns[kind] = pa.array(dense.ravel())
    present = np.zeros(num_cells, np.uint8)
    present[cells] = 1
    columns["present"] = pa.array(present)
    arrays = [pa.FixedSizeListArray.from_arrays(columns[field.name], type=field.type) for field in schema]
    return pa.record_batch(arrays, schema=schema)


@contextmanager
def finished_or_absent(target: Path) -> Iterator[Path]:
    """A private folder beside `target` that becomes `target` in one rename when the block ends well, else vanishes.

    A store already there is replaced, anything else is not. Raises StorageError when the disk refuses.
    """
    if target.exists() and not (target / MANIFEST).is_file():
        raise StorageError(f"expected no folder or a store to replace, found something else at {target}; move it away")
    partial = target.parent / f".{target.name}.{secrets.token_hex(4)}.partial"
    try:
        partial.mkdir(parents=True)
        yield partial
        fsync_folder(partial)
        _swap(partial, target)
        fsync_folder(target.parent)
    except OSError as error:
        raise StorageError(
            f"cannot write the store {target}: {error}; free the disk or choose another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(partial: Path, target: Path) -> None:
    # A folder cannot be renamed over one that is not empty, so the old store steps aside first.
    old = partial.with_suffix(".old")
    if target.exists():
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)
