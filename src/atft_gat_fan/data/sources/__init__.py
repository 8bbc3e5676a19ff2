"""Where panels come from: embedded sample, synthetic market, Parquet, CSV."""

from pathlib import Path

from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.sources.base import Source
from atft_gat_fan.data.sources.csv import open_csv
from atft_gat_fan.data.sources.csv_text import SUFFIXES as CSV_SUFFIXES
from atft_gat_fan.data.sources.parquet import open_parquet
from atft_gat_fan.data.sources.sample import open_sample
from atft_gat_fan.errors import DataError, Problem

__all__ = ["Source", "open_source"]


def open_source(config: DataConfig) -> Source:
    """Open `config.source`: `sample`, `synthetic`, or a path to CSV or Parquet. Reads schemas, no rows.

    Raises DataError, naming the file, when there is nothing at the path or it is not what its name says.
    """
    if config.source == "sample":
        return open_sample()
    if config.source == "synthetic":
        # Brings scipy.stats, most of a second, of which a morning's prediction has better use.
        from atft_gat_fan.data.sources.synthetic import open_synthetic

        return open_synthetic(config.synthetic)
    path = Path(config.source).expanduser()
    if not path.exists():
        raise DataError(
            Problem(
                "expected `sample`, `synthetic` or the path of a Parquet file or directory, a CSV file or a built "
                "store, found nothing there",
                where=str(path.absolute()),
                mend="correct data.source",
            )
        )
    if path.is_file() and path.name.lower().endswith(CSV_SUFFIXES):
        return open_csv(path, config.columns, config.csv)
    return open_parquet(path, config.columns)
