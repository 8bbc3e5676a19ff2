"""Rows of a panel in any order, brought into stretches of days on disk.

A shard needs the rows of its days. A source sorted by code, or a zipped CSV, gives those only by being read as a
whole, so it is read once and each row put into the file of its stretch. Wide panels are read some columns at a time:
all columns of a row group would not fit in memory.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
from jaxtyping import Bool
from numpy import ndarray

from atft_gat_fan.data.durable_files import fsync_folder
from atft_gat_fan.data.panel import Panel
from atft_gat_fan.data.panel_checks import COLUMNS_AT_ONCE, stream

STRETCH_DAYS = 64
"""Days of a file: few enough that a shard's halo costs little, so many that decades do not need too many open files."""
CHUNK_ROWS = 2**16
"""Rows sorted into their stretches at a time."""


class StagedRows:
    """Staged rows of a panel: `date`, `code` (UInt32: position in `Panel.codes`), and columns of one group.

    Group 0 has all that is not a feature; each further one some of the features, Float32 with NaN for missing.
    """

    def __init__(self, folder: Path, panel: Panel) -> None:
        self._folder, self._days = folder, panel.days
        self.groups = _groups(panel)

    def read(self, group: int, first: int, stop: int) -> pl.DataFrame:
        """Rows of panel days first..stop-1, by date and code."""
        return pl.concat(self.batches(group, first, stop)).sort("date", "code")

    def batches(self, group: int, first: int, stop: int) -> Iterator[pl.DataFrame]:
        """The same rows in no order, some at a time: views of the files where a batch has no other days."""
        within = pl.col("date").is_between(self._days[first], self._days[stop - 1])
        for stretch in range(first // STRETCH_DAYS, (stop - 1) // STRETCH_DAYS + 1):
            with pa.memory_map(str(self._folder / _name(group, stretch))) as file:
                reader = pa.ipc.open_file(file)
                for position in range(reader.num_record_batches):
                    rows = pl.from_arrow(reader.get_batch(position))
                    assert isinstance(rows, pl.DataFrame)
                    yield rows.filter(within)


def stage(
    panel: Panel,
    folder: Path,
    days: Bool[ndarray, " days"],
    feature_days: Bool[ndarray, " days"],
    progress: Callable[[float], None],
) -> StagedRows:
    """Rows of at least these panel days, in `folder`: read from the source unless they are there already.

    They are either all there or none, so that what a killed conversion has staged is not staged again. `days` are
    those needed of group 0, `feature_days` those of the features. The folder must be of this panel alone.
    """
    staged = StagedRows(folder, panel)
    needed = [_stretches(feature_days if group else days) for group in range(len(staged.groups))]
    if all((folder / _name(group, stretch)).is_file() for group, of_group in enumerate(needed) for stretch in of_group):
        return staged
    partial = folder.with_suffix(".partial")
    for left in (partial, folder):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    for group, (columns, stretches) in enumerate(zip(staged.groups, needed, strict=True)):
        for share in _scatter(panel, columns, group, stretches, partial):
            progress((group + share) / len(needed))
    fsync_folder(partial)
    partial.rename(folder)
    fsync_folder(folder.parent)
    return staged


def _groups(panel: Panel) -> tuple[tuple[str, ...], ...]:
    of_features = (
        panel.features[position : position + COLUMNS_AT_ONCE]
        for position in range(0, len(panel.features), COLUMNS_AT_ONCE)
    )
    return panel.parts, *of_features


def _stretches(days: Bool[ndarray, " days"]) -> list[int]:
    stretches: list[int] = np.unique(np.flatnonzero(days) // STRETCH_DAYS).tolist()
    return stretches


def _name(group: int, stretch: int) -> str:
    return f"{group:03d}-{stretch:05d}.arrow"


def _scatter(
    panel: Panel,
    columns: Sequence[str],
    group: int,
    stretches: Sequence[int],
    folder: Path,
) -> Iterator[float]:
    """Write the columns of each row into the file of its stretch; the share of the rows that is done."""
    begins = panel.days[::STRETCH_DAYS]
    first, stop = stretches[0] * STRETCH_DAYS, min((stretches[-1] + 1) * STRETCH_DAYS, len(panel.days))
    values = pl.col(columns) if group == 0 else pl.col(columns).cast(pl.Float32).fill_null(float("nan"))
    rows = panel.rows.filter(pl.col("date").is_between(panel.days[first], panel.days[stop - 1])).select(
        "date", pl.col("code").cast(pl.Enum(panel.codes)).to_physical().cast(pl.UInt32), values
    )
    expected, num_rows = int(panel.rows_per_day[first:stop].sum()), 0
    with ExitStack() as files:
        writers: dict[int, pa.ipc.RecordBatchFileWriter] = {}
        for batch in stream(rows, panel.source, CHUNK_ROWS):
            for stretch, part in _by_stretch(batch, begins):
                if stretch not in stretches:
                    continue
                table = part.to_arrow()
                if stretch not in writers:
                    file = files.enter_context((folder / _name(group, stretch)).open("wb"))
                    files.callback(_make_durable, file)
                    writers[stretch] = files.enter_context(pa.ipc.new_file(file, table.schema))
                writers[stretch].write_table(table)
            num_rows += batch.height
            yield num_rows / expected


def _make_durable(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _by_stretch(batch: pl.DataFrame, begins: Sequence[date]) -> Iterator[tuple[int, pl.DataFrame]]:
    stretch = pl.Series(begins).search_sorted(batch["date"], side="right") - 1
    for (position,), part in (
        batch.with_columns(stretch.alias("__stretch__"))
        .partition_by("__stretch__", as_dict=True, include_key=False)
        .items()
    ):
        yield int(position), part
