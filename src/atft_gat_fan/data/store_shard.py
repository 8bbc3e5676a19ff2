"""One file of a store: what its columns hold, and its map in memory, verified once and then read without a copy."""

import hashlib
import mmap
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Int64, Shaped

from atft_gat_fan.data.store_manifest import REBUILD, Shard, file_problems, size_problem
from atft_gat_fan.errors import DataError, Problem


@dataclass(frozen=True)
class Layout:
    """What a store's columns hold: per kind, the frame's columns that stand side by side for each stock-day."""

    features: tuple[str, ...]
    horizons: tuple[int, ...]

    @property
    def values(self) -> dict[str, tuple[str, ...]]:
        """Store column (float32, NaN = missing) to frame columns."""
        return {
            "features": self.features,
            "labels": tuple(f"target_{h}d" for h in self.horizons),
            "returns": ("returns_1d",),
            "dollar_volume": ("dollar_volume",),
        }

    def schema(self, num_stocks: int) -> pa.Schema:
        """One row a day; each value a list of all stocks, stock-major."""
        columns: list[tuple[str, pa.DataType]] = [
            *((kind, pa.list_(pa.float32(), num_stocks * len(names))) for kind, names in self.values.items()),
            ("present", pa.list_(pa.uint8(), num_stocks)),
        ]
        return pa.schema(columns)


@dataclass(frozen=True)
class Block:
    """Consecutive panel days of some of a store's stocks. Missing = NaN; one without a row that day is not present.

    `stocks` are positions in the store's `codes`, increasing: those of the stock axis. `labels` are raw forward
    returns, `returns` the trailing one-day return, both fractions; `dollar_volume` is the 20-day median of traded
    value.
    """

    stocks: Int64[np.ndarray, " stocks"]
    features: Float32[np.ndarray, "span stocks features"]
    labels: Float32[np.ndarray, "span stocks horizons"]
    returns: Float32[np.ndarray, "span stocks"]
    dollar_volume: Float32[np.ndarray, "span stocks"]
    present: Bool[np.ndarray, "span stocks"]

    def days(self, days: slice) -> "Block":
        """Some of the days, as views."""
        return replace(self, **{name: getattr(self, name)[days] for name in PER_DAY})

    def take(self, stocks: Int64[np.ndarray, " chosen"]) -> "Block":
        """Some of the stocks, by their positions in the block, as contiguous copies."""
        arrays = {name: getattr(self, name).take(stocks, axis=1) for name in PER_DAY}
        return Block(stocks=self.stocks[stocks], **arrays)


PER_DAY = ("features", "labels", "returns", "dollar_volume", "present")
"""The arrays of a block that have a day axis."""


class MappedShard:
    """The days a file holds as one `Block` of views. DataError, naming the file, where a byte is not as written."""

    def __init__(self, folder: Path, shard: Shard, layout: Layout, num_stocks: int) -> None:
        self.path, self.shard = folder / shard.file, shard
        problems = file_problems(folder, shard)
        if problems:
            raise DataError(problems)
        with self.path.open("rb") as file:
            self._mmap = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.check_size()
        if hashlib.sha256(self._mmap).hexdigest() != shard.sha256:
            raise DataError(checksum_problem(self.path))
        self.block = self._read(layout, num_stocks)

    def check_size(self) -> None:
        """Touching a map whose file was cut short kills the process, so ask the file before each use of the map."""
        if self._mmap.size() != self.shard.nbytes:
            raise DataError(size_problem(self.path, self.shard, self._mmap.size()))

    def _read(self, layout: Layout, num_stocks: int) -> Block:
        reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(self._mmap)))
        num_days = self.shard.stop - self.shard.first_held
        batch = reader.get_batch(0)
        if batch.schema != layout.schema(num_stocks) or batch.num_rows != num_days:
            raise DataError(Problem("the columns are not those of the manifest", where=str(self.path), mend=REBUILD))
        flat = {name: _values(batch, name) for name in batch.schema.names}
        days_stocks = (num_days, num_stocks)
        return Block(
            stocks=np.arange(num_stocks),
            features=flat["features"].reshape(*days_stocks, len(layout.features)),
            labels=flat["labels"].reshape(*days_stocks, len(layout.horizons)),
            returns=flat["returns"].reshape(days_stocks),
            dollar_volume=flat["dollar_volume"].reshape(days_stocks),
            present=flat["present"].view(np.bool_).reshape(days_stocks),
        )


def _values(batch: pa.RecordBatch, name: str) -> Shaped[np.ndarray, " values"]:
    column = batch.column(name)
    assert isinstance(column, pa.FixedSizeListArray)
    values: np.ndarray = column.values.to_numpy(zero_copy_only=True)
    return values


def verify(folder: Path, shard: Shard) -> list[Problem]:
    """What is wrong with a file, from reading all of it."""
    problems = file_problems(folder, shard)
    if problems:
        return problems
    with (folder / shard.file).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return [checksum_problem(folder / shard.file)] if found != shard.sha256 else []


def checksum_problem(path: Path) -> Problem:
    return Problem("damaged: the bytes do not match the checksum of the manifest", where=str(path), mend=REBUILD)
