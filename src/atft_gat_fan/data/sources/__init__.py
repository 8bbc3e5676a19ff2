"""Where panels come from: embedded sample, synthetic market, Parquet, CSV, on this machine or at an address."""

from collections.abc import Callable
from pathlib import Path

from atft_gat_fan.config.remote_section import is_remote
from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.sources.base import Source
from atft_gat_fan.data.sources.csv import open_csv
from atft_gat_fan.data.sources.csv_text import SUFFIXES as CSV_SUFFIXES
from atft_gat_fan.data.sources.parquet import open_parquet
from atft_gat_fan.data.sources.sample import open_sample
from atft_gat_fan.errors import DataError, Problem

__all__ = ["Source", "open_source"]


def open_source(config: DataConfig, progress: Callable[[str, float], None] = lambda name, share: None) -> Source:
    """Open `config.source`: `sample`, `synthetic`, a path to CSV or Parquet, or an address of one.

    Reads schemas, no rows; what is at an address is copied first, which `progress` is told. Raises DataError, naming
    the file, when there is nothing at the path or it is not what its name says, and what `data.remote` raises.
    """
    if config.source == "sample":
        return open_sample()
    if config.source == "synthetic":
        # Brings scipy.stats, most of a second, of which a morning's prediction has better use.
        from atft_gat_fan.data.sources.synthetic import open_synthetic

        return open_synthetic(config.synthetic)
    if is_remote(config.source):
        from atft_gat_fan.data.sources.remote import open_remote

        return open_remote(config, progress, _open_path)
    path = Path(config.source).expanduser()
    if not path.exists():
        raise DataError(
            Problem(
                "expected `sample`, `synthetic` or the path of a Parquet file or directory, a CSV file or a built "
                "store, or an address such as s3://bucket/panel.parquet, found nothing there",
                where=str(path.absolute()),
                mend="correct data.source",
            )
        )
    return _open_path(path, config)


def _open_path(path: Path, config: DataConfig) -> Source:
    if path.is_file() and path.name.lower().endswith(CSV_SUFFIXES):
        return open_csv(path, config.columns, config.csv)
    return open_parquet(path, config.columns)
