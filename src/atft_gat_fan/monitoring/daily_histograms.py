"""Of each day, how often the values of each name fell into which bin: all that is kept of a day's values."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Integer
from numpy.typing import NDArray

from atft_gat_fan.statistics.distribution_shift import NUM_BINS, NUM_EDGES, bin_edges, histogram
from atft_gat_fan.statistics.shift_thresholds import Histograms

SAMPLED_ROWS = 100_000
"""Values of each name that the edges are taken of: a quantile of 1 % is then known to 0.03 %."""

Rows = tuple[Int[NDArray[np.integer], " rows"], Float[NDArray[np.floating], "rows names"]]
"""Day of each row (position), and its values, NaN where missing."""


@dataclass(frozen=True, eq=False)
class Bins:
    """The bins of each of `names`: edges [names, edges], and the deviation [names] that distances are measured in."""

    names: tuple[str, ...]
    edges: Float[NDArray[np.float64], "names edges"]
    deviation: Float[NDArray[np.float64], " names"]

    @classmethod
    def of(cls, names: tuple[str, ...], rows: Iterable[Rows], num_rows: int) -> "Bins":
        """Bins for a reference of about `num_rows` rows, of which evenly spaced ones are looked at."""
        every = -(-num_rows // SAMPLED_ROWS) or 1
        sampled, seen = [], 0
        for _, values in rows:
            sampled.append(np.array(values[-seen % every :: every], dtype=np.float32))
            seen += len(values)
        values = np.concatenate(sampled) if sampled else np.empty((0, len(names)), np.float32)
        found = [bin_edges(values[:, name]) for name in range(len(names))]
        edges = np.array([edges for edges, _ in found]).reshape(len(names), NUM_EDGES)
        return cls(names, edges, np.array([deviation for _, deviation in found]))

    def count(
        self, rows: Iterable[Rows], num_days: int, progress: Callable[[float], None] = lambda share: None
    ) -> "DailyHistograms":
        """Histograms of the days 0..num_days-1."""
        counts = np.zeros((num_days, len(self.names), NUM_BINS), np.uint32)
        missing = np.zeros((num_days, len(self.names)), np.uint32)
        for day, values in rows:
            if not len(day):
                continue
            first, stop = int(day.min()), int(day.max()) + 1
            for name in range(len(self.names)):
                column = values[:, name]
                counts[first:stop, name] += histogram(column, day - first, stop - first, self.edges[name]).astype(
                    np.uint32
                )
                missing[first:stop, name] += np.bincount(
                    (day - first)[~np.isfinite(column)], minlength=stop - first
                ).astype(np.uint32)
            progress(stop / num_days)
        return DailyHistograms(self, counts, missing)


@dataclass(frozen=True, eq=False)
class DailyHistograms:
    """counts [days, names, bins] of the known values, missing [days, names] of the others, of the stocks present."""

    bins: Bins
    counts: Integer[NDArray[np.integer], "days names bins"]
    missing: Integer[NDArray[np.integer], "days names"]

    @property
    def names(self) -> tuple[str, ...]:
        return self.bins.names

    def nan_share(self, days: slice = slice(None)) -> Float[NDArray[np.float64], " names"]:
        """Missing values of some days, as shares; NaN without rows."""
        missing = self.missing[days].sum(axis=0, dtype=np.float64)
        return _share(missing, missing + self.counts[days].sum(axis=(0, 2), dtype=np.float64))

    def daily_nan_share(self) -> Float[NDArray[np.float64], " days"]:
        """Of all names together."""
        missing = self.missing.sum(axis=1, dtype=np.float64)
        return _share(missing, missing + self.counts.sum(axis=(1, 2), dtype=np.float64))

    def as_histograms(self) -> Histograms:
        return Histograms(self.counts, self.bins.edges, self.bins.deviation)


def _share(
    part: Float[NDArray[np.float64], " n"], whole: Float[NDArray[np.float64], " n"]
) -> Float[NDArray[np.float64], " n"]:
    share: Float[NDArray[np.float64], " n"] = np.full(part.shape, np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share
