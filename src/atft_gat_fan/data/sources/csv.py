"""A long panel in one CSV file (plain or gzip)."""

from pathlib import Path

import polars as pl

from atft_gat_fan.config.schema import ColumnsConfig
from atft_gat_fan.data.sources.base import Source, fingerprint_files
from atft_gat_fan.errors import DataError, Problem

CSV_SUFFIXES = (".csv", ".csv.gz")


def open_csv(path: Path, columns: ColumnsConfig) -> Source:
    """Open a CSV file with a header line, comma separated, UTF-8.

    Types are inferred from the whole file, because a column may turn fractional late; codes and the static
    category stay text, because `0050` is not 50. An empty field is missing.

    Raises DataError, naming the file, when it cannot be read as CSV.
    """
    as_text = {name: pl.String for name in (columns.code, columns.static) if name is not None}
    try:
        header = pl.scan_csv(path, infer_schema=False).collect_schema().names()
        frame = pl.scan_csv(
            path,
            infer_schema_length=None,
            schema_overrides={name: dtype for name, dtype in as_text.items() if name in header},
        )
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            Problem(
                f"expected a CSV file with a header line, could not read it as one: {str(error).splitlines()[0]}",
                where=str(path),
                mend="convert it to Parquet, or mend the file",
            )
        ) from error
    return Source(
        frame=frame,
        name=path.name.split(".")[0] or "panel",
        identity=str(path.resolve()),
        fingerprint=fingerprint_files(path.parent, [path]),
        columns=columns,
        place=lambda row: f"{path}, line {row + 2}",
    )
