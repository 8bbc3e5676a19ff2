"""The values of one shard, made of the staged rows of its days and of those before and after that they depend on."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Float32, Int64
from numpy import ndarray

from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.bars import REACH, Bars, median_dollar_volume, trailing_returns
from atft_gat_fan.data.features import by_family, compute_features, derivable_features, set_of, standardise_features
from atft_gat_fan.data.labels import derive_labels, label_name
from atft_gat_fan.data.panel import Panel
from atft_gat_fan.data.panel_columns import TRAILING_RETURN
from atft_gat_fan.data.panel_staging import STRETCH_DAYS, StagedRows
from atft_gat_fan.data.store_shard import Block, ShardSpan
from atft_gat_fan.errors import DataError, Problem

NUM_EXAMPLES = 3


@dataclass(frozen=True)
class Recipe:
    """How the values of a store are made of a panel: what it brings is taken, the rest is derived from prices."""

    panel: Panel
    config: DataConfig

    @cached_property
    def features(self) -> tuple[str, ...]:
        config = self.config
        return self.panel.features or derivable_features(self.panel.parts, set_of(config.features), config.relative)

    @cached_property
    def categories(self) -> pl.DataFrame | None:
        """`code`, as it is staged, `category`, a number, and `since`, the day it is known from; None where no feature
        depends on them.
        """
        static, since = self.panel.static, self.panel.static_since
        if "sector" not in self.config.relative or static is None or since is None:
            return None
        codes = sorted(static)
        return pl.DataFrame(
            {
                "code": pl.Series(codes, dtype=pl.Enum(self.panel.codes)).to_physical().cast(pl.UInt32),
                "category": pl.Series([static[code] for code in codes], dtype=pl.String).rank("dense").cast(pl.Int64),
                "since": pl.Series([since[code] for code in codes], dtype=pl.Date),
            }
        )

    @cached_property
    def derived_horizons(self) -> tuple[int, ...]:
        """Those whose labels come from prices."""
        missing = tuple(horizon for horizon in self.config.horizons if horizon not in self.panel.label_columns)
        return missing if self.panel.has_prices else ()

    @cached_property
    def departures(self) -> pl.DataFrame | None:
        """Those of the panel, with codes as they are staged."""
        if self.panel.departures is None:
            return None
        code = pl.col("code").cast(pl.Enum(self.panel.codes)).to_physical().cast(pl.UInt32)
        return self.panel.departures.with_columns(code)

    def reads(self, span: ShardSpan) -> slice:
        """Panel days whose prices the values of a shard depend on."""
        if not self.panel.has_prices:
            return slice(span.first_held, span.stop)
        after = max(self.derived_horizons, default=0)
        return slice(max(0, span.first_held - REACH), min(span.stop + after, len(self.panel.days)))


class ShardRows:
    """The rows behind one shard. `codes` are the stocks present on the days that it holds, sorted."""

    def __init__(self, recipe: Recipe, staged: StagedRows, span: ShardSpan) -> None:
        self._recipe, self._staged, self._span = recipe, staged, span
        days, reads = recipe.panel.days, recipe.reads(span)
        self._rows = staged.read(0, reads.start, reads.stop)
        date = self._rows["date"]
        self._held = slice(
            int(date.search_sorted(days[span.first_held])), int(date.search_sorted(days[span.stop - 1], side="right"))
        )
        held = self._rows[self._held]
        self._days = pl.Series(days[span.first_held : span.stop])
        self._stocks = held["code"].unique().sort()
        self._cells = self._places(held)
        self.codes = tuple(recipe.panel.codes[stock] for stock in self._stocks)

    def fill(self, block: Block, progress: Callable[[float], None]) -> None:
        """Write the values of the shard into the arrays of `block`, which are all missing.

        `progress`, told the share of the features that is done, may raise to stop it. Raises DataError where a label,
        return or traded value is infinite in float32.
        """
        block.present.reshape(-1)[self._cells] = True
        bars = Bars(self._rows[: self._held.stop])
        returns, dollar_volume, labels = self._returns(bars), self._dollar_volume(bars), self._labels()
        self._refuse_infinite([returns, dollar_volume, *labels])
        for name, columns in (("returns", [returns]), ("dollar_volume", [dollar_volume]), ("labels", labels)):
            cells = getattr(block, name).reshape(-1, len(columns))
            cells[self._cells] = np.stack([column.to_numpy() for column in columns], axis=1)
        features = block.features.reshape(-1, len(self._recipe.features))
        # NumPy and Polars let go of the interpreter while they compute.
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="features") as executor:
            if self._recipe.panel.features:
                self._take_features(features, executor, progress)
            else:
                self._derive_features(features, bars, executor, progress)

    def _take_features(
        self, features: Float32[ndarray, "cells features"], executor: Executor, progress: Callable[[float], None]
    ) -> None:
        """Scatter the panel's own, one stretch after the other, so that a part of the map is written once."""
        span = self._span
        begins = range(span.first_held - span.first_held % STRETCH_DAYS, span.stop, STRETCH_DAYS)
        for first in begins:
            stretch = slice(max(first, span.first_held), min(first + STRETCH_DAYS, span.stop))

            def scatter(group: int, stretch: slice = stretch) -> None:
                names = self._staged.groups[group]
                columns = _beside(self._recipe.features, names)
                for rows in self._staged.batches(group, stretch.start, stretch.stop):
                    features[self._places(rows), columns] = rows.select(names).to_numpy()

            for _ in executor.map(scatter, range(1, len(self._staged.groups))):
                progress((stretch.start - span.first_held) / (span.stop - span.first_held))

    def _derive_features(
        self,
        features: Float32[ndarray, "cells features"],
        bars: Bars,
        executor: Executor,
        progress: Callable[[float], None],
    ) -> None:
        method, category = self._recipe.config.standardise, self._category()

        def derive(names: tuple[str, ...]) -> None:
            raw = compute_features(bars, names)[self._held]
            values = standardise_features(raw, names, method, category).select(pl.col(names).fill_null(float("nan")))
            features[self._cells, _beside(self._recipe.features, names)] = values.to_numpy()

        families = list(by_family(self._recipe.features))
        for done, _ in enumerate(executor.map(derive, families), 1):
            progress(done / len(families))

    def _category(self) -> Int64[ndarray, " rows"] | None:
        """The number of each held row's category as of its day, -1 where it was not known yet."""
        categories = self._recipe.categories
        if categories is None:
            return None
        rows = (
            self._rows[self._held].select("date", "code").join(categories, on="code", how="left", maintain_order="left")
        )
        known = pl.col("since") <= pl.col("date")
        return rows.select(pl.when(known).then("category").fill_null(-1)).to_series().to_numpy().astype(np.int64)

    def _labels(self) -> list[pl.Series]:
        config, horizons = self._recipe.config, self._recipe.derived_horizons
        rows = self._rows[self._held.start :]
        if horizons:
            rows = derive_labels(rows, horizons, config.delisting_return, self._recipe.departures)
        held = rows[: len(self._cells)]
        names = [label_name(horizon) for horizon in config.horizons]
        return [held[name] if name in held.columns else self._unknown(name) for name in names]

    def _returns(self, bars: Bars) -> pl.Series:
        if TRAILING_RETURN in bars.frame.columns:
            return bars.frame[TRAILING_RETURN][self._held]
        if not self._recipe.panel.has_prices:
            return self._unknown(TRAILING_RETURN)
        return trailing_returns(bars)[self._held]

    def _dollar_volume(self, bars: Bars) -> pl.Series:
        if "volume" not in bars.frame.columns:
            return self._unknown("dollar_volume")
        return median_dollar_volume(bars)[self._held]

    def _unknown(self, name: str) -> pl.Series:
        return pl.Series(name, [None], dtype=pl.Float32).new_from_index(0, len(self._cells))

    def _places(self, rows: pl.DataFrame) -> Int64[ndarray, " rows"]:
        """Where rows of the shard's days stand in its arrays: day by day, the stocks of a day side by side."""
        places: Int64[ndarray, " rows"] = self._days.search_sorted(rows["date"]).to_numpy().astype(np.int64)
        places *= len(self._stocks)
        places += self._stocks.search_sorted(rows["code"]).to_numpy()
        return places

    def _refuse_infinite(self, columns: Sequence[pl.Series]) -> None:
        problems = []
        for column in columns:
            infinite = column.is_infinite().fill_null(False)
            if not infinite.any():
                continue
            first = self._rows[self._held].filter(infinite).select("date", "code").head(NUM_EXAMPLES)
            examples = (f"{date} {self._recipe.panel.codes[code]}" for date, code in first.rows())
            problems.append(
                Problem(
                    f"expected values of {column.name} that fit float32, found larger ones on {infinite.sum():,} rows",
                    where=", ".join(examples),
                    mend="correct the prices or volumes there and on the days around",
                )
            )
        if problems:
            raise DataError(problems, source=self._recipe.config.source)


def _beside(all_names: Sequence[str], names: Sequence[str]) -> slice:
    """The columns of `names`, which stand side by side among all."""
    first = all_names.index(names[0])
    return slice(first, first + len(names))
