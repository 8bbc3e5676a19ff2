"""One file of a store: what its columns hold and where, and its map in memory, verified as it is first read."""

import hashlib
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Int64, Shaped

from atft_gat_fan.data.store_manifest import REBUILD, Shard, open_shard, size_problem
from atft_gat_fan.errors import DataError, Problem

BLOCK_DAYS = 32
"""Held days of a column that share a checksum: few enough that a batch verifies little beyond what it reads."""
ALIGNMENT = 8
"""Arrow begins every column of a record batch on a multiple of it."""
Ranges = Sequence[tuple[int, int]]
"""First byte and the one behind the last, of stretches of a file in their order."""


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

    def shape(self, column: str) -> tuple[int, ...]:
        """Of the values of one stock-day."""
        return {"features": (len(self.features),), "labels": (len(self.horizons),)}.get(column, ())


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
"""The arrays of a block that have a day axis, in the order of the file's columns."""


@dataclass(frozen=True)
class ShardSpan:
    """Panel days of the shard at `position`: it holds `first_held .. stop - 1` and owns `first .. stop - 1`."""

    position: int
    first_held: int
    first: int
    stop: int


@dataclass(frozen=True)
class ShardFormat:
    """Where everything stands in a file of `num_days` days of `num_stocks` stocks, the first column at byte `body`."""

    layout: Layout
    num_days: int
    num_stocks: int
    body: int

    @property
    def num_blocks(self) -> int:
        return -(-self.num_days // BLOCK_DAYS)

    @cached_property
    def columns(self) -> dict[str, tuple[int, int]]:
        """Per column, the byte where it begins and how many a day takes."""
        found, offset = {}, self.body
        for name in PER_DAY:
            width = int(np.prod(self.layout.shape(name))) * dtype_of(name).itemsize
            found[name] = offset, self.num_stocks * width
            offset += -(-self.num_days * self.num_stocks * width // ALIGNMENT) * ALIGNMENT
        return found

    def block_range(self, column: str, block: int) -> tuple[int, int]:
        """The bytes of a block of a column's days."""
        offset, row = self.columns[column]
        return offset + block * BLOCK_DAYS * row, offset + min((block + 1) * BLOCK_DAYS, self.num_days) * row

    def framing(self, nbytes: int) -> list[tuple[int, int]]:
        """The bytes of a file of `nbytes` that are no column's."""
        edges = [0]
        for offset, row in self.columns.values():
            edges += [offset, offset + self.num_days * row]
        return [stretch for stretch in list(pairwise([*edges, nbytes]))[::2] if stretch[0] < stretch[1]]

    def view(self, buffer: mmap.mmap, stocks: Int64[np.ndarray, " stocks"]) -> Block:
        """The file's arrays, views of its map."""
        arrays = {
            name: np.ndarray((self.num_days, self.num_stocks, *self.layout.shape(name)), dtype_of(name), buffer, offset)
            for name, (offset, _) in self.columns.items()
        }
        return Block(stocks=stocks, **arrays)


def dtype_of(column: str) -> np.dtype[np.generic]:
    return np.dtype(np.bool_ if column == "present" else np.float32)


def format_of(folder: Path, shard: Shard, layout: Layout) -> ShardFormat:
    """DataError where the manifest's entry cannot be true of a file of that layout and size."""
    found = ShardFormat(layout, shard.num_days, len(shard.stocks), shard.body)
    ends = [found.block_range(name, found.num_blocks - 1)[1] for name in PER_DAY]
    counts = {name: len(digests) for name, digests in shard.blocks.items()}
    if max(ends) > shard.nbytes or counts != dict.fromkeys(PER_DAY, found.num_blocks):
        raise DataError(
            Problem("the manifest's entry contradicts itself", where=str(folder / shard.file), mend=REBUILD)
        )
    return found


class MappedShard:
    """A file of a store, open and mapped: what replaces or deletes it does not reach who reads it here.

    Blocks of days are verified when they are first read. DataError, naming the file, where it is missing or of
    another size, and where the bytes to be read are not as written. Threads may read at once.
    """

    def __init__(self, folder: Path, shard: Shard, layout: Layout, dates: Shaped[np.ndarray, " held"]) -> None:
        self.path, self.shard = folder / shard.file, shard
        self.stocks = np.array(shard.stocks, dtype=np.int64)
        self.stocks.flags.writeable = False
        self._dates = dates
        self._format = format_of(folder, shard, layout)
        descriptor = open_shard(folder, shard)
        try:
            self._mmap = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        self._whole = self._format.view(self._mmap, self.stocks)
        self._framing_verified = False
        # Two threads that first read a block at once both verify it, which is no harm; none reads before.
        self._verified = {name: np.zeros(self._format.num_blocks, np.bool_) for name in PER_DAY}

    def block(self, days: slice) -> Block:
        """Views of consecutive panel days, all of them held here."""
        held = self._held(days)
        self._verify(held, PER_DAY)
        return self._whole.days(held)

    def column(self, name: str, days: slice) -> Shaped[np.ndarray, "days stocks ..."]:
        """A view of one array of those days."""
        held = self._held(days)
        self._verify(held, (name,))
        values: np.ndarray = getattr(self._whole, name)[held]
        return values

    def _held(self, days: slice) -> slice:
        first = self.shard.first_held
        assert first <= days.start < days.stop <= self.shard.stop, f"{days} are not held by {self.path}"
        return slice(days.start - first, days.stop - first)

    def _verify(self, held: slice, columns: Sequence[str]) -> None:
        # Touching a map whose file was cut short kills the process, so ask the file before each use of the map.
        if self._mmap.size() != self.shard.nbytes:
            raise DataError(size_problem(self.path, self.shard, self._mmap.size()))
        problems = []
        if not self._framing_verified:
            if digest(self._mmap, self._format.framing(self.shard.nbytes)) != self.shard.framing:
                problems.append(framing_problem(self.path))
            self._framing_verified = not problems
        blocks = slice(held.start // BLOCK_DAYS, -(-held.stop // BLOCK_DAYS))
        for name in columns:
            for block in np.flatnonzero(~self._verified[name][blocks]) + blocks.start:
                if digest(self._mmap, [self._format.block_range(name, block)]) == self.shard.blocks[name][block]:
                    self._verified[name][block] = True
                else:
                    problems.append(block_problem(self.path, name, block, self._dates))
        if problems:
            raise DataError(problems)


def digest(buffer: mmap.mmap, ranges: Ranges) -> str:
    """SHA-256 of stretches of a map."""
    found = hashlib.sha256()
    with memoryview(buffer) as view:
        for start, stop in ranges:
            found.update(view[start:stop])
    return found.hexdigest()


def framing_problem(path: Path) -> Problem:
    return Problem(
        "damaged: the bytes do not match the checksum of the manifest", where=f"{path}, Arrow's framing", mend=REBUILD
    )


def block_problem(path: Path, column: str, block: int, dates: Shaped[np.ndarray, " held"]) -> Problem:
    """`dates` are those of all days that the file holds."""
    days = dates[block * BLOCK_DAYS : (block + 1) * BLOCK_DAYS]
    return Problem(
        "damaged: the bytes do not match the checksum of the manifest",
        where=f"{path}, column {column}, block {block}, {days[0]} to {days[-1]}",
        mend=REBUILD,
    )
