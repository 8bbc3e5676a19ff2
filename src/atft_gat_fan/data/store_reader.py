"""Reading a store: days and stocks as views of its files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from atft_gat_fan.data.store_checks import check_store
from atft_gat_fan.data.store_manifest import Manifest, read_manifest
from atft_gat_fan.data.store_shard import Block, Layout, MappedShard, ShardSpan, dtype_of
from atft_gat_fan.errors import ConfigError, DataError, Problem


def first_predictable(window: int) -> int:
    """Position of the first panel day that has a whole window: itself and the window - 1 days before it."""
    return window - 1


class Store:
    """A finished store, opened by `Store.open`. Days and stocks are positions in `days` and `codes`.

    `spans` are the days of its files. `static` [N] is 0 where the category is unknown, else 1 + its position in
    `static_categories`. Arrays are views of read-only maps. Days of a file are verified against their checksums when
    they are first read, and its size again before each block: DataError, naming file, column, block and dates, where
    it is not what was written.

    An open store goes on as it is when another replaces it on disk: it holds its files open.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.days = np.array(manifest.days, dtype="datetime64[D]")
        self.codes = manifest.codes
        self.feature_names = manifest.feature_names
        self.horizons = manifest.horizons
        self.static_categories = manifest.static_categories
        self.static: Int64[np.ndarray, " stocks"] = np.array(manifest.static, dtype=np.int64)
        self.max_window = manifest.max_window
        self.fingerprint = manifest.fingerprint
        self.metadata: Mapping[str, Any] = manifest.metadata
        self._layout = Layout(self.feature_names, self.horizons)
        self.spans = tuple(
            ShardSpan(position, shard.first_held, shard.first, shard.stop)
            for position, shard in enumerate(manifest.shards)
        )
        self._first_days: Int64[np.ndarray, " shards"] = np.array([span.first for span in self.spans])
        self._shards: list[MappedShard] = []
        problems: list[Problem] = []
        for shard in manifest.shards:
            try:
                self._shards.append(MappedShard(path, shard, self._layout, self.days[shard.first_held : shard.stop]))
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems, source=str(path))

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Raises DataError when `path` holds no finished store of this version, or a file is missing or cut short."""
        manifest = read_manifest(path)
        while True:
            try:
                return cls(path, manifest)
            except DataError:
                # Replaced between reading its manifest and opening its files, the new store is the one to open.
                latest = read_manifest(path)
                if latest == manifest:
                    raise
                manifest = latest

    def shard_of(self, day: int) -> int:
        """Position of the file that owns a day."""
        return int(np.searchsorted(self._first_days, day, side="right")) - 1

    def breaks(self, count: int, window: int) -> tuple[int, ...]:
        """Days that blocks of `count` days may begin at but not run across.

        None when the days that a shard repeats hold a whole span, as they do unless count + window - 1 > max_window.
        """
        return () if count + window - 1 <= self.max_window else tuple(self._first_days[1:].tolist())

    def span(self, first: int, count: int, window: int) -> slice:
        """Panel days that predictions of days first..first+count-1 read. DataError where the panel lacks one."""
        assert count >= 1, f"expected days, got {count}"
        least, last = first_predictable(window), len(self.days) - 1
        if not least <= first <= first + count - 1 <= last:
            raise DataError(
                Problem(
                    f"expected days {least} to {last}, those with a window of {window} days, "
                    f"found {first} to {first + count - 1}",
                    where=f"{self.path}, {self.days[0]} to {self.days[-1]}",
                    mend="give a panel that begins earlier (data.start), or a shorter data.window",
                )
            )
        return slice(first - least, first + count)

    def block(self, first: int, count: int, window: int) -> Block:
        """Views of the span of days first..first+count-1: those and the window - 1 before, none across `breaks`.

        Of the stocks that the file of the last day holds: all that are present on one of the days, and others.
        Raises DataError for days without a whole window, ConfigError for a window beyond `max_window`.
        """
        if window > self.max_window:
            raise ConfigError(
                f"expected data.window of at most {self.max_window}, got {window} ({self.path}): build a store for it"
            )
        span = self.span(first, count, window)
        return self._shards[self.shard_of(span.stop - 1)].block(span)

    def column(self, name: str, days: slice = slice(None)) -> Shaped[np.ndarray, "days stocks ..."]:
        """A copy of one of a block's arrays, by its name, over consecutive days and all stocks of the store.

        Missing (not present) where a file does not hold the stock. Its size grows with the days: ask for few.
        """
        start, stop, step = days.indices(len(self.days))
        assert step == 1, f"expected consecutive days, got {days}"
        assert start < stop, f"expected days, got {days}"
        shape = (stop - start, len(self.codes), *self._layout.shape(name))
        dense = np.full(shape, False if name == "present" else np.nan, dtype_of(name))
        for position in range(self.shard_of(start), self.shard_of(stop - 1) + 1):
            mapped, span = self._shards[position], self.spans[position]
            own = slice(max(start, span.first), min(stop, span.stop))
            dense[own.start - start : own.stop - start, mapped.stocks] = mapped.column(name, own)
        return dense

    def check(self, progress: Callable[[float], None] | None = None) -> None:
        """Verifies every byte of the store now at `path`; `progress` is told the share. DataError with all damage."""
        check_store(self.path, progress)
