"""A long panel that is in memory: a polars or pandas frame, put where it can be opened as any other source."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import polars as pl

from atft_gat_fan.data.durable_files import fsync_folder
from atft_gat_fan.errors import DataError, Problem, StorageError

FRAMES = "frames"
"""Folder of kept frames, in `data.cache`."""


def is_pandas(panel: object) -> bool:
    """Whether it is a pandas frame; pandas is not imported to find out."""
    return type(panel).__module__.split(".")[0] == "pandas" and type(panel).__name__ == "DataFrame"


def is_frame(panel: object) -> bool:
    """Whether it is a frame of polars (lazy ones too) or of pandas."""
    return isinstance(panel, pl.DataFrame | pl.LazyFrame) or is_pandas(panel)


def to_polars(panel: Any) -> pl.DataFrame:
    """The frame as polars has it. Named index levels of pandas are columns, other indices only number its rows.

    NaN of pandas becomes null. Raises DataError where a column is of a kind that polars does not have.
    """
    if isinstance(panel, pl.LazyFrame):
        return panel.collect()
    if isinstance(panel, pl.DataFrame):
        return panel
    named = [name for name in panel.index.names if name is not None]
    try:
        return pl.from_pandas(panel.reset_index(level=named) if named else panel)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(
            Problem(
                f"expected columns of numbers, text and dates, could not read the frame: {_first_line(error)}",
                mend="convert the column, or leave it out",
            ),
            source="pandas frame",
        ) from error


def keep_frame(frame: pl.DataFrame, folder: Path) -> Path:
    """Write the frame as Parquet into `folder`, whole or not at all, named by its content.

    The same frame, its rows in the same order, is the same file, so that a store built of it is found again. Raises
    StorageError where it cannot be written, DataError where Parquet has no such column.
    """
    temporary = folder / f".{os.getpid()}-{token_hex(4)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w+b") as file:
                frame.rechunk().write_parquet(file)  # chunks, which are no content, would show in the bytes
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            target = folder / f"panel-{digest[:16]}.parquet"
            temporary.replace(target)
        finally:
            with suppress(OSError):  # it is gone where all went well
                temporary.unlink()
        fsync_folder(folder)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot keep the panel there: {error.strerror or error}; free space or set data.cache"
        ) from error
    except pl.exceptions.PolarsError as error:
        raise DataError(
            Problem(f"expected columns of numbers, text and dates: {_first_line(error)}", mend="convert the column"),
            source="frame",
        ) from error
    return target


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
