"""A long panel in one Parquet file, or in a directory of them (Hive partitions too)."""

from itertools import accumulate
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from atft_gat_fan.config.schema import ColumnsConfig
from atft_gat_fan.data.sources.base import Source, fingerprint_files
from atft_gat_fan.errors import DataError, Problem

MAGIC = b"PAR1"


def open_parquet(path: Path, columns: ColumnsConfig) -> Source:
    """Open a Parquet file, or every `*.parquet` below a directory (hidden ones aside) as one panel.

    Hive partition keys (`Code=AAPL/`) become text columns where `columns` names them and are dropped otherwise: a
    partition such as `year=2015` is where a row is kept, not something known of it.

    Raises DataError, naming each file at fault: not Parquet, truncated, columns or types that differ between
    files, a directory without Parquet files.
    """
    files = _files(path)
    problems = [problem for file in files if (problem := _not_parquet(file)) is not None]
    if problems:
        raise DataError(problems, source=str(path))
    problems = _mixed_schemas(files)
    if problems:
        raise DataError(problems, source=str(path))
    return Source(
        frame=_scan(path, files, columns),
        name=path.resolve().name.split(".")[0] or "panel",
        identity=str(path.resolve()),
        fingerprint=fingerprint_files(path.parent if path.is_file() else path, files),
        columns=columns,
        place=lambda row: _place(files, row),
    )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(
        file
        for file in path.rglob("*.parquet")
        if file.is_file() and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    )
    if not files:
        raise DataError(
            Problem(
                "expected *.parquet files below the directory, found none",
                where=str(path),
                mend="point data.source at the directory that holds them",
            )
        )
    return files


def _not_parquet(file: Path) -> Problem | None:
    with file.open("rb") as handle:
        head = handle.read(4)
        size = handle.seek(0, 2)
        handle.seek(max(size - 4, 0))
        tail = handle.read(4)
    if head != MAGIC:
        found = f"begins with {head!r}" if head else "is empty"
        return Problem(
            f"expected a Parquet file (first bytes {MAGIC!r}), found one that {found}",
            where=str(file),
            mend="write the panel as Parquet (or name a CSV file *.csv)",
        )
    if tail != MAGIC or size < 12:
        return Problem(
            f"expected a Parquet file to end with {MAGIC!r}, found {tail!r}: the file is truncated",
            where=f"{file}, {size:,} bytes",
            mend="copy or write the file again",
        )
    try:
        pl.read_parquet_schema(file)
    except pl.exceptions.PolarsError as error:
        return Problem(
            f"expected a Parquet file, its footer cannot be read: {str(error).splitlines()[0]}",
            where=str(file),
            mend="copy or write the file again",
        )
    return None


def _mixed_schemas(files: list[Path]) -> list[Problem]:
    """Every way in which a file's columns differ from the first file's."""
    reference = pl.read_parquet_schema(files[0])
    problems = []
    for file in files[1:]:
        schema = pl.read_parquet_schema(file)
        differences = [f"lacks column {name}" for name in reference if name not in schema]
        differences += [f"has another column {name}" for name in schema if name not in reference]
        differences += [
            f"column {name} is {schema[name]}, expected {dtype}"
            for name, dtype in reference.items()
            if name in schema and schema[name] != dtype
        ]
        if differences:
            problems.append(
                Problem(
                    f"expected the columns of {files[0].name}, found that it {'; '.join(differences)}",
                    where=str(file),
                    mend="write all files with one schema",
                )
            )
    return problems


def _scan(path: Path, files: list[Path], columns: ColumnsConfig) -> pl.LazyFrame:
    keys = dict.fromkeys(
        part.split("=", 1)[0]
        for file in files
        for part in (file.relative_to(path).parts[:-1] if path.is_dir() else ())
        if "=" in part
    )
    named = {name for name in columns.model_dump().values() if name is not None}
    if not named & keys.keys():
        return pl.scan_parquet(files, hive_partitioning=False)
    frame = pl.scan_parquet(files, hive_partitioning=True, hive_schema=dict.fromkeys(keys, pl.String))
    return frame.drop([key for key in keys if key not in named])


def _place(files: list[Path], row: int) -> str:
    """File and row group of a row of the scan, which reads the files in order."""
    for file in files:
        metadata = pq.ParquetFile(file).metadata
        if row < metadata.num_rows:
            ends = accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
            group = next(i for i, end in enumerate(ends) if row < end)
            return f"{file}, row group {group}, row {row}"
        row -= metadata.num_rows
    raise AssertionError(f"row {row} lies behind the last file")
