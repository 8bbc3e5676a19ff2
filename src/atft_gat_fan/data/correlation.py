"""Correlations of many series at once, each over the days that both have a value, by matrix products."""

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

NO_VARIATION = 1e-12
"""Share of a sum of squares below which what is left after taking the mean out is rounding."""

CHUNK_NUMBERS = 2**17
"""Correlations computed at a time: 1 MiB an array, so that the passes over it stay in a core's cache."""


class PairwiseCorrelation:
    """Weighted Pearson correlation of pairs of columns over their common days; NaN in `values` = no value.

    NaN where there are fewer than `min_periods` common days, or one of the two does not vary on them. Rows of the
    matrix come a chunk at a time: memory never holds stocks x stocks numbers. Sums are in float64.
    """

    def __init__(
        self, values: Float32[np.ndarray, "days stocks"], weights: Float64[np.ndarray, " days"], min_periods: int
    ) -> None:
        self.min_periods = min_periods
        self.num_days, self.num_stocks = values.shape
        known = ~np.isnan(values)
        self._complete = known.all(axis=0)
        self._gappy = np.flatnonzero(~self._complete)
        filled = np.where(known, values.astype(np.float64), 0.0)
        mass = weights @ known
        mean = (weights @ filled) / np.where(mass > 0, mass, 1.0)
        # Centred by each column's own mean first: what the products below then cancel is small.
        self._scaled = np.where(known, filled - mean, 0.0) * np.sqrt(weights)[:, None]
        self._squares = np.square(self._scaled)
        constant = self._squares.sum(axis=0) <= NO_VARIATION * (weights @ filled**2)
        self._scaled[:, constant] = self._squares[:, constant] = 0.0
        self._present = known.astype(np.float64)
        self._roots = self._present * np.sqrt(weights)[:, None]
        total = self._squares.sum(axis=0)
        self._unit = self._scaled / np.sqrt(np.where(total > 0, total, np.nan))

    def chunks(self) -> list[Int64[np.ndarray, " rows"]]:
        """The rows in parts that `rows` takes at its best: those of complete series, then those with gaps."""
        size = max(16, CHUNK_NUMBERS // max(1, self.num_stocks))
        return [
            part[first : first + size]
            for part in (np.flatnonzero(self._complete), self._gappy)
            for first in range(0, len(part), size)
        ]

    def rows(self, rows: Int64[np.ndarray, " rows"]) -> Float64[np.ndarray, "rows stocks"]:
        """The correlations of some of the columns with all."""
        if not self._complete[rows].all():
            return self._pairwise_complete(rows, np.arange(self.num_stocks))
        found = self._all_days(rows)
        if len(self._gappy):
            found[:, self._gappy] = self._pairwise_complete(rows, self._gappy)
        return found

    def _all_days(self, rows: Int64[np.ndarray, " rows"]) -> Float64[np.ndarray, "rows stocks"]:
        """Right where both have all days: one product is enough."""
        if self.num_days < self.min_periods:
            return np.full((len(rows), self.num_stocks), np.nan)
        found: np.ndarray = self._unit[:, rows].T @ self._unit
        return found

    def _pairwise_complete(
        self, rows: Int64[np.ndarray, " rows"], columns: Int64[np.ndarray, " columns"]
    ) -> Float64[np.ndarray, "rows columns"]:
        """Every sum of a pair over its common days, multiplied by their mass rather than divided: fewer passes."""
        everywhere = len(columns) == self.num_stocks
        scaled, squares, present, roots = (
            (array[:, rows].T, array if everywhere else array[:, columns])
            for array in (self._scaled, self._squares, self._present, self._roots)
        )
        mass = roots[0] @ roots[1]
        sums, other_sums = scaled[0] @ roots[1], roots[0] @ scaled[1]
        covariation = scaled[0] @ scaled[1]
        covariation *= mass
        covariation -= sums * other_sums
        variation, enough = _variation(squares[0] @ present[1], sums, mass)
        other_variation, enough_other = _variation(present[0] @ squares[1], other_sums, mass)
        enough &= enough_other
        # Sums of ones, exact in float32.
        enough &= present[0].astype(np.float32) @ present[1].astype(np.float32) >= self.min_periods
        variation *= other_variation
        with np.errstate(divide="ignore", invalid="ignore"):  # masked arithmetic costs ten times as much
            covariation /= np.sqrt(variation, out=variation)
        correlation: np.ndarray = np.where(enough, covariation, np.nan)
        return correlation


def _variation(
    squares: Float64[np.ndarray, "rows columns"],
    sums: Float64[np.ndarray, "rows columns"],
    mass: Float64[np.ndarray, "rows columns"],
) -> tuple[Float64[np.ndarray, "rows columns"], Bool[np.ndarray, "rows columns"]]:
    """Sum of squares about the mean, times `mass`, and where it is more than rounding. Overwrites the first two."""
    squares *= mass
    np.square(sums, out=sums)
    np.subtract(squares, sums, out=sums)
    squares *= NO_VARIATION
    return sums, sums > squares
