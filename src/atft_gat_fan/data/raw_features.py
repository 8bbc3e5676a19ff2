"""Derived features of a panel's days before they are standardised within the day, which hides what moves all stocks.

A store holds them standardised; here they are made again, by the same functions, of the same prices. A variant within
the static category (`X_sec`) is the feature itself here: it differs in how it is standardised. A value of day t depends
on the panel days up to t alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from jaxtyping import Float32, Int64
from numpy import ndarray

from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.bars import REACH
from atft_gat_fan.data.conversion import is_store
from atft_gat_fan.data.features import derive_features, set_of
from atft_gat_fan.data.panel import Panel, open_panel
from atft_gat_fan.data.panel_checks import collect
from atft_gat_fan.data.sources import Source, open_source

STRETCH_DAYS = 64
"""Days made at a time: what bounds the memory."""


@dataclass(frozen=True)
class RawFeatures:
    """Derived features of the panel days `days`, of all stocks present on them."""

    days: tuple[date, ...]
    names: tuple[str, ...]
    panel: Panel

    @classmethod
    def open(
        cls,
        config: DataConfig,
        days: tuple[date, ...],
        names: tuple[str, ...],
        progress: Callable[[float], None],
        source: Source | None = None,
    ) -> "RawFeatures":
        """Of the panel `config.source`. Only rows of these days, and of those before that they depend on, are read.

        Raises DataError with every problem of those rows.
        """
        wanted = config.model_copy(update={"start": days[0], "end": days[-1], "features": set_of(config.features)})
        source = open_source(wanted) if source is None else source
        return cls(days, names, open_panel(wanted, source, progress, need_labels=False))

    def stretches(
        self, progress: Callable[[float], None]
    ) -> Iterator[tuple[Int64[ndarray, " rows"], Float32[ndarray, "rows features"]]]:
        """Position in `days` of each row, and its values, NaN where unknown; a stretch of days at a time."""
        at = {day: position for position, day in enumerate(self.panel.days)}
        for begin in range(0, len(self.days), STRETCH_DAYS):
            progress(begin / len(self.days))
            own = self.days[begin : begin + STRETCH_DAYS]
            held = self.panel.days[max(0, at[own[0]] - REACH) : at[own[-1]] + 1]
            within = pl.col("date").is_between(held[0], held[-1])
            rows = collect(self.panel.rows.filter(within), self.panel.source)
            made = derive_features(rows, self.names).filter(pl.col("date").is_in(own))
            day = pl.Series(own).search_sorted(made["date"]).to_numpy().astype(np.int64) + begin
            yield day, made.select(pl.col(self.names).fill_null(float("nan"))).to_numpy()


def holds_prices(config: DataConfig, progress: Callable[[str, float], None] = lambda name, share: None) -> bool:
    """Whether raw features can be made of `config.source`: a built store has none of its panel's prices."""
    return not is_store(config, progress)
