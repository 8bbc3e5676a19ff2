"""The Arrow store: a panel on disk, day-major and memory-mapped, so that the days of a batch are one view.

A store is a folder of Arrow IPC files (shards) and a manifest. A shard is one record batch whose columns are lists of
all stocks of a day, so that a column's buffer *is* the array `[days, N, F]`. Each shard repeats the `max_window - 1`
days before its own; all shards hold the same stocks in the order of their codes.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int64, Shaped

from atft_gat_fan.data.store_manifest import VERSION, Era, Manifest, read_manifest, write_manifest
from atft_gat_fan.data.store_shard import Block, Layout, MappedShard, verify
from atft_gat_fan.data.store_writer import arrange, finished_or_absent, write_shards
from atft_gat_fan.errors import ConfigError, DataError, Problem

__all__ = ["Block", "Store", "first_predictable", "write_store"]


def first_predictable(window: int) -> int:
    """Position of the first panel day that has a whole window: itself and the window - 1 days before it."""
    return window - 1


class Store:
    """A finished store, opened by `Store.open`. Days and stocks are positions in `days` and `codes`.

    `static` [N] is 0 where the category is unknown, else 1 + its position in `static_categories`. Arrays are views
    of read-only maps. Every file is verified against its checksum when it is first read, and its size again before
    each block: DataError, naming the file, where it is not what was written.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        (era,) = manifest.eras
        self.path = path
        self.days = np.array(manifest.days, dtype="datetime64[D]")
        self.codes = era.codes
        self.feature_names = manifest.feature_names
        self.horizons = manifest.horizons
        self.static_categories = manifest.static_categories
        self.static: Int64[np.ndarray, " stocks"] = np.array(era.static, dtype=np.int64)
        self.max_window = manifest.max_window
        self.fingerprint = manifest.fingerprint
        self.metadata: Mapping[str, Any] = manifest.metadata
        self._shards = manifest.shards
        self._maps: dict[int, MappedShard] = {}

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Raises DataError when `path` holds no finished store of this version, or a file is missing or cut short."""
        return cls(path, read_manifest(path))

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

        Raises DataError for days without a whole window, ConfigError for a window beyond `max_window`.
        """
        if window > self.max_window:
            raise ConfigError(
                f"expected data.window of at most {self.max_window}, got {window} ({self.path}): build a store for it"
            )
        span = self.span(first, count, window)
        mapped = self._map(self.shard_of(span.stop - 1))
        held = mapped.shard.first_held
        assert span.start >= held, f"days {first} to {first + count - 1} cross the first day of {mapped.path}"
        return mapped.block.days(slice(span.start - held, span.stop - held))

    def column(self, name: str, days: slice = slice(None)) -> Shaped[np.ndarray, "days stocks ..."]:
        """A copy of one of a block's arrays, by its name, over consecutive days."""
        start, stop, step = days.indices(len(self.days))
        assert step == 1, f"expected consecutive days, got {days}"
        assert start < stop, f"expected days, got {days}"
        parts = []
        for position in range(self.shard_of(start), self.shard_of(stop - 1) + 1):
            mapped = self._map(position)
            shard, held = mapped.shard, mapped.shard.first_held
            parts.append(getattr(mapped.block, name)[max(start, shard.first) - held : min(stop, shard.stop) - held])
        return np.concatenate(parts)

    def check(self) -> None:
        """Reads and verifies every byte. DataError names all damaged files."""
        problems = [problem for shard in self._shards for problem in verify(self.path, shard)]
        if problems:
            raise DataError(problems, source=str(self.path))

    @cached_property
    def _first_days(self) -> Int64[np.ndarray, " shards"]:
        return np.array([shard.first for shard in self._shards], dtype=np.int64)

    def _map(self, position: int) -> MappedShard:
        if position not in self._maps:
            layout = Layout(self.feature_names, self.horizons)
            self._maps[position] = MappedShard(self.path, self._shards[position], layout, len(self.codes))
        self._maps[position].check_size()
        return self._maps[position]


def write_store(
    path: Path,
    frame: pl.DataFrame,
    *,
    feature_names: Sequence[str],
    horizons: Sequence[int],
    static: Mapping[str, str] | None,
    metadata: Mapping[str, Any],
    fingerprint: str,
    max_window: int = 64,
    shard_days: int = 512,
) -> Store:
    """Writes a store at `path`, replacing one that is there, and opens it. It appears whole or not at all.

    `frame` has one row a stock and day: `date`, `code`, the features, `target_{h}d` for each horizon, `returns_1d` and
    `dollar_volume`; null or NaN = missing. `static` gives codes their category. `metadata` is kept as it is (JSON).
    `max_window` is the longest span (window + days - 1) that can be read across the `shard_days` of a file.
    Raises DataError for a frame that cannot be stored, StorageError when the disk refuses.
    """
    layout = Layout(tuple(feature_names), tuple(horizons))
    facts = json.loads(json.dumps(metadata, allow_nan=False))
    rows = arrange(frame, layout)
    category_of = {code: static[code] for code in rows.codes if code in static} if static else {}
    categories = tuple(sorted(set(category_of.values())))
    number = {category: position for position, category in enumerate(categories, 1)}
    with finished_or_absent(path) as folder:
        era = Era(
            codes=rows.codes,
            static=tuple(number[category_of[code]] if code in category_of else 0 for code in rows.codes),
        )
        manifest = Manifest(
            version=VERSION,
            fingerprint=fingerprint,
            days=tuple(rows.days),
            feature_names=layout.features,
            horizons=layout.horizons,
            static_categories=categories,
            max_window=max_window,
            eras=(era,),
            shards=write_shards(folder, rows, layout, max_window=max_window, shard_days=shard_days),
            metadata=facts,
        )
        write_manifest(folder, manifest)
    return Store.open(path)
